"""Every example in a docstring of the package runs, and every public name has one."""

import ast
import doctest
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facedis_jax"


def modules_with_examples() -> list[str]:
    """Modules whose docstrings hold an example, found without importing them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if any(">>>" in (ast.get_docstring(node) or "") for node in nodes if isinstance(node, documented)):
            found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    return found


def site_docstrings():
    """The module of the site that finds public names and their docstrings."""
    path = ROOT / "docs" / "extensions" / "docstrings.py"
    spec = importlib.util.spec_from_file_location("docstrings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCSTRINGS = site_docstrings()
NAMES = [f"{module}.{name}" for module, names in DOCSTRINGS.public_names().items() for name in names]
VALUES = [name for name in NAMES if DOCSTRINGS.value_docstring(*name.rsplit(".", 1))]


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_an_example(name):
    assert doctest.DocTestParser().get_examples(DOCSTRINGS.docstring(*name.rsplit(".", 1)))


@pytest.mark.parametrize("name", VALUES)
def test_examples_of_values_run(name):
    module, value = name.rsplit(".", 1)
    variables = {"jax": jax, **vars(importlib.import_module(module))}
    test = doctest.DocTestParser().get_doctest(DOCSTRINGS.value_docstring(module, value), variables, name, None, 0)
    assert not doctest.DocTestRunner().run(test).failed


@dataclass
class Undocumented:
    number: int = 0


def test_what_dataclasses_write_is_no_docstring():
    assert Undocumented.__doc__
    assert DOCSTRINGS.docstring(__name__, "Undocumented") == ""
