"""The inference network of the deformable generator's rivals that are VAEs."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.deformable import GeneratorConfig, generator_kernels, generator_widths
from facedis_jax.models.face_vae import Posterior


class InferenceNetwork(nn.Module):
    """q(Z | X): strided convolutions, the mirror of the generators, then the mean and log-variance of every latent.

    Of the VAE that the deformable generator is compared with (its Table 1); the paper does not say what it looks like.

    Attributes:
      latents: number of latents.
      filters: number of filters of each convolution, which halves the image.
      kernels: size of each convolution's kernel.

    Example:
      >>> network = InferenceNetwork(latents=7, filters=(8, 16), kernels=(4, 4))
      >>> images = jnp.zeros([2, 16, 16, 3])
      >>> (mean, logvar), _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
      >>> mean.shape, logvar.shape
      ((2, 7), (2, 7))
    """

    latents: int
    filters: Sequence[int]
    kernels: Sequence[int]

    @nn.compact
    def __call__(self, images: jax.Array) -> Posterior:
        """The posterior of images [batch, size, size, channels]."""
        x = images
        for filters, taps in zip(self.filters, self.kernels, strict=True):
            x = nn.relu(nn.Conv(filters, (taps, taps), strides=2)(x))
        x = x.reshape(len(x), -1)
        mean, logvar = jnp.split(nn.Dense(2 * self.latents)(x), 2, axis=-1)
        return Posterior(mean, logvar)


def inference_network(config: GeneratorConfig) -> InferenceNetwork:
    """The inference network that mirrors the generators of `config`, as wide as the geometric one.

    Example:
      >>> from facedis_jax.models.deformable import GeneratorConfig
      >>> inference_network(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4)).latents
      7
    """
    widths = generator_widths(config)
    return InferenceNetwork(
        latents=config.appearance_latents + config.geometry_latents,
        filters=widths[::-1],
        kernels=generator_kernels(config)[::-1],
    )
