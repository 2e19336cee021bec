"""Squared error between faces, in the reductions that the paper's weights may assume."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

Reduction = Literal["sum", "mean_mm2", "mean_scaled"]


def reconstruction_loss(
    prediction: jax.Array, target: jax.Array, *, reduction: Reduction = "sum", scale: float = 260.0
) -> jax.Array:
    """Squared error between faces, Eq. 4 of the information-bottlenecked VAE.

    The paper does not state how it reduces over the 3V coordinates. For V = 5,023 and lambda_1 = 6.6e-2 the
    first two reductions weigh the mean squared error (in normalised units) by 995 and by 4,462:

    - "sum": the sum over the coordinates, in normalised units;
    - "mean_mm2": the mean over the coordinates, in mm^2;
    - "mean_scaled": 5,000 times the mean, in normalised units. This is a later code's whole weight: use
      lambda_1 = 1.

    Args:
      prediction, target: faces in normalised units, [..., vertices, 3].
      reduction: one of the above.
      scale: millimetres per normalised unit; read by "mean_mm2" alone.

    Returns:
      [...], one value per face.

    Raises:
      ValueError: for an unknown reduction, or where the shapes differ.

    Example:
      >>> prediction, target = jnp.full([10, 3], 0.01), jnp.zeros([10, 3])
      >>> for reduction in ("sum", "mean_mm2", "mean_scaled"):
      ...     print(reduction, f"{reconstruction_loss(prediction, target, reduction=reduction):.3f}")
      sum 0.003
      mean_mm2 6.760
      mean_scaled 0.500
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction and target differ in shape: {prediction.shape} and {target.shape}")
    squared = jnp.square(prediction - target)
    match reduction:
        case "sum":
            return jnp.sum(squared, axis=(-2, -1))
        case "mean_mm2":
            return scale**2 * jnp.mean(squared, axis=(-2, -1))
        case "mean_scaled":
            return 5000.0 * jnp.mean(squared, axis=(-2, -1))
    raise ValueError(f"reduction must be one of {get_args(Reduction)}, got {reduction!r}")
