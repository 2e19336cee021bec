"""Checks an environment that has the wheel and nothing else: the pure functions work, all else names its extra."""

import doctest
import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys

import facedis_jax.losses
import facedis_jax.sampling
from facedis_jax.extras import MissingExtra

# jax brings jaxlib, ml_dtypes, opt_einsum and scipy.
EXPECTED = {"jax", "jaxlib", "ml_dtypes", "numpy", "opt_einsum", "scipy"}
PURE = {"losses", "metrics", "geometry", "sampling"}


def others(distributions):
    """Names of distributions, spelled as modules are, without what every environment has."""
    return {name.lower().replace("-", "_") for name in distributions} - {"pip", "setuptools", "facedis_jax"}


def needs_extra(part):
    """Whether an import of a part of the package is refused with the line that names the extra."""
    try:
        importlib.import_module(f"facedis_jax.{part}")
    except MissingExtra as error:
        return str(error).endswith("pip install 'facedis-jax[run]' brings")
    return False


installed = others(each.metadata["Name"] for each in importlib.metadata.distributions())
assert installed == EXPECTED, installed

owners = importlib.metadata.packages_distributions()
imported = others(owner for name in list(sys.modules) for owner in owners.get(name.partition(".")[0], ()))
assert imported <= EXPECTED, imported

results = doctest.testmod(facedis_jax.losses.gaussian)
assert results.attempted, "no example in facedis_jax.losses.gaussian"
assert not results.failed, results

parts = {part.name for part in pkgutil.iter_modules(facedis_jax.__path__) if part.ispkg} - {"cli"}
assert {part for part in parts if not needs_extra(part)} == PURE

# cli itself is imported, so that the command can say what it needs.
for arguments, code, lines in (["--help"], 0, 0), (["edit"], 2, 1):
    done = subprocess.run([sys.executable, "-I", "-m", "facedis_jax", *arguments], capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, lines), done
print("jax and numpy alone: imports, a doctest and the lines about extras are as they should be")
