import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.models import PointFeatureConfig, fourier_moments, group_points, point_features
from facedis_jax.models.point_features import grouped_linear, grouped_linear_plain

CONFIG = PointFeatureConfig(centres=(12, 5), neighbours=4, harmonics=2)
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3)).astype(np.float32)


def moments_in_numpy(points, harmonics, period):
    """E[f_a(x) f_b(y) f_c(z)], one product at a time, in float64."""

    def wave(index, coordinate):
        if index == 0:
            return np.ones_like(coordinate)
        function = np.cos if index <= harmonics else np.sin
        return function(2 * np.pi * ((index - 1) % harmonics + 1) * coordinate / period)

    x, y, z = points.astype(np.float64).T
    indices = itertools.product(range(2 * harmonics + 1), repeat=3)
    return np.array([np.mean(wave(a, x) * wave(b, y) * wave(c, z)) for a, b, c in indices])[1:]


@pytest.mark.parametrize(("harmonics", "period"), [(1, 1.0), (2, 1.7), (3, 0.8)])
def test_moments_are_means_of_products_of_waves(harmonics, period):
    moments = fourier_moments(POINTS, harmonics, period)
    assert moments.shape == ((2 * harmonics + 1) ** 3 - 1,)
    np.testing.assert_allclose(moments, moments_in_numpy(POINTS, harmonics, period), atol=1e-6)


def test_no_harmonics_give_no_moments():
    assert fourier_moments(POINTS, 0, 1.0).shape == (0,)


@jax.jit
def features_from_the_foremost(points):
    return point_features(points, replace(CONFIG, start="foremost"))


@jax.jit
def groups_from(points, start):
    return group_points(points, CONFIG, start=start)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)))
def test_features_from_the_foremost_point_do_not_depend_on_the_order_of_the_points(order):
    order = np.array(order)
    features, permuted = features_from_the_foremost(POINTS), features_from_the_foremost(POINTS[order])

    assert features.grouping.centres[0] == POINTS[:, 2].argmax()
    assert_same_groups(features.grouping, permuted.grouping, order)
    np.testing.assert_allclose(permuted.moments, features.moments, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 39))
def test_groups_from_the_same_point_do_not_depend_on_the_order_of_the_points(order, start):
    order = np.array(order)
    grouping, permuted = groups_from(POINTS, start), groups_from(POINTS[order], np.argsort(order)[start])
    assert_same_groups(grouping, permuted, order)


def assert_same_groups(grouping, permuted, order):
    np.testing.assert_array_equal(order[permuted.centres], grouping.centres)
    np.testing.assert_array_equal(order[permuted.neighbours], grouping.neighbours)
    np.testing.assert_array_equal(permuted.coarse_centres, grouping.coarse_centres)
    np.testing.assert_array_equal(permuted.coarse_neighbours, grouping.coarse_neighbours)


def test_groups_are_the_nearest_points_with_the_centre_first():
    grouping = group_points(POINTS, CONFIG)
    assert [x.shape for x in grouping] == [(12,), (12, 4), (5,), (5, 4)]
    np.testing.assert_array_equal(grouping.neighbours[:, 0], grouping.centres)
    np.testing.assert_array_equal(grouping.coarse_neighbours[:, 0], grouping.coarse_centres)

    sampled = POINTS[grouping.centres]
    distances = np.linalg.norm(sampled[:, None] - POINTS, axis=-1)
    np.testing.assert_array_equal(grouping.neighbours, np.argsort(distances, axis=1)[:, :4])
    distances = np.linalg.norm(sampled[grouping.coarse_centres][:, None] - sampled, axis=-1)
    np.testing.assert_array_equal(grouping.coarse_neighbours, np.argsort(distances, axis=1)[:, :4])


def test_features_start_at_the_first_point_by_default():
    features = point_features(POINTS, CONFIG)
    assert features.grouping.centres[0] == 0
    assert features.moments.shape == (124,)


def test_a_cloud_with_fewer_points_than_centres_is_refused():
    with pytest.raises(ValueError, match="between 1 and the 11 points, got 12"):
        point_features(POINTS[:11], CONFIG)


def test_grouped_linear_is_the_concatenation_times_the_kernel():
    rng = np.random.default_rng(1)
    features, kernel = rng.normal(size=(40, 6)), rng.normal(size=(12, 7))
    grouping = group_points(POINTS, CONFIG)
    features, kernel = jnp.float32(features), jnp.float32(kernel)

    def squared(function, features, kernel):
        return jnp.square(function(features, grouping.centres, grouping.neighbours, kernel)).sum()

    fast = grouped_linear(features, grouping.centres, grouping.neighbours, kernel)
    plain = grouped_linear_plain(features, grouping.centres, grouping.neighbours, kernel)
    assert fast.shape == (12, 4, 7)
    np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)

    centre = np.asarray(features, np.float64)[grouping.centres][:, None].repeat(4, axis=1)
    near = np.asarray(features, np.float64)[grouping.neighbours]
    expected = np.concatenate([near - centre, centre], axis=-1) @ np.asarray(kernel, np.float64)
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)

    gradients = jax.grad(squared, argnums=(1, 2))
    for ours, theirs in zip(
        gradients(grouped_linear, features, kernel),
        gradients(grouped_linear_plain, features, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
