"""The public names of the package and their docstrings, as the site shows them and a test reads them."""

import ast
import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "facedis_jax"


@cache
def public_names() -> Mapping[str, tuple[str, ...]]:
    """By module, the names in its `__all__`, of all modules of the package that have one."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                found[module] = tuple(ast.literal_eval(node.value))
    return found


def value_docstring(module: str, name: str) -> str | None:
    """The docstring of a value, the string below its assignment; None of what is no value, or has none."""
    body = _body(module)
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return value_docstring(node.module, name) if node.module.startswith("facedis_jax") else None
    for node, below in pairwise(body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if getattr(target, "id", None) == name and isinstance(below.value, ast.Constant):
                return inspect.cleandoc(str(below.value.value))
    return None


def docstring(module: str, name: str) -> str:
    """The docstring of a public name; empty where it has none of its own."""
    of_value = value_docstring(module, name)
    if of_value is not None:
        return of_value
    thing = getattr(importlib.import_module(module), name)
    own = inspect.cleandoc(thing.__doc__ or "") if inspect.isclass(thing) or hasattr(thing, "__code__") else ""
    if hasattr(thing, "__wrapped__"):
        own = inspect.getdoc(thing) or ""
    # What `dataclass` and `NamedTuple` write where nothing stands.
    return "" if own.startswith(f"{name}(") else own


@cache
def _body(module: str) -> list[ast.stmt]:
    return ast.parse(Path(inspect.getfile(importlib.import_module(module))).read_text(encoding="utf-8")).body
