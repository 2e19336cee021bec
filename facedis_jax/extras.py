"""What the optional parts of the package need, and the one line that says so where it is not installed."""

import sys
from importlib import import_module
from importlib.util import find_spec


class MissingExtra(ImportError):
    """A part of the package whose extra is not installed; its message is one line that names the extra."""


def require_extra(part: str, extra: str, *modules: str) -> None:
    """Checks that an extra is installed, without importing any of it.

    It stands in the `__init__` of each part of the package that needs one, so that the first import says what to do.

    Args:
      part: full name of the module that needs it, its `__name__`.
      extra: name in `pyproject.toml`.
      *modules: top-level modules of the extra that the part imports.

    Raises:
      MissingExtra: where one of them cannot be found.

    >>> require_extra("facedis_jax.losses", "run", "jax")
    >>> require_extra("facedis_jax.models", "run", "nowhere")
    Traceback (most recent call last):
    facedis_jax.extras.MissingExtra: facedis_jax.models needs nowhere, which pip install 'facedis-jax[run]' brings
    """
    for name in modules:
        if find_spec(name) is None:
            raise MissingExtra(f"{part} needs {name}, which pip install 'facedis-jax[{extra}]' brings", name=name)


def exit_without_extra(part: str, extra: str, *modules: str) -> None:
    """As `require_extra`, for a package of commands: ends the process with the line and exit code 2.

    It stands in the `__init__` of the package, which `python -m` imports before the command itself.
    """
    try:
        require_extra(part, extra, *modules)
    except MissingExtra as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def exit_where_jax_refuses() -> None:
    """Imports jax, for a package of commands: ends the process with a line and exit code 2 where it refuses to start.

    It does so for a `JAX_...` variable of the environment whose value it does not know.
    """
    try:
        import_module("jax")
    except ValueError as error:
        print(f"error: environment: expected settings that JAX knows, found {error}", file=sys.stderr)
        sys.exit(2)
