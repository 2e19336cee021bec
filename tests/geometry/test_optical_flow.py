"""Optical flow against flows that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.geometry import optical_flow, warp

SIZE = 32


def smooth(seed, channels, frequencies):
    """Random smooth functions [size, size, channels] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    total = np.zeros((SIZE, SIZE, channels))
    for channel in range(channels):
        for _ in range(6):
            u, v = rng.uniform(-frequencies, frequencies, 2)
            total[..., channel] += np.sin(u * x + v * y + rng.uniform(0, 6)) / 6
    return total


@pytest.mark.parametrize("channels", [1, 3])
def test_a_known_flow_is_found(channels):
    source = jnp.asarray(0.5 + 0.5 * smooth(0, channels, 0.7), jnp.float32)
    # Of some pixels; smooth as faces move.
    flow = jnp.asarray(4 * smooth(1, 2, 0.15), jnp.float32)
    target = warp(source, flow)
    found = jax.jit(optical_flow)(source, target)
    inside = np.s_[4:-4, 4:-4]
    wrong = np.linalg.norm(found - flow, axis=-1)[inside]
    size = np.linalg.norm(flow, axis=-1)[inside]
    assert size.mean() > 1
    assert wrong.mean() < 0.1 * size.mean()
    assert np.abs(warp(source, found) - target)[inside].mean() < 0.05 * np.abs(source - target)[inside].mean()


def test_nothing_moves_where_nothing_is_seen():
    flat = jnp.full((SIZE, SIZE, 3), 0.3)
    np.testing.assert_array_equal(jax.jit(optical_flow)(flat, flat + 0.1), 0)
    image = jnp.asarray(0.5 + 0.5 * smooth(2, 3, 0.7), jnp.float32)
    np.testing.assert_array_equal(jax.jit(optical_flow)(image, image), 0)


@pytest.mark.parametrize(
    ("target", "match"),
    [(np.zeros((4, 5, 3), np.float32), "got shapes"), (np.zeros((4, 4, 3), np.uint8), "floating dtype")],
)
def test_images_that_do_not_fit(target, match):
    with pytest.raises(ValueError, match=match):
        optical_flow(np.zeros((4, 4, 3), np.float32), target)
