"""The networks of WSDF: spiral encoders with residual layers, and a decoder of products of two codes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from facedis_jax.models.rivals.faces.mesh_nets import Layer, MeshNet

# Single precision tells numbers so near to 0 and 1 from these; their quantiles are 4.8 standard deviations.
_LEAST = 1e-6


def recoupled(identity: jax.Array, expression: jax.Array) -> jax.Array:
    """The products of two codes, one of each latent of either, as distributed as the codes are.

    Normal latents become uniform ones by their distribution function; the product u of two uniform ones is distributed
    by u (1 - ln u), which makes it uniform again, and the quantile function makes it normal.

    Args:
      identity: [..., identity latents], standard normal.
      expression: [..., expression latents], standard normal.

    Returns:
      [..., identity latents, expression latents], each standard normal.
    """
    ones = (jnp.clip(ndtr(code), _LEAST, 1 - _LEAST) for code in (identity, expression))
    product = jnp.einsum("...i,...e->...ie", *ones)
    return ndtri(jnp.clip(product * (1 - jnp.log(product)), _LEAST, 1 - _LEAST))


class RecouplingDecoder(nn.Module):
    """From two codes to a face, by mixtures of their products.

    Attributes:
      mixed: how many mixtures.
      hidden: widths of the layers after these.
      vertices: of a face.
    """

    mixed: int
    hidden: tuple[int, ...]
    vertices: int

    @nn.compact
    def __call__(self, identity: jax.Array, expression: jax.Array) -> jax.Array:
        """Maps [..., latents] of either to [..., vertices, 3]."""
        products = recoupled(identity, expression)
        features = nn.Dense(self.mixed, use_bias=False)(products.reshape(*products.shape[:-2], -1))
        for width in self.hidden:
            features = nn.elu(nn.Dense(width)(features))
        made = nn.Dense(3 * self.vertices)(features)
        return made.reshape(*made.shape[:-1], self.vertices, 3)


class ResidualSpiralEncoder(nn.Module):
    """Spiral convolutions, each with instance normalisation and ELU, on coarser and coarser meshes.

    Attributes:
      net: the meshes, and the layers on all but the coarsest.
      last: the layer of the coarsest.
      width: filters on the coarsest mesh.
      residual_layers: two convolutions each, added to what they are of.
      hidden: width of the linear layer after these.
      outputs: how many numbers a face becomes.
    """

    net: MeshNet
    last: Layer
    width: int
    residual_layers: int
    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, faces: jax.Array) -> jax.Array:
        """Maps [batch, vertices, 3] to [batch, outputs]."""

        def convolved(layer: Layer, filters: int, features: jax.Array) -> jax.Array:
            convolution: Any = layer(filters)
            return nn.InstanceNorm()(convolution(features))

        features = faces
        for filters, layer, down in zip(self.net.config.filters, self.net.layers, self.net.hierarchy.down, strict=True):
            features = self.net.sampled(down, nn.elu(convolved(layer, filters, features)))
        features = nn.elu(convolved(self.last, self.width, features))
        for _ in range(self.residual_layers):
            inner = nn.elu(convolved(self.last, self.width, features))
            features = nn.elu(features + convolved(self.last, self.width, inner))
        hidden = nn.elu(nn.Dense(self.hidden)(features.reshape(len(features), -1)))
        return nn.Dense(self.outputs)(hidden)
