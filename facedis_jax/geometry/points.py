"""Farthest points and nearest neighbours. Indices carry no gradient."""

import functools

import jax
import jax.numpy as jnp

from facedis_jax.geometry.batches import batch_under_vmap
from facedis_jax.geometry.checks import as_points, is_known
from facedis_jax.geometry.platforms import by_platform

# Points in a row of the loop below: the lanes of a TPU's vectors. On a CPU, 64 to 512 take about the same time.
_ROW = 128
# Points in a group of `k_nearest`, which searches groups before points. 16 to 64 take about the same time.
_GROUP = 32


def farthest_point_sample(points: jax.Array, num_samples: int, *, start: jax.Array | int = 0) -> jax.Array:
    """Indices of points picked one by one, each the farthest from those picked before; ties go to the lowest index.

    As in PCT, the encoder of the information-bottlenecked VAE (section 3.2.2). All points can be picked, those near the
    origin too (a common CUDA kernel skips them), and no index comes twice, even where points coincide.

    Args:
      points: [points, 3].
      num_samples: how many to pick, at most as many as there are points.
      start: index of the first.

    Returns:
      [num_samples] int32 indices, in the order in which they were picked.

    Raises:
      ValueError: if `num_samples` is not between 1 and the number of points, `start` names none of them, or points are
        not [points, 3] of a floating type or not finite. Traced values are not looked at: of a cloud with NaN, indices
        mean nothing.

    Example:
      >>> farthest_point_sample(jnp.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]), 3).tolist()
      [0, 2, 1]
    """
    (points,) = as_points(points=points)
    count = points.shape[0]
    if is_known(start) and not 0 <= start < count:
        raise ValueError(f"start must be an index from 0 to {count - 1}, got {start}")
    if not 1 <= num_samples <= count:
        raise ValueError(f"num_samples must lie between 1 and the {count} points, got {num_samples}")
    points = jax.lax.stop_gradient(points)
    return batch_under_vmap(functools.partial(_farthest_points, num_samples=num_samples))(points, jnp.int32(start))


def _farthest_points(points: jax.Array, start: jax.Array, num_samples: int) -> jax.Array:
    """Indices [clouds, num_samples] for clouds [clouds, points, 3]: one kernel on a TPU and a loop elsewhere."""
    # Imported here, since Pallas takes longer than all of this package's functions.
    from facedis_jax.geometry.farthest_kernel import MOST_POINTS, farthest_points

    loop = jax.vmap(functools.partial(_farthest_points_by_loop, num_samples=num_samples))
    if points.dtype != jnp.float32 or points.shape[1] > MOST_POINTS or not len(points):
        return loop(points, start)
    kernel = functools.partial(farthest_points, num_samples=num_samples)
    return by_platform(points, start, tpu=kernel, default=loop)


def _farthest_points_by_loop(points: jax.Array, start: jax.Array, num_samples: int) -> jax.Array:
    """`farthest_point_sample` of one cloud as a loop over the picks."""
    count = len(points)
    rows, columns = -(-count // _ROW), _ROW
    coordinates = jnp.pad(points.T, ((0, 0), (0, rows * columns - count)))
    # Coordinates in planes of their own: a sum over a last axis of three is half as fast.
    x, y, z = coordinates.reshape(3, rows, columns)
    indices = jnp.arange(rows * columns, dtype=jnp.int32).reshape(rows, columns)

    def pick(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        picked, distance = carry
        last = picked[i - 1]
        last_x, last_y, last_z = coordinates[:, last]
        to_last = jnp.square(x - last_x) + jnp.square(y - last_y) + jnp.square(z - last_z)
        # Below every true distance, so that a picked point is never the farthest again.
        distance = jnp.where(indices == last, -1.0, jnp.minimum(distance, to_last))
        # argmax reduces pairs of a value and an index, for which XLA:CPU has only a scalar loop. So the maximum of each
        # row is found first, then the index of the farthest row, then the index within it.
        row_maxima = distance.max(axis=1)
        farthest = row_maxima.max()
        row = _first(row_maxima == farthest)
        return picked.at[i].set(jnp.minimum(row * columns + _first(distance[row] == farthest), count - 1)), distance

    picked = jnp.zeros(num_samples, jnp.int32).at[0].set(start)
    # The padding of the last row is below the picked points, or it would be picked at the end.
    distance = jnp.where(indices < count, jnp.inf, -2.0).astype(points.dtype)
    return jax.lax.fori_loop(1, num_samples, pick, (picked, distance))[0]


def _first(chosen: jax.Array) -> jax.Array:
    """Index of the first true value of [values]; the last index if none is true."""
    return jnp.min(jnp.where(chosen, jnp.arange(len(chosen), dtype=jnp.int32), len(chosen) - 1))


def k_nearest(queries: jax.Array, points: jax.Array, k: int) -> jax.Array:
    """The `k` nearest points to each query, nearest first; ties go to the lowest index.

    As in PCT, the encoder of the information-bottlenecked VAE (section 3.2.2). Distances come from differences of
    coordinates: the expanded form `|a|^2 - 2ab + |b|^2` loses the small distances between neighbours to rounding
    wherever the face is far from the origin.

    Args:
      queries: [queries, 3].
      points: [points, 3].
      k: how many, at most as many as there are points.

    Returns:
      [queries, k] int32 indices into `points`.

    Raises:
      ValueError: if `k` is not between 1 and the number of points, or queries or points are not [.., 3] of a floating
        type or, where they are not traced, not finite.

    Example:
      >>> points = jnp.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]])
      >>> k_nearest(jnp.array([[4.0, 0, 0], [0.2, 0, 0]]), points, 2).tolist()
      [[2, 1], [0, 1]]
    """
    queries, points = as_points(queries=queries, points=points)
    if not 1 <= k <= points.shape[0]:
        raise ValueError(f"k must lie between 1 and the {points.shape[0]} points, got {k}")
    queries, points = jax.lax.stop_gradient((queries, points))
    groups = -(-points.shape[0] // _GROUP)
    if groups <= 2 * k:
        return jax.lax.top_k(-_squared_distances(queries, points), k)[1].astype(jnp.int32)
    # The k nearest points lie in the k groups whose nearest points are nearest; to find these groups first halves the
    # time. Sorted groups keep the lowest index first among ties; the padding of the last group is infinitely far.
    points = jnp.pad(points, ((0, groups * _GROUP - points.shape[0]), (0, 0)), constant_values=jnp.inf)
    # Without the barrier XLA computes the distances twice, for the groups and for their points.
    nearness = jax.lax.optimization_barrier(-_squared_distances(queries, points)).reshape(-1, groups, _GROUP)
    near_groups = jnp.sort(jax.lax.top_k(nearness.max(axis=-1), k)[1], axis=-1)[:, :, None]
    candidates = jnp.take_along_axis(nearness, near_groups, axis=1).reshape(-1, k * _GROUP)
    indices = (near_groups * _GROUP + jnp.arange(_GROUP)).reshape(-1, k * _GROUP)
    return jnp.take_along_axis(indices, jax.lax.top_k(candidates, k)[1], axis=1).astype(jnp.int32)


def _squared_distances(queries: jax.Array, points: jax.Array) -> jax.Array:
    x, y, z = jnp.square(queries.T[:, :, None] - points.T[:, None])
    return x + y + z
