"""The critic of the adversarial extension (section 5.3)."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from facedis_jax.models.deformable import GeneratorConfig, generator_kernels, generator_widths

LEAK = 0.2  # slope of the ReLUs below zero, as is common in critics


class Critic(nn.Module):
    """D(X) of Eq. 22 of the deformable generator, before its sigmoid: strided convolutions, then a linear layer.

    The paper does not say what the critic looks like; no layer of ours mixes examples.

    Attributes:
      filters: number of filters of each convolution, which halves the image.
      kernels: size of each convolution's kernel.

    Example:
      >>> import jax.numpy as jnp
      >>> critic = Critic(filters=(8, 16), kernels=(4, 4))
      >>> images = jnp.zeros([2, 16, 16, 3])
      >>> logits, variables = jax.eval_shape(critic.init_with_output, jax.random.key(0), images)
      >>> logits.shape
      (2,)
    """

    filters: Sequence[int]
    kernels: Sequence[int]

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits [batch] that images [batch, size, size, channels] are real."""
        x = images
        for filters, taps in zip(self.filters, self.kernels, strict=True):
            x = nn.leaky_relu(nn.Conv(filters, (taps, taps), strides=2)(x), LEAK)
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


def critic_of(config: GeneratorConfig) -> Critic:
    """The critic that mirrors the generators of `config`, as wide as the geometric one.

    Example:
      >>> from facedis_jax.models.deformable import GeneratorConfig
      >>> critic_of(GeneratorConfig(size=32, filters=64)).filters
      [16, 32, 64]
    """
    return Critic(filters=generator_widths(config)[::-1], kernels=generator_kernels(config)[::-1])
