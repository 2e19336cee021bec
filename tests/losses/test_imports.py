"""The pure packages can be taken by other JAX code: they pull in no heavier dependency of the project."""

import subprocess
import sys

import pytest

HEAVY = {
    "flax",
    "orbax",
    "grain",
    "tensorflow_datasets",
    "tensorflow",
    "optax",
    "sklearn",
    "trimesh",
    "pyvista",
}


@pytest.mark.parametrize("package", ["losses", "metrics", "geometry", "sampling"])
def test_pure_packages_import_jax_and_numpy_alone(package):
    code = f"import sys, facedis_jax.{package}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(run.stdout.split())
    assert {"facedis_jax", "jax"} <= imported
    assert not imported & HEAVY


@pytest.mark.parametrize("package", ["losses", "metrics", "geometry", "sampling"])
def test_public_names_exist(package):
    module = __import__(f"facedis_jax.{package}", fromlist=["__all__"])
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
