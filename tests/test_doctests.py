"""Every example in a docstring of the package runs, and every public name of the pure packages has one."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facedis_jax"
PURE = ("losses", "metrics", "geometry", "sampling")


def modules_with_examples() -> list[str]:
    """Modules whose docstrings hold an example, found without importing them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(">>>" in (ast.get_docstring(node) or "") for node in nodes if isinstance(node, documented)):
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return found


def public_names() -> list[str]:
    """Names in the `__all__` of the pure packages, as `losses.log_joint`."""
    names = []
    for package in PURE:
        tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names += [f"{package}.{name}" for name in ast.literal_eval(node.value)]
    return names


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", public_names())
def test_public_names_of_the_pure_packages_have_an_example(name):
    package, _, attribute = name.partition(".")
    thing = getattr(importlib.import_module(f"facedis_jax.{package}"), attribute)
    assert doctest.DocTestParser().get_examples(inspect.getdoc(thing) or "")
