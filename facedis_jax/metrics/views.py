"""How strongly codes follow the view from which a face is seen."""

import jax
import jax.numpy as jnp


def view_covariance(mean_latents: jax.Array, angles: jax.Array) -> jax.Array:
    """Response of each latent dimension to the view, Eq. 21 of the deformable generator.

    `R_i = |Z(i)^T theta|`, where Z(i) holds dimension i of the mean latents of the views and theta their angles,
    scaled to unit norm. The unit of the angles does not matter, nor does the direction in which they count. Where the
    angles sum to zero, as the paper's do, a dimension that is the same in all views has no response.

    Args:
      mean_latents: means over the images of each view, [views, dims].
      angles: [views], not all zero.

    Returns:
      [dims], not negative.

    Raises:
      ValueError: where the shapes do not fit.

    Example:
      >>> latents = jnp.array([[-1.0, 2.0], [0.0, 2.0], [1.0, 2.0]])
      >>> print(view_covariance(latents, jnp.array([-30, 0, 30])))
      [1.4142135 0.       ]
    """
    mean_latents, angles = jnp.asarray(mean_latents), jnp.asarray(angles)
    if mean_latents.ndim != 2 or angles.shape != mean_latents.shape[:1]:
        raise ValueError(
            f"mean_latents must be [views, dims] and angles [views], got shapes {mean_latents.shape} and {angles.shape}"
        )
    theta = angles / jnp.linalg.norm(angles)
    return jnp.abs(jnp.matmul(theta, mean_latents, precision=jax.lax.Precision.HIGHEST))
