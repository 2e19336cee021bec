"""What the package says of itself: its extras bring what it imports, and nothing else."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Imported only by one command or option, which names the extra where it is missing.
OPTIONAL = {"tensorboardX": "tensorboard", "pyvista": "rebuild", "viser": "viewer"}
# A namespace that several distributions share.
SHARED = {"orbax": "orbax-checkpoint"}


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def imported_modules() -> set[str]:
    """Top-level modules that the package imports, without Python's own."""
    found = set()
    for path in (ROOT / "facedis_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"facedis_jax"}


def test_extras_bring_what_is_imported():
    owners = packages_distributions()
    distributions = set()
    for module in imported_modules() - set(OPTIONAL):
        (owner,) = {SHARED[module]} if module in SHARED else {canonicalize_name(each) for each in owners[module]}
        distributions.add(owner)
    hard, extras = names_of(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    assert hard == {"jax", "numpy"}
    assert distributions - hard == names_of(extras["run"])
    for module, extra in OPTIONAL.items():
        assert canonicalize_name(module) in names_of(extras[extra])


def test_every_requirement_is_pinned():
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    pinned = {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in lines}
    # Accelerators and compilers are the machine's own.
    unpinned = {"gpu", "tpu", "benchmarks", "benchmarks-tpu", "fuzz"}
    extras = (
        each for name, group in PROJECT["optional-dependencies"].items() if name not in unpinned for each in group
    )
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        name = canonicalize_name(requirement.name)
        if name != "facedis-jax":
            (pin,) = pinned[name]
            assert requirement.specifier.contains(pin.version), requirement
