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
    (vertices,), triangles = as_points(vertices=vertices), _checked(triangles, num_points)
    draws = jax.random.uniform(key, (num_points, 3), vertices.dtype)
    return _points_at(vertices, triangles, draws)


def spread_over_surface(vertices: jax.Array, triangles: jax.Array, num_points: int) -> jax.Array:
    """Points spread evenly over a mesh's surface, the same whenever they are asked for.

    Every stretch of the triangles, in their order, gets points in proportion to its area, and within a triangle they
    follow a sequence of low discrepancy. Means over such points are nearer to those over the surface than means over
    as many random ones.

    Args:
      vertices, triangles, num_points: as of `sample_surface`.

    Returns:
      As `sample_surface`.

    Raises:
      ValueError: as `sample_surface`.

    References:
      Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018: the additive sequence of two dimensions.

    Example:
      >>> square = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
      >>> points = spread_over_surface(square, jnp.array([[0, 1, 2], [0, 2, 3]]), 100)
      >>> print([f"{mean:.2f}" for mean in points.mean(axis=0)])
      ['0.51', '0.50', '0.00']
    """
    (vertices,), triangles = as_points(vertices=vertices), _checked(triangles, num_points)
    steps = jnp.arange(num_points)[:, None]
    # Powers of the plastic number 1.3247..., the root of x^3 = x + 1, in which the sequence's steps are irrational.
    place = (0.5 + (steps + 1) * jnp.array([0.7548776662466927, 0.5698402909980532])) % 1
    draws = jnp.concatenate([(steps + 0.5) / max(num_points, 1), place], axis=1)
    return _points_at(vertices, triangles, draws.astype(vertices.dtype))


def _checked(triangles: jax.Array, num_points: int) -> jax.Array:
    triangles = jnp.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not jnp.issubdtype(triangles.dtype, jnp.integer):
        raise ValueError(f"triangles must be [triangles, 3] integers, got {triangles.dtype} of shape {triangles.shape}")
    if not len(triangles) or num_points < 0:
        raise ValueError(f"need one triangle and 0 points or more, got {len(triangles)} and {num_points}")
    return triangles


def _points_at(vertices: jax.Array, triangles: jax.Array, draws: jax.Array) -> jax.Array:
    """Points [points, 3] of draws [points, 3] in [0, 1): of a triangle by area, and of a place in it."""
    corners = vertices[triangles]
    areas = _doubled_areas(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    chosen = corners[_choose(draws[:, 0], areas)]
    # Uniform in the parallelogram of both edges; its far half is turned back into the triangle.
    place = draws[:, 1:]
    place = jnp.where(place.sum(axis=1, keepdims=True) > 1, 1 - place, place)
    first = chosen[:, 0]
    return first + place[:, :1] * (chosen[:, 1] - first) + place[:, 1:] * (chosen[:, 2] - first)


def _doubled_areas(edge_1: jax.Array, edge_2: jax.Array) -> jax.Array:
    """Twice the areas of triangles, [triangles]; exactly 0 where they are rounding errors."""
    norm_1, norm_2 = jnp.linalg.norm(edge_1, axis=1), jnp.linalg.norm(edge_2, axis=1)
    area = jnp.linalg.norm(jnp.cross(edge_1, edge_2), axis=1)
    return jnp.where(area > 4 * jnp.finfo(area.dtype).eps * norm_1 * norm_2, area, 0)


def _choose(draws: jax.Array, weights: jax.Array) -> jax.Array:
    """Indices chosen in proportion to weights by draws in [0, 1); never one of weight 0 beside others."""
    total = jnp.cumsum(weights)
    # One of weight 0 adds nothing to the running sum, so that no draw falls between it and the one before. Rounding can
    # bring a draw to the very end of the sum.
    last = jnp.max(jnp.where(weights > 0, jnp.arange(len(weights)), 0))
    return jnp.minimum(jnp.searchsorted(total, draws * total[-1], side="right"), last)
