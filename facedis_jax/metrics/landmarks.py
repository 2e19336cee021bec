"""How far predicted landmarks are from true ones."""

import jax
import jax.numpy as jnp


def landmark_error(prediction: jax.Array, target: jax.Array, *, eyes: tuple[int, int] = (0, 1)) -> jax.Array:
    """Mean distance of the landmarks in percent of the inter-ocular distance, Table 2 of the deformable generator.

    Tables give the mean over the test images.

    Args:
      prediction, target: landmarks of one face, [points, 2], in one unit, whichever it is.
      eyes: indices of the two eyes, whose distance in the target is 100 %.

    Returns:
      A scalar in percent; infinite or NaN where the target's eyes coincide.

    Raises:
      ValueError: where the shapes differ or an index is out of range.

    Example:
      >>> target = jnp.array([[20.0, 24.0], [40.0, 24.0], [30.0, 40.0]])
      >>> print(landmark_error(target + jnp.array([0.0, 3.0]), target))
      15.0
    """
    prediction, target = jnp.asarray(prediction), jnp.asarray(target)
    if prediction.shape != target.shape or target.ndim != 2 or target.shape[1] != 2:
        raise ValueError(f"prediction and target must be [points, 2], got shapes {prediction.shape} and {target.shape}")
    if any(not 0 <= eye < target.shape[0] for eye in eyes):
        raise ValueError(f"eyes must lie among the {target.shape[0]} points, got {eyes}")
    distance = jnp.linalg.norm(prediction - target, axis=1)
    return 100 * jnp.mean(distance) / jnp.linalg.norm(target[eyes[0]] - target[eyes[1]])
