"""Parameters without the initialisers, whose compilation would take most of the tests' time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def random_variables() -> Callable[..., Any]:
    """`(module, *inputs) -> variables` as `module.init` makes them, normal numbers."""

    def make(module, *inputs):
        rng = np.random.default_rng(7)

        def fill(leaf):
            fan_in = leaf.shape[0] if len(leaf.shape) > 1 else 10
            return rng.normal(scale=fan_in**-0.5, size=leaf.shape).astype(np.float32)

        return jax.tree.map(fill, jax.eval_shape(module.init, jax.random.key(0), *inputs))

    return make
