import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from facedis_jax import geometry

# Compiled once for each shape, so that many examples cost little.
farthest_point_sample = jax.jit(geometry.farthest_point_sample, static_argnums=1)
k_nearest = jax.jit(geometry.k_nearest, static_argnums=2)


def draw(seed, count):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def farthest_by_hand(points, num_samples, start):
    points = points.astype(np.float64)
    picked = [start]
    while len(picked) < num_samples:
        distances = np.linalg.norm(points[:, None] - points[picked], axis=2).min(axis=1)
        picked.append(int(np.argmax(distances)))
    return picked


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([1, 15, 40]), st.integers(0, 4))
def test_picks_the_farthest_each_time(seed, num_samples, start):
    cloud = draw(seed, 40)
    picked = farthest_point_sample(cloud, num_samples, start=start)
    assert picked.dtype == jnp.int32
    assert picked.tolist() == farthest_by_hand(cloud, num_samples, start)


@pytest.mark.parametrize("count", [127, 128, 129, 300])
def test_all_points_of_any_number_are_picked_in_order(count):
    cloud = draw(count, count)
    assert farthest_point_sample(cloud, count, start=count - 1).tolist() == farthest_by_hand(cloud, count, count - 1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_order_of_the_points_does_not_matter_from_the_same_start(seed):
    cloud = draw(seed, 60)
    order = np.random.default_rng(seed).permutation(60)
    picked = farthest_point_sample(cloud, 20, start=7)
    of_permuted = farthest_point_sample(cloud[order], 20, start=int(np.argmax(order == 7)))
    np.testing.assert_array_equal(order[of_permuted], picked)


def test_points_at_the_origin_are_not_skipped():
    """The reference CUDA kernel drops points with |p|^2 <= 1e-3; in metres that is a face's centre."""
    cloud = 0.01 * draw(0, 30)
    assert (np.square(cloud).sum(axis=1) <= 1e-3).all()
    assert sorted(farthest_point_sample(cloud, 30).tolist()) == list(range(30))
    assert farthest_point_sample(cloud, 10).tolist() == farthest_point_sample(100 * cloud, 10).tolist()


def test_coinciding_points_are_picked_once_each():
    cloud = np.zeros([6, 3], np.float32)
    assert farthest_point_sample(cloud, 6, start=3).tolist() == [3, 0, 1, 2, 4, 5]


def test_ties_go_to_the_lowest_index():
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]], np.float32)
    assert farthest_point_sample(square, 2).tolist() == [0, 1]
    assert k_nearest(square[:1], square, 4).tolist() == [[0, 1, 2, 3]]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([1, 12]), st.sampled_from([1, 9, 40]))
def test_neighbours_are_those_of_a_tree(seed, k, num_queries):
    cloud, queries = draw(seed, 50), draw(seed + 1, num_queries)
    found = k_nearest(queries, cloud, k)
    assert found.dtype == jnp.int32
    expected = cKDTree(cloud.astype(np.float64)).query(queries.astype(np.float64), k=[*range(1, k + 1)])[1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_neighbours_among_many_points_are_those_of_a_plain_search(k):
    """Of points on a grid, so that many are equally near, and of a number that fills no last group."""
    rng = np.random.default_rng(k)
    cloud, queries = rng.integers(0, 9, (999, 3)).astype(np.float32), rng.integers(0, 9, (50, 3)).astype(np.float32)
    squared = np.square(queries[:, None] - cloud).sum(axis=-1)
    np.testing.assert_array_equal(k_nearest(queries, cloud, k), np.argsort(squared, axis=1, kind="stable")[:, :k])


def test_neighbours_keep_their_order_far_from_the_origin():
    """At 2 m in mm |a|^2 is 4e6, whose float32 spacing of 0.25 swallows distances below 0.5 mm."""
    offsets = np.array([[0.5, 0, 0], [0.25, 0, 0], [0, 0.375, 0], [0, 0, 0.125]], np.float32)
    centre = np.array([[2000.0, 0, 0]], np.float32)
    assert k_nearest(centre, centre + offsets, 4).tolist() == [[3, 1, 2, 0]]


@pytest.mark.parametrize("shift", [0.5, -3.0])
def test_a_shift_and_a_turn_of_axes_change_nothing(shift):
    cloud = np.round(draw(3, 60) * 64) / 64
    moved = cloud[:, [2, 0, 1]] * np.float32([1, -1, 1]) + np.float32(shift)
    np.testing.assert_array_equal(farthest_point_sample(moved, 20), farthest_point_sample(cloud, 20))
    np.testing.assert_array_equal(k_nearest(moved[:5], moved, 3)[:, 0], np.arange(5))


def test_batches_come_from_vmap_and_gradients_stop():
    clouds = np.stack([draw(i, 30) for i in range(3)])
    picked = jax.jit(jax.vmap(lambda cloud: farthest_point_sample(cloud, 8)))(clouds)
    for cloud, indices in zip(clouds, picked, strict=True):
        np.testing.assert_array_equal(indices, farthest_point_sample(cloud, 8))

    def grouped(cloud):
        centres = cloud[farthest_point_sample(cloud, 4)]
        return cloud[k_nearest(centres, cloud, 2)].sum()

    gradient = jax.grad(grouped)(jnp.asarray(clouds[0]))
    assert set(np.unique(gradient)) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert gradient.sum() == 4 * 2 * 3


@pytest.mark.parametrize("count", [0, 6])
def test_too_many_or_none_is_an_error(count):
    cloud = draw(0, 5)
    with pytest.raises(ValueError, match=f"5 points, got {count}"):
        farthest_point_sample(cloud, count)
    with pytest.raises(ValueError, match=f"5 points, got {count}"):
        k_nearest(cloud, cloud, count)


CLOUD = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
BROKEN = np.where(np.arange(6)[:, None] == 2, np.float32(np.nan), CLOUD)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda: geometry.farthest_point_sample(CLOUD.astype(np.int32), 2),
            "points must be of a floating type, got int32",
        ),
        (lambda: geometry.farthest_point_sample(CLOUD[:, :2], 2), r"points must be \[points, 3\], got shape \(6, 2\)"),
        (lambda: geometry.farthest_point_sample(BROKEN, 2), "points must be finite"),
        (lambda: geometry.farthest_point_sample(CLOUD, 2, start=-1), "start must be an index from 0 to 5, got -1"),
        (lambda: geometry.farthest_point_sample(CLOUD, 2, start=6), "start must be an index from 0 to 5, got 6"),
        (lambda: geometry.k_nearest(CLOUD.astype(np.int32), CLOUD, 2), "queries must be of a floating type"),
        (lambda: geometry.k_nearest(CLOUD, BROKEN, 2), "points must be finite"),
        (lambda: geometry.rigid_registration(CLOUD, BROKEN), "target must be finite"),
        (lambda: geometry.rigid_registration(CLOUD[0], CLOUD[0]), "source must be"),
        (lambda: geometry.sample_surface(jax.random.key(0), BROKEN, [[0, 1, 2]], 3), "vertices must be finite"),
        (lambda: geometry.sample_surface(jax.random.key(0), CLOUD, [[0.0, 1, 2]], 3), "triangles must be"),
    ],
)
def test_arguments_that_make_no_sense_are_named(function, message):
    with pytest.raises(ValueError, match=message):
        function()
