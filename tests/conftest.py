"""Four virtual devices, made before jax is imported, so that every test may use one, two or four."""

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"


@pytest.fixture(scope="module")
def quick_compilation():
    """For the modules whose programs run for milliseconds and would compile for seconds."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
