"""Jiang et al.'s networks of deformation features: two branches, and what fuses their results."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.rivals.faces.layers import ChebyshevConvolution, Convolution

_SLOPE = 0.1


class DeformationEncoder(nn.Module):
    """Convolutions without sampling, then a hidden layer, then mean and log-variance of a code.

    Attributes:
      filters: of the convolutions.
      last: filters of the last one, which has a tanh.
      hidden: width of the layer.
      latents: length of the code.
      orders: Chebyshev polynomials of each convolution.
      convolve: of the mesh's Laplacian.
    """

    filters: tuple[int, ...]
    last: int
    hidden: int
    latents: int
    orders: int
    convolve: Convolution

    @nn.compact
    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps [batch, vertices, 9] to mean and log-variance, [batch, latents] each."""
        convolution = partial(ChebyshevConvolution, orders=self.orders, convolve=self.convolve)
        rows = jnp.swapaxes(features, 0, 1)
        for filters in self.filters:
            rows = nn.leaky_relu(convolution(filters)(rows), _SLOPE)
        rows = nn.tanh(convolution(self.last)(rows))
        flat = jnp.swapaxes(rows, 0, 1).reshape(len(features), -1)
        hidden = nn.leaky_relu(nn.Dense(self.hidden)(flat), _SLOPE)
        # Theirs is computed of a sigmoid of the hidden layer.
        return nn.Dense(self.latents)(hidden), nn.Dense(self.latents)(nn.sigmoid(hidden))


class DeformationDecoder(nn.Module):
    """A hidden layer, then all features at once, with a tanh.

    Attributes:
      hidden: width of the layer.
      num_vertices: of a face.
    """

    hidden: int
    num_vertices: int

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        """Maps [batch, latents] to [batch, vertices, 9]."""
        hidden = nn.leaky_relu(nn.Dense(self.hidden)(code), _SLOPE)
        small = nn.initializers.variance_scaling(1e-2, "fan_in", "truncated_normal")
        return nn.tanh(nn.Dense(9 * self.num_vertices, kernel_init=small)(hidden)).reshape(len(code), -1, 9)


class Fusion(nn.Module):
    """Convolutions of both branches' features, to which these are added.

    Attributes:
      filters: of the two layers before the residual ones and of the one after them.
      residual_layers: how many, of the second's width.
      orders, convolve: as of `DeformationEncoder`.
    """

    filters: tuple[int, int, int]
    residual_layers: int
    orders: int
    convolve: Convolution

    @nn.compact
    def __call__(self, identity: jax.Array, expression: jax.Array) -> jax.Array:
        """Maps features [batch, vertices, 9] of either branch to those of the face."""
        convolution = partial(ChebyshevConvolution, orders=self.orders, convolve=self.convolve)

        def layer(filters: int, rows: jax.Array) -> jax.Array:
            made: Any = convolution(filters)(rows)
            return nn.leaky_relu(made, _SLOPE)

        rows = jnp.swapaxes(jnp.concatenate([identity, expression], -1), 0, 1)
        for filters in self.filters[:2]:
            rows = layer(filters, rows)
        for _ in range(self.residual_layers):
            rows = rows + layer(self.filters[1], rows)
        rows = layer(self.filters[2], rows)
        last: Any = convolution(9)(rows)
        return jnp.swapaxes(nn.tanh(last), 0, 1) + identity + expression
