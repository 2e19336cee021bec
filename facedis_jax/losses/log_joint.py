"""The density from which the deformable generator's latents are sampled."""

from typing import Any

import jax
import jax.numpy as jnp


def log_joint(image: jax.Array, prediction: jax.Array, latents: Any, *, sigma: float | jax.Array = 1.0) -> jax.Array:
    """Log-density of one image and its latents together, Eq. 8 and 17 of the deformable generator.

    -||image - prediction||^2 / (2 sigma^2) - ||latents||^2 / 2: normal noise of standard deviation sigma around the
    prediction, and N(0, I) on the latents. Normalising constants, which depend on sigma alone, are left out.

    Given both latents, this is the joint of Eq. 8's two lines: as a function of one of them, the other held fixed, it
    differs from that one's line by a constant, so both have the same gradients and sample the same conditional. A
    clip takes the latents of its first frame and the innovations of the others (Eq. 17), as leaves or stacked.

    Sums run over one example alone, so that samples do not depend on the batch.

    Args:
      image: the observed example, of any shape: an image [height, width, channels], a clip
        [time, height, width, channels].
      prediction: the generator's output for these latents, of the image's shape.
      latents: any pytree of arrays, such as (appearance, geometry).
      sigma: standard deviation of a pixel, in units of the image.

    Returns:
      A scalar in nats.

    Raises:
      ValueError: where image and prediction differ in shape.

    Example:
      >>> image, prediction = jnp.ones([2, 2, 1]), jnp.zeros([2, 2, 1])
      >>> print(log_joint(image, prediction, (jnp.ones(3), jnp.ones(2)), sigma=0.5))
      -10.5
    """
    if jnp.shape(image) != jnp.shape(prediction):
        raise ValueError(f"image and prediction differ in shape: {jnp.shape(image)} and {jnp.shape(prediction)}")
    residual = jnp.sum(jnp.square(image - prediction))
    prior = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(latents))
    return -0.5 * (residual / jnp.square(sigma) + prior)
