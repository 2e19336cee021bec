"""Networks of points and of codes: PointNet, and a discriminator of pairs of codes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.linear import RowsDense
from facedis_jax.models.normalisation import Normalise


class PointNet(nn.Module):
    """Layers on each point by itself, the maximum over all points, and a linear layer.

    Attributes:
      widths: of the layers on points.
      outputs: how many numbers a cloud becomes.

    References:
      Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", 2017.
    """

    widths: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, points: jax.Array) -> jax.Array:
        """Maps [..., points, 3] to [..., outputs]."""
        hidden = points
        for width in self.widths:
            hidden = nn.relu(Normalise("layer")(RowsDense(width)(hidden)))
        return nn.Dense(self.outputs)(hidden.max(axis=-2))


class PairCritic(nn.Module):
    """A discriminator of codes: the logit of their being a pair.

    Attributes:
      hidden: widths of its layers.
    """

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Maps [..., codes] to [...]."""
        features = codes
        for width in self.hidden:
            features = nn.leaky_relu(nn.Dense(width)(features), 0.2)
        return jnp.squeeze(nn.Dense(1)(features), -1)
