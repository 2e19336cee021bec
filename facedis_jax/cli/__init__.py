"""The command `facedis`, also `python -m facedis_jax`: options and error lines, and nothing else.

Nothing is imported before it is known which command is to run, so that `facedis --help` comes at once.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence

from facedis_jax import __version__
from facedis_jax.extras import MissingExtra, exit_where_jax_refuses, require_extra

__all__ = ["COMMANDS", "main"]

COMMANDS: Mapping[str, str] = {
    "cache": "list prepared copies of data sets, and remove those that are of no use",
    "edit": "edit faces with a trained model: neutral, other expressions, in-betweens, new faces",
    "fit": "fit a model's face to a scan of any mesh, in any pose and unit",
    "models": "list the models that come with the package and those of runs, or show one's card",
    "rig": "a face with a morph target for each expression, for Blender and others",
    "view": "a model on a page of this machine: sliders, expressions, loaded scans",
}
"""By name, what a command does; each is a module of this package with a function `main(arguments)` that exits.

Example:
  >>> COMMANDS["fit"]
  "fit a model's face to a scan of any mesh, in any pose and unit"
"""
# What a command needs beside the extra `run`: the name of an extra, and a module of it.
_EXTRAS = {"view": ("viewer", "viser")}

_HELP = """usage: facedis COMMAND ...

Disentangled faces: identity apart from expression.

commands:
{commands}

options:
  -h, --help  show this, or after a command its own options
  --version   show the version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: the command line after the program's name; `sys.argv` by default.

    Returns:
      The exit code: 0, or 2 with one line on stderr for a command or input that cannot be used.

    Example:
      >>> main(["--version"])
      facedis_jax 0.1.0
      0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words[0] if words else None
    if command in ("-h", "--help"):
        print(_HELP.format(commands="\n".join(f"  {name:<10}  {what}" for name, what in COMMANDS.items())), end="")
        return 0
    if command == "--version":
        print(f"facedis_jax {__version__}")
        return 0
    if command not in COMMANDS:
        found = "none" if command is None else ascii(command)[1:-1]
        print(f"error: command: expected one of {', '.join(COMMANDS)}, found {found} (see --help)", file=sys.stderr)
        return 2
    try:
        require_extra(f"facedis {command}", "run", "tyro", "jax")
        if command in _EXTRAS:
            require_extra(f"facedis {command}", *_EXTRAS[command])
        exit_where_jax_refuses()
        module = importlib.import_module(f"{__name__}.{command}")
    except MissingExtra as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    module.main(words[1:])
    return 0
