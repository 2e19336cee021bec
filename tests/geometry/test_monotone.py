"""Flows from running sums of positive steps, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.geometry import affine_flow, canonical_grid, monotone_flow
from facedis_jax.metrics import fold_share

HEIGHT, WIDTH = 9, 12


def places_of(steps):
    """Running sums by loops, centred, in float64."""
    x, y = np.zeros((2, HEIGHT, WIDTH))
    for row in range(HEIGHT):
        for column in range(WIDTH):
            x[row, column] = (x[row, column - 1] if column else 0) + steps[row, column, 0]
            y[row, column] = (y[row - 1, column] if row else 0) + steps[row, column, 1]
    x += (WIDTH - 1) / 2 - x.mean(axis=1, keepdims=True)
    y += (HEIGHT - 1) / 2 - y.mean(axis=0, keepdims=True)
    return np.stack([x, y], -1)


def steps_of(seed, spread=1.0):
    return np.exp(np.random.default_rng(seed).normal(scale=spread, size=(HEIGHT, WIDTH, 2)))


@pytest.mark.parametrize("seed", range(3))
def test_places_are_running_sums_and_keep_their_order(seed):
    steps = steps_of(seed)
    with jax.enable_x64(True):
        places = np.asarray(monotone_flow(steps) + canonical_grid(HEIGHT, WIDTH))
    assert places.dtype == np.float64
    np.testing.assert_allclose(places, places_of(steps), atol=1e-12)
    np.testing.assert_allclose(np.diff(places[..., 0], axis=1), steps[:, 1:, 0], atol=1e-12)
    np.testing.assert_allclose(np.diff(places[..., 1], axis=0), steps[1:, :, 1], atol=1e-12)
    np.testing.assert_allclose(np.asarray(monotone_flow(steps)), places - canonical_grid(HEIGHT, WIDTH), atol=1e-4)


def test_steps_of_one_are_no_flow():
    np.testing.assert_array_equal(monotone_flow(jnp.ones((2, HEIGHT, WIDTH, 2))), 0)


def test_where_all_rows_and_all_columns_agree_nothing_folds_and_there_is_an_inverse():
    steps = steps_of(5, spread=2.0)
    steps[..., 0], steps[..., 1] = steps[:1, :, 0], steps[:, :1, 1]
    flow = monotone_flow(steps)
    assert fold_share(flow) == 0
    places = places_of(steps)
    for axis, read, size in ((0, places[0, :, 0], WIDTH), (1, places[:, 0, 1], HEIGHT)):
        assert np.all(np.diff(read) > 0), axis
        # Reading where the inverse says is reading the pixel itself.
        inside = np.linspace(read[0], read[-1], 50)
        back = np.interp(inside, read, np.arange(size))
        np.testing.assert_allclose(np.interp(back, np.arange(size), read), inside, atol=1e-9)


def test_a_strong_shear_can_fold_though_columns_and_rows_keep_their_order():
    """What passes a pixel is neither its right nor its lower neighbour."""
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-1, 1, HEIGHT))
    steps = 1 + 0.9 * np.stack([np.sign(x) * y, np.sign(y) * x], -1)
    assert steps.min() > 0
    assert fold_share(monotone_flow(steps)) > 0


@pytest.mark.parametrize("seed", range(2))
def test_the_affine_part_maps_places_about_the_middle(seed):
    rng = np.random.default_rng(seed)
    steps, matrix, shift = steps_of(seed), np.eye(2) + 0.3 * rng.uniform(-1, 1, (2, 2)), rng.normal(size=2)
    middle = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    expected = (places_of(steps) - middle) @ matrix.T + middle + shift
    with jax.enable_x64(True):
        found = np.asarray(affine_flow(monotone_flow(steps), matrix, shift) + canonical_grid(HEIGHT, WIDTH))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    still = jnp.zeros((HEIGHT, WIDTH, 2))
    np.testing.assert_array_equal(affine_flow(still, jnp.eye(2), jnp.zeros(2)), still)


@pytest.mark.parametrize("shape", [(3, 2), (4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="steps must be"):
        monotone_flow(np.ones(shape))
