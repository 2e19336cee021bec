"""The floors of the house: imports point down only, in no circle, and no folder is a drawer."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facedis_jax"

# From the ground up; what stands on one floor does not import its neighbours, unless FLOOR_MATES says so.
FLOORS = (
    {"stopping"},
    {"commands", "errors", "extras", "file_owners", "progress"},
    {"formats", "geometry", "losses", "metrics", "sampling"},
    {"rendering", "models"},
    {"learners", "data"},
    {"training"},
    {"inference"},
    {"evaluation"},
    {"reports"},
    {"viewer"},
    {"runs"},
    {"cli"},
    {"__main__"},
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
# Pure functions of arrays may use each other.
FLOOR_MATES = {("metrics", "losses"), ("metrics", "geometry")}
PURE = ("losses", "metrics", "geometry", "sampling")


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def package_imports() -> dict[str, set[str]]:
    """Of each module of the package, those modules of it that it imports."""
    found = {}
    for name, path in MODULES.items():
        wanted = {each for each in imports_of(path) if each in MODULES} - {name}
        # "from a import b" names both a and a.b; where a.b is a module, a itself is not what is used.
        found[name] = {each for each in wanted if not any(other.startswith(f"{each}.") for other in wanted)}
    return found


def test_imports_point_down():
    upward = []
    for name, wanted in package_imports().items():
        here = name.split(".")[1:2]
        for each in wanted:
            there = each.split(".")[1:2]
            if not (here and there) or here == there or (here[0], there[0]) in FLOOR_MATES:
                continue
            if FLOOR[there[0]] >= FLOOR[here[0]]:
                upward.append(f"{name} -> {each}")
    assert not upward


def test_no_circle():
    order = list(TopologicalSorter(package_imports()).static_order())
    assert set(order) == set(MODULES)


def test_every_folder_has_a_floor():
    folders = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert folders - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("folder", PURE)
def test_pure_functions_import_jax_and_numpy_alone(folder):
    allowed = {"jax", "numpy", "facedis_jax", "collections", "functools", "itertools", "math", "operator", "typing"}
    allowed |= {"dataclasses"}
    for path in (PACKAGE / folder).rglob("*.py"):
        assert {name.partition(".")[0] for name in imports_of(path)} <= allowed, path


def test_learners_and_what_is_below_see_no_files_and_no_devices():
    for folder in ("learners", "models", *PURE):
        for path in (PACKAGE / folder).rglob("*.py"):
            top = {name.partition(".")[0] for name in imports_of(path)}
            assert not top & {"os", "pathlib", "sys", "time", "shutil", "tempfile", "argparse", "tyro", "rich"}, path


def test_nothing_below_the_experiments_imports_one():
    for name, path in MODULES.items():
        outside = {
            each for each in imports_of(path) if each.partition(".")[0] in ("experiments", "benchmarks", "tests")
        }
        assert not outside, name


def test_no_module_takes_what_another_keeps_private():
    for path in [*MODULES.values(), *(ROOT / "experiments").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        private = {name for name in imports_of(path) if any(re.match(r"_(?!.*__$)", part) for part in name.split("."))}
        assert not private, path


def test_no_folder_is_a_drawer():
    files = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        files[path.parent].append(path.name)
    assert max(len(names) for names in files.values()) <= 20
