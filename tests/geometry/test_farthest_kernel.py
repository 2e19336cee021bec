"""The kernel for TPUs, run as plain JAX, picks what the loop picks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.geometry import farthest_point_sample
from facedis_jax.geometry.farthest_kernel import MOST_POINTS, farthest_points


def draw(seed, clouds, count):
    random = np.random.default_rng(seed)
    points = random.normal(size=(clouds, count, 3)).astype(np.float32)
    return points, random.integers(0, count, clouds).astype(np.int32)


def by_loop(points, start, num_samples):
    return jax.jit(jax.vmap(lambda cloud, first: farthest_point_sample(cloud, num_samples, start=first)))(points, start)


# Clouds of fewer and more than fill a block; points and picks of fewer and more than fill a row.
@pytest.mark.parametrize(("clouds", "count", "num_samples"), [(1, 5, 5), (3, 300, 140), (9, 128, 20), (17, 129, 129)])
def test_picks_are_those_of_the_loop(clouds, count, num_samples):
    points, start = draw(count, clouds, count)
    picked = farthest_points(points, start, num_samples, interpret=True)
    assert picked.dtype == jnp.int32
    np.testing.assert_array_equal(picked, by_loop(points, start, num_samples))


def test_points_that_coincide_and_ties_are_picked_in_order():
    assert farthest_points(jnp.zeros([1, 6, 3]), jnp.array([3]), 6, interpret=True).tolist() == [[3, 0, 1, 2, 4, 5]]
    square = jnp.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]]], jnp.float32)
    assert farthest_points(square, jnp.array([0]), 2, interpret=True).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("platform", "count", "dtype", "kernel"),
    [
        ("tpu", 5023, "float32", True),
        ("tpu", MOST_POINTS + 1, "float32", False),
        ("tpu", 500, "float16", False),
        ("cuda", 5023, "float32", False),
    ],
)
def test_tpus_take_it_where_clouds_fit(platform, count, dtype, kernel):
    clouds = jax.ShapeDtypeStruct((4, count, 3), dtype)
    sample = jax.jit(jax.vmap(lambda cloud: farthest_point_sample(cloud, 32)))
    program = jax.export.export(sample, platforms=[platform])(clouds).mlir_module()
    assert ("tpu_custom_call" in program) is kernel
    assert ("stablehlo.while" in program) is not kernel
