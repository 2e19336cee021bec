"""What warps cost, and what an embedding loses that does not follow one, by hand and by loops in float64."""

import jax
import numpy as np
import pytest

from facedis_jax.losses import equivariance_loss, flow_variation


def test_the_variation_is_the_sum_over_neighbours():
    flow = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    expected = [
        sum(abs(one[row + 1, column] - one[row, column]).sum() for row in range(3) for column in range(5))
        + sum(abs(one[row, column + 1] - one[row, column]).sum() for row in range(4) for column in range(4))
        for one in flow.astype(np.float64)
    ]
    np.testing.assert_allclose(flow_variation(flow), np.array(expected) / 20, rtol=1e-5)
    assert flow_variation(np.full((4, 5, 2), 7.0)) == 0


def grid(height, width):
    return np.stack(np.meshgrid(np.arange(float(width)), np.arange(float(height))), -1)


def by_loops(first, second, places, third=None, power=0.5):
    height, width, dimensions = first.shape
    known, total, count = first.reshape(-1, dimensions), 0.0, 0
    if third is not None:
        others = third.reshape(-1, dimensions)
        weights = np.exp(known @ others.T)
        known = weights @ others / weights.sum(1, keepdims=True)
    for row in range(height):
        for column in range(width):
            x, y = places[row, column]
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                continue
            match = np.exp(known @ second[row, column])
            match = (match / match.sum()).reshape(height, width)
            total += sum(match[v, u] * np.hypot(u - x, v - y) ** power for v in range(height) for u in range(width))
            count += 1
    return total / count


@pytest.mark.parametrize("with_third", [False, True])
def test_the_loss_is_the_expected_distance_of_a_match(with_third):
    rng = np.random.default_rng(1)
    first, second, third = rng.normal(size=(3, 3, 4, 2))
    places = grid(3, 4) + rng.normal(scale=0.7, size=(3, 4, 2))
    third = third if with_third else None
    with jax.enable_x64(True):
        found = equivariance_loss(first, second, places, third=third)
    np.testing.assert_allclose(found, by_loops(first, second, places, third), rtol=1e-9)


@pytest.mark.parametrize("third", [None, 200 * np.eye(6)[[3, 1, 4, 0, 5, 2]].reshape(2, 3, 6)])
def test_an_embedding_that_follows_the_warp_loses_nothing(third):
    """Each cell is like itself alone, and the second image shows the first one's mirror image."""
    first = 200 * np.eye(6).reshape(2, 3, 6)
    places = grid(2, 3)[:, ::-1]
    assert equivariance_loss(first, first[:, ::-1], places, third=third) == 0
    # One cell of three is where it was: two are off by two.
    np.testing.assert_allclose(equivariance_loss(first, first, places, third=third, power=1.0), 2 * 2 / 3, rtol=1e-6)


def test_a_cell_from_outside_does_not_count_and_none_is_no_nan():
    cells = np.eye(2).reshape(1, 2, 2)
    inside = equivariance_loss(cells, cells, np.array([[[0.0, 0.0], [5.0, 0.0]]]))
    np.testing.assert_allclose(inside, by_loops(cells, cells, np.array([[[0.0, 0.0], [-5.0, 0.0]]])), rtol=1e-6)
    assert equivariance_loss(cells, cells, np.full((1, 2, 2), -1.0)) == 0
