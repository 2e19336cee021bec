"""Nearest points of clouds and of surfaces, by indices that carry no gradient and places that do."""

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry.checks import as_points

_PRECISE = jax.lax.Precision.HIGHEST
# Of 23 bits of a distance's mantissa, so many stay beside an index.
_LEAST_BITS = 7


def nearest_both_ways(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each point of two clouds, the index of the nearest point of the other one.

    Distances are squared, computed from one product of the coordinates, and rounded to the bits that an index leaves
    free: a reduction to the smallest of such numbers runs on a CPU's vectors, one that carries an index beside does
    not. Among points whose distances differ by less than 1 % in clouds of up to 32,768 points, any may be named.
    Coordinates should be small: clouds about the origin.

    Args:
      first: [points, 3].
      second: [others, 3].

    Returns:
      [points] int32 indices into `second`, and [others] int32 indices into `first`.

    Raises:
      ValueError: for points of another shape or type, not finite, or more than 65,536 of them.

    Example:
      >>> first = jnp.array([[0.0, 0, 0], [4, 0, 0]])
      >>> [found.tolist() for found in nearest_both_ways(first, jnp.array([[1.0, 0, 0], [0, 1, 0], [5, 0, 0]]))]
      [[0, 2], [0, 0, 1]]
    """
    first, second = jax.lax.stop_gradient(as_points(first=first, second=second))
    if max(len(first), len(second)) > 1 << (23 - _LEAST_BITS):
        raise ValueError(f"at most {1 << (23 - _LEAST_BITS)} points, got {len(first)} and {len(second)}")
    products = jnp.matmul(first, -2 * second.T, precision=_PRECISE)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) + products
    bits = jax.lax.bitcast_convert_type(jnp.maximum(squares, 0).astype(jnp.float32), jnp.int32)
    return _smallest(bits, 1), _smallest(bits, 0)


def _smallest(bits: jax.Array, axis: int) -> jax.Array:
    """Where along an axis the smallest of positive numbers stands, which are given by their bits."""
    length = bits.shape[axis]
    mask = (1 << max(length - 1, 1).bit_length()) - 1
    index = jax.lax.broadcasted_iota(jnp.int32, bits.shape, axis)
    return ((bits & ~mask) | index).min(axis) & mask


def triangle_rings(triangles: np.ndarray, num_vertices: int, *, most: int = 12) -> np.ndarray:
    """The triangles around each vertex, [vertices, ring] int32 indices; a shorter ring repeats its first.

    Args:
      triangles: [triangles, 3], known.
      num_vertices: of the mesh. A vertex of no triangle gets triangle 0.
      most: how many triangles of a ring are kept.

    Example:
      >>> triangle_rings(np.array([[0, 1, 2], [0, 2, 3]]), 4).tolist()
      [[0, 1], [0, 0], [0, 1], [1, 1]]
    """
    corners = np.asarray(triangles).ravel()
    order = np.argsort(corners, kind="stable")
    counts = np.bincount(corners, minlength=num_vertices)
    starts = np.cumsum(counts) - counts
    width = max(1, min(int(counts.max(initial=1)), most))
    place = np.arange(width)[None]
    place = np.where(place < counts[:, None], place, 0) + starts[:, None]
    found = (order // 3)[np.minimum(place, len(order) - 1)]
    return np.where(counts[:, None] > 0, found, 0).astype(np.int32)


def closest_on_triangles(points: jax.Array, corners: jax.Array) -> jax.Array:
    """Weights [..., 3] of the corners at the closest places of triangles to points.

    The place is `(weights[..., None] * corners).sum(-2)`. Triangles without an area count as their edges.

    Args:
      points: [..., 3].
      corners: [..., 3, 3], three corners of a triangle for each point.

    References:
      Ericson, "Real-Time Collision Detection", 2005, section 5.1.5.

    Example:
      >>> triangle = jnp.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]])
      >>> print(jax.jit(closest_on_triangles)(jnp.array([[0.5, 0.5, 1], [3, 0, 0]]), triangle))
      [[0.5  0.25 0.25]
       [0.   1.   0.  ]]
    """
    a, b, c = (corners[..., i, :] for i in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (jnp.sum(x * y, -1) for x, y in ((ab, ab), (ab, ac), (ac, ac)))
    d20, d21 = jnp.sum(ap * ab, -1), jnp.sum(ap * ac, -1)
    area = d00 * d11 - d01 * d01
    safe = jnp.where(area > 0, area, 1)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = (area > 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    bc = c - b
    along_ab, along_ac = _clipped(d20, d00), _clipped(d21, d11)
    along_bc = _clipped(jnp.sum((points - b) * bc, -1), jnp.sum(bc * bc, -1))
    zero = jnp.zeros_like(v)
    edges = jnp.stack(
        [
            jnp.stack([1 - along_ab, along_ab, zero], -1),
            jnp.stack([1 - along_ac, zero, along_ac], -1),
            jnp.stack([zero, 1 - along_bc, along_bc], -1),
        ],
        -2,
    )
    places = jnp.sum(edges[..., None] * corners[..., None, :, :], -2)
    squares = jnp.sum(jnp.square(points[..., None, :] - places), -1)
    best = squares.min(-1, keepdims=True)
    first, second = squares[..., :1] <= best, squares[..., 1:2] <= best
    edge = jnp.where(first, edges[..., 0, :], jnp.where(second, edges[..., 1, :], edges[..., 2, :]))
    return jnp.where(inside[..., None], jnp.stack([1 - v - w, v, w], -1), edge)


def _clipped(product: jax.Array, square: jax.Array) -> jax.Array:
    return jnp.clip(product / jnp.where(square > 0, square, 1), 0, 1)


def closest_on_surface(
    points: jax.Array, vertices: jax.Array, triangles: jax.Array, around: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The closest place to each point on those triangles of a mesh that may be nearest.

    Args:
      points: [points, 3].
      vertices: [vertices, 3].
      triangles: [triangles, 3].
      around: [points, candidates] indices of triangles, such as the rings of the nearest vertices.

    Returns:
      [points] index of the triangle, and [points, 3] weights of its corners.

    Example:
      >>> vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
      >>> triangles = jnp.array([[0, 1, 2], [0, 2, 3]])
      >>> closest = jax.jit(closest_on_surface)
      >>> found, weights = closest(jnp.array([[0.0, 0.5, 3]]), vertices, triangles, jnp.array([[0, 1]]))
      >>> print(found, weights)
      [1] [[0.5 0.  0.5]]
    """
    corners = vertices[triangles[around]]
    weights = closest_on_triangles(points[:, None], corners)
    squares = jnp.sum(jnp.square(points[:, None] - jnp.sum(weights[..., None] * corners, -2)), -1)
    best = squares.argmin(1)
    rows = jnp.arange(len(points))
    return around[rows, best], weights[rows, best]
