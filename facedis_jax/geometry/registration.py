"""Rigid registration of point sets in correspondence."""

import jax
import jax.numpy as jnp

from facedis_jax.geometry.checks import as_points


def rigid_registration(
    source: jax.Array, target: jax.Array, *, landmarks: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """The rotation and translation that bring `source` nearest to `target` in the sense of least squares.

    `source @ rotation.T + translation` is near `target`. The rotation is proper (determinant +1) whatever the
    data: mirrored, flat, on one line or in one point, where the optimum is not unique.

    Args:
      source, target: points in correspondence, [points, 3], of one unit.
      landmarks: [landmarks] indices of the points that take part; all if None.

    Returns:
      rotation [3, 3] and translation [3].

    Raises:
      ValueError: where the shapes differ, or points are not [points, 3] of a floating type, or known and not finite.

    References:
      Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.

    Example:
      >>> source = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
      >>> turn = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
      >>> rotation, translation = rigid_registration(source, source @ turn.T + 5)
      >>> bool(jnp.allclose(rotation, turn, atol=1e-5)), bool(jnp.allclose(translation, 5, atol=1e-5))
      (True, True)
    """
    source, target = as_points(source=source, target=target)
    if source.shape != target.shape:
        raise ValueError(f"source and target differ in shape: {source.shape} and {target.shape}")
    if landmarks is not None:
        source, target = source[landmarks], target[landmarks]
    source_centre, target_centre = jnp.mean(source, axis=0), jnp.mean(target, axis=0)
    # Accelerators multiply float32 matrices at reduced precision unless told otherwise.
    precision = jax.lax.Precision.HIGHEST
    source, target = source - source_centre[None], target - target_centre[None]
    covariance = jnp.matmul(source.T, target, precision=precision)
    u, _, vt = jnp.linalg.svd(covariance)
    handedness = jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt))
    flip = jnp.stack([jnp.ones_like(handedness), jnp.ones_like(handedness), handedness])
    rotation = jnp.matmul(vt.T * flip[None], u.T, precision=precision)
    return rotation, target_centre - jnp.matmul(rotation, source_centre, precision=precision)
