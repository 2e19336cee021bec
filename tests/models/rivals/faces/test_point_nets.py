"""PointNets, which differentiate at the points of their maxima alone, against all points at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models.rivals.faces.point_nets import PointNet, first_maxima

WIDTHS = (6, 8)


def plain(params, points):
    hidden = points
    for number in range(len(WIDTHS)):
        layer = params[f"Dense_{number}"]
        hidden = hidden @ layer["kernel"] + layer["bias"]
        hidden = hidden - hidden.mean(-1, keepdims=True)
        hidden = nn.relu(hidden / jnp.sqrt(jnp.square(hidden).mean(-1, keepdims=True) + 1e-6))
    last = params[f"Dense_{len(WIDTHS)}"]
    return hidden.max(-2) @ last["kernel"] + last["bias"]


# Fewer points than the last layer is wide, and more.
@pytest.mark.parametrize("count", [5, 30])
def test_values_and_gradients_are_those_of_all_points(count):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2, 3, count, 3)).astype(np.float32)
    net = PointNet(WIDTHS, 4)
    params = jax.jit(net.init)(jax.random.key(0), points)["params"]
    weights = rng.standard_normal((2, 3, 4)).astype(np.float32)

    def loss(function):
        return jax.jit(jax.value_and_grad(lambda params, points: (function(params, points) * weights).sum(), (0, 1)))

    found = loss(lambda params, points: net.apply({"params": params}, points))(params, points)
    expected = loss(plain)(params, points)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_first_of_equal_points_has_the_maximum():
    rng = np.random.default_rng(0)
    layers = [{"kernel": jnp.asarray(rng.standard_normal((3, 5)), jnp.float32), "bias": jnp.zeros(5)}]
    cloud = rng.standard_normal((4, 3)).astype(np.float32)
    found = jax.jit(first_maxima)(layers, np.concatenate([cloud, cloud]))
    assert found.shape == (5,)
    assert found.max() < 4
