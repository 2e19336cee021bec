import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facedis_jax.metrics import average_vertex_distance, distance_statistics, vertex_distance


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_distances_are_the_formula_in_float64():
    prediction, target = draw(0, 2, 3, 40, 3), draw(1, 2, 3, 40, 3)
    expected = np.sqrt(np.sum((prediction.astype(np.float64) - target) ** 2, axis=-1))
    np.testing.assert_allclose(vertex_distance(prediction, target), expected, rtol=1e-5)
    np.testing.assert_allclose(average_vertex_distance(prediction, target), expected.mean(axis=-1), rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_common_rigid_motion_and_order_do_not_matter(seed):
    prediction, target, shift = draw(seed, 30, 3), draw(seed + 1, 30, 3), draw(seed + 2, 3)
    rotation = Rotation.random(rng=seed).as_matrix().astype(np.float32)
    order = np.random.default_rng(seed).permutation(30)
    value = average_vertex_distance(prediction, target)
    moved = average_vertex_distance((prediction @ rotation + shift)[order], (target @ rotation + shift)[order])
    np.testing.assert_allclose(moved, value, rtol=1e-5)


def test_statistics_over_meshes_and_over_vertices_share_the_mean_alone():
    values = np.array([[1.0, 3.0], [1.0, 1.0], [2.0, 10.0]], np.float32)
    meshes, vertices = distance_statistics(values), distance_statistics(values, pooling="vertex")
    assert meshes == pytest.approx((3.0, np.std([2, 1, 6]), 2.0))
    assert vertices == pytest.approx((3.0, np.std([1, 3, 1, 1, 2, 10]), 1.5))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(5,\)"):
        distance_statistics(np.zeros(5))
    with pytest.raises(ValueError, match="not empty"):
        distance_statistics(np.zeros([0, 5]))
    with pytest.raises(ValueError, match="vertex"):
        distance_statistics(np.zeros([2, 5]), pooling="vertices")
