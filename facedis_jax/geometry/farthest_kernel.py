"""Farthest point sampling on a TPU: all picks in one kernel, with the clouds in fast memory throughout.

XLA runs a loop over the picks as one program a pick, each of which waits for the one before.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# A TPU's vectors have 8 rows of 128 lanes; each row holds points of one cloud.
_CLOUDS, _LANES = 8, 128
# Coordinates, double-buffered, and distances take about 8 MB of the 16 that a kernel may have.
MOST_POINTS = 32_768


def farthest_points(points: jax.Array, start: jax.Array, num_samples: int, *, interpret: bool = False) -> jax.Array:
    """Indices of farthest points, as `farthest_point_sample`, of a batch of clouds.

    Args:
      points: [clouds, points, 3], float32; at most `MOST_POINTS` of a cloud.
      start: [clouds] int32, indices of the first.
      num_samples: how many to pick of each cloud.
      interpret: run the kernel as plain JAX, on any device.

    Returns:
      [clouds, num_samples] int32.
    """
    clouds, count, _ = points.shape
    rows, lanes, picks = (_up_to(clouds, _CLOUDS), _up_to(count, _LANES), _up_to(num_samples, _LANES))
    x, y, z = jnp.pad(jnp.moveaxis(points, 2, 0), ((0, 0), (0, rows - clouds), (0, lanes - count)))
    first = jnp.pad(start.astype(jnp.float32), (0, rows - clouds))[:, None]

    def block(width: int) -> pl.BlockSpec:
        return pl.BlockSpec((_CLOUDS, width), lambda i: (i, 0))

    picked = pl.pallas_call(
        functools.partial(_kernel, count, num_samples),
        out_shape=jax.ShapeDtypeStruct((rows, picks), jnp.int32),
        grid=(rows // _CLOUDS,),
        in_specs=[block(1), block(lanes), block(lanes), block(lanes)],
        out_specs=block(picks),
        scratch_shapes=[pltpu.VMEM((_CLOUDS, lanes), jnp.float32)],
        # For each point at each pick: nine for its distance to the last one, and five to find the farthest.
        cost_estimate=pl.CostEstimate(
            flops=14 * rows * lanes * num_samples, bytes_accessed=4 * rows * (3 * lanes + picks), transcendentals=0
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        interpret=interpret,
        name="farthest_points",
    )(first, x, y, z)
    return picked[:clouds, :num_samples]


def _kernel(
    count: int,
    num_samples: int,
    start_ref: Any,
    x_ref: Any,
    y_ref: Any,
    z_ref: Any,
    picked_ref: Any,
    distance_ref: Any,
) -> None:
    # Indices are float32, which holds those of up to 2^24 points: there is no minimum of integers along the lanes.
    index = jax.lax.broadcasted_iota(jnp.int32, distance_ref.shape, 1).astype(jnp.float32)
    place = jax.lax.broadcasted_iota(jnp.int32, picked_ref.shape, 1)
    # The padding of the last lanes is below the picked points, or it would be picked at the end.
    distance_ref[...] = jnp.where(index < count, jnp.inf, -2.0)

    def pick(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        last, picked = carry
        is_last = index == last

        def square(ref: Any) -> jax.Array:
            return jnp.square(ref[...] - jnp.sum(jnp.where(is_last, ref[...], 0.0), axis=1, keepdims=True))

        to_last = square(x_ref) + square(y_ref) + square(z_ref)
        # Below every true distance, so that a picked point is never the farthest again.
        distance = jnp.where(is_last, -1.0, jnp.minimum(distance_ref[...], to_last))
        distance_ref[...] = distance
        farthest = distance == jnp.max(distance, axis=1, keepdims=True)
        last = jnp.min(jnp.where(farthest, index, count - 1.0), axis=1, keepdims=True)
        return last, jnp.where(place == i, last.astype(jnp.int32), picked)

    first = start_ref[...]
    picked = jnp.where(place == 0, first.astype(jnp.int32), 0)
    picked_ref[...] = jax.lax.fori_loop(1, num_samples, pick, (first, picked))[1]


def _up_to(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
