"""Rotations: of vectors, spread evenly, and the normals of a surface that they turn."""

import jax
import jax.numpy as jnp
import numpy as np

# Irrational steps of the spiral below.
_PHI, _PSI = np.sqrt(2.0), 1.533751168755204288118041


def rotation_matrix(vector: jax.Array) -> jax.Array:
    """The rotation [..., 3, 3] about the direction of a vector [..., 3], by its length in radians.

    Differentiable everywhere, and proper whatever the vector.

    Example:
      >>> print(rotation_matrix(jnp.array([0.0, 0, jnp.pi / 2])).round(3) + 0.0)
      [[ 0. -1.  0.]
       [ 1.  0.  0.]
       [ 0.  0.  1.]]
    """
    square = jnp.sum(vector**2, -1, keepdims=True)[..., None]
    small = square < 1e-8
    safe = jnp.where(small, 1.0, square)
    angle = jnp.sqrt(safe)
    sine = jnp.where(small, 1 - square / 6, jnp.sin(angle) / angle)
    cosine = jnp.where(small, 0.5 - square / 24, (1 - jnp.cos(angle)) / safe)
    x, y, z = (vector[..., i] for i in range(3))
    zero = jnp.zeros_like(x)
    rows = [jnp.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    cross = jnp.stack(rows, -2)
    return jnp.eye(3) + sine * cross + cosine * jnp.matmul(cross, cross, precision=jax.lax.Precision.HIGHEST)


def spread_rotations(count: int) -> np.ndarray:
    """Rotations [count, 3, 3] spread evenly over all there are, the same whenever they are asked for.

    References:
      Alexa, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)", 2022.

    Example:
      >>> spread_rotations(60).shape
      (60, 3, 3)
    """
    step = np.arange(count) + 0.5
    inner, outer = np.sqrt(step / count), np.sqrt(1 - step / count)
    first, second = 2 * np.pi * step / _PHI, 2 * np.pi * step / _PSI
    x, y, z, w = inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def vertex_normals(vertices: jax.Array, triangles: jax.Array, rings: jax.Array) -> jax.Array:
    """Unit normals [vertices, 3], each the mean of the unit normals around the vertex; zero where there are none.

    Args:
      vertices: [vertices, 3].
      triangles: [triangles, 3], counter-clockwise seen from outside.
      rings: [vertices, ring], as from `triangle_rings`.

    Example:
      >>> square = jnp.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
      >>> rings = jnp.array([[0, 1], [0, 0], [0, 1], [1, 1]])
      >>> vertex_normals(square, jnp.array([[0, 1, 2], [0, 2, 3]]), rings)[0].tolist()
      [0.0, 0.0, 1.0]
    """
    corners = vertices[triangles]
    flat = _unit(jnp.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    return _unit(flat[rings].sum(1))


def _unit(vectors: jax.Array) -> jax.Array:
    square = jnp.sum(vectors**2, -1, keepdims=True)
    return vectors * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
