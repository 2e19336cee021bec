"""Points on the surface of a triangle mesh."""

import jax
import jax.numpy as jnp

from facedis_jax.geometry.checks import as_points


def sample_surface(key: jax.Array, vertices: jax.Array, triangles: jax.Array, num_points: int) -> jax.Array:
    """Random points on a mesh's surface, uniform by area and independent of each other.

    Triangles whose area is no more than the rounding error of its computation are never chosen. The points are
    differentiable in the vertices, with the triangles that they were drawn from held fixed.

    Args:
      key: typed PRNG key; the same key gives the same points.
      vertices: [vertices, 3] floating, in any unit.
      triangles: [triangles, 3] indices of vertices.
      num_points: how many to draw.

    Returns:
      [num_points, 3] in the unit of the vertices. Where no triangle has an area, all points lie in one of them.

    Raises:
      ValueError: where shapes or types do not fit, vertices are known and not finite, there is no triangle, or
        `num_points` is negative.

    References:
      Osada et al., "Shape Distributions", 2002, section 4.2.

    Example:
      >>> square = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
      >>> points = sample_surface(jax.random.key(0), square, jnp.array([[0, 1, 2], [0, 2, 3]]), 10_000)
      >>> print(points.shape, [f"{mean:.1f}" for mean in points.mean(axis=0)])
      (10000, 3) ['0.5', '0.5', '0.0']
    """
    (vertices,), triangles = as_points(vertices=vertices), jnp.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not jnp.issubdtype(triangles.dtype, jnp.integer):
        raise ValueError(f"triangles must be [triangles, 3] integers, got {triangles.dtype} of shape {triangles.shape}")
    if not len(triangles) or num_points < 0:
        raise ValueError(f"need one triangle and 0 points or more, got {len(triangles)} and {num_points}")
    triangle_key, place_key = jax.random.split(key)
    first = vertices[triangles[:, 0]]
    edge_1, edge_2 = vertices[triangles[:, 1]] - first, vertices[triangles[:, 2]] - first
    chosen = _choose(triangle_key, _doubled_areas(edge_1, edge_2), num_points)
    # Uniform in the parallelogram of both edges; its far half is turned back into the triangle.
    place = jax.random.uniform(place_key, (num_points, 2), vertices.dtype)
    place = jnp.where(place.sum(axis=1, keepdims=True) > 1, 1 - place, place)
    return first[chosen] + place[:, :1] * edge_1[chosen] + place[:, 1:] * edge_2[chosen]


def _doubled_areas(edge_1: jax.Array, edge_2: jax.Array) -> jax.Array:
    """Twice the areas of triangles, [triangles]; exactly 0 where they are rounding errors."""
    norm_1, norm_2 = jnp.linalg.norm(edge_1, axis=1), jnp.linalg.norm(edge_2, axis=1)
    area = jnp.linalg.norm(jnp.cross(edge_1, edge_2), axis=1)
    return jnp.where(area > 4 * jnp.finfo(area.dtype).eps * norm_1 * norm_2, area, 0)


def _choose(key: jax.Array, weights: jax.Array, count: int) -> jax.Array:
    """Indices [count] drawn in proportion to weights; never one of weight 0 beside others."""
    # In ascending order those of weight 0 come first, at exactly 0 of the running sum, which no draw falls short of.
    order = jnp.argsort(weights)
    total = jnp.cumsum(weights[order])
    draws = jax.random.uniform(key, (count,), weights.dtype) * total[-1]
    place = jnp.searchsorted(total, draws, side="right")
    return order[jnp.minimum(place, len(weights) - 1)]
