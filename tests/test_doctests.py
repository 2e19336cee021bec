"""Every example in a docstring of the package runs, and every public name has one; equations are a paper's."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import re
from dataclasses import dataclass
from functools import cached_property
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
# A citation of a part of a paper, and what names the paper.
CITATION = re.compile(r"\b(?:Eqs?\.|Table|Algorithm|Figure|[Ss]ection)\s+\d")
IB_VAE, DEFORMABLE, OTHERS = "information-bottlenecked VAE", "deformable generator", re.compile(r'", \d{4}')
EQUATIONS = {IB_VAE: 14, DEFORMABLE: 22}


def members() -> dict[str, object]:
    """By name, the public methods and properties of public classes."""
    found = {}
    for module, names in DOCSTRINGS.public_names().items():
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                value = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
                # What dataclasses and named tuples add has no docstring in the source, or says so.
                if inspect.isfunction(value) and not member.startswith("_"):
                    found[f"{module}.{name}.{member}"] = value
    return found


MEMBERS = members()
# Of what `facedis_jax.load` returns and of what its verbs return.
METHODS = {name: value for name, value in MEMBERS.items() if name.startswith("facedis_jax.inference")}


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", NAMES)
def test_public_names_have_an_example(name):
    assert doctest.DocTestParser().get_examples(DOCSTRINGS.docstring(*name.rsplit(".", 1)))


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_loaded_models_have_an_example(name):
    assert doctest.DocTestParser().get_examples(METHODS[name].__doc__ or "")


def test_examples_of_cached_properties_run():
    """Those that doctest does not find by itself."""
    for name, value in METHODS.items():
        module, kind, member = name.rsplit(".", 2)
        variables = vars(importlib.import_module(module))
        if isinstance(inspect.getattr_static(variables[kind], member), cached_property):
            test = doctest.DocTestParser().get_doctest(inspect.getdoc(value), dict(variables), name, None, 0)
            assert not doctest.DocTestRunner().run(test).failed, name


@pytest.mark.parametrize("name", [*NAMES, *MEMBERS])
def test_citations_name_their_paper_and_an_equation_of_it(name):
    # A method's paper may be that of its class.
    thing = name if name in NAMES else name.rpartition(".")[0]
    text = DOCSTRINGS.docstring(*thing.rsplit(".", 1)) + (MEMBERS[name].__doc__ or "" if name in MEMBERS else "")
    papers = [paper for paper in EQUATIONS if paper in " ".join(text.split())]
    if CITATION.search(text):
        assert papers or OTHERS.search(text)
    for equation in re.findall(r"\bEqs?\.\s+(\d+)", text):
        assert papers
        assert int(equation) <= max(EQUATIONS[paper] for paper in papers)


def test_methods_do_not_name_each_other_by_another_public_name():
    """The site would link `fit` in a model's docstring to the loop of that name."""
    public = {name.rpartition(".")[2] for name in NAMES}
    for name, value in MEMBERS.items():
        owner = name.rpartition(".")[0]
        own = {member.rpartition(".")[2] for member in MEMBERS if member.rpartition(".")[0] == owner}
        named = set(re.findall(r"`(\w+)`", value.__doc__ or ""))
        assert not named & own & public, name


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
