"""Encoders and decoders that convolve and sample meshes, as MeshAE's and SpiralNet++'s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.models.rivals.faces.hierarchy import MeshHierarchy, level_spirals, mesh_hierarchy
from facedis_jax.models.rivals.faces.layers import (
    ChebyshevConvolution,
    SpiralConvolution,
    chebyshev_convolution,
    spiral_convolution,
)
from facedis_jax.models.rivals.faces.sparse import SparseOperator


@dataclass(frozen=True)
class MeshNetConfig:
    """Sizes of a mesh autoencoder.

    Attributes:
      filters: of each layer of the encoder, after which the mesh is made coarser; the decoder has them in reverse.
      size: how many Chebyshev polynomials, or vertices on a spiral.
      factor: how many times fewer vertices each coarser mesh has.

    Raises:
      InputError: for no layers, or sizes below 1.
    """

    filters: tuple[int, ...] = (16, 16, 16, 32)
    size: int = 6
    factor: float = 4.0

    def __post_init__(self) -> None:
        check_least(self, size=1)
        if not self.filters or min(self.filters) < 1:
            raise InputError("filters", "one number of 1 or more for each layer", str(self.filters))
        if not 1 < self.factor < 1e6:
            raise InputError("factor", "more than 1", str(self.factor))


Layer = Callable[..., nn.Module]


@dataclass(frozen=True, eq=False)
class MeshNet:
    """The parts of which an encoder and a decoder of one topology are made.

    Attributes:
      config: sizes.
      hierarchy: the meshes.
      layers: for each mesh but the coarsest, what makes its convolution of a number of filters.
      vertices_first: whether features are [vertices, batch, channels]; else [batch, vertices, channels].
    """

    config: MeshNetConfig
    hierarchy: MeshHierarchy
    layers: Sequence[Layer]
    vertices_first: bool

    def sampled(self, operator: SparseOperator, features: jax.Array) -> jax.Array:
        """Features of one mesh as those of the next, by an operator between them."""
        if not self.vertices_first:
            return operator(features)
        rows = operator(features.reshape(len(features), -1))
        return rows.reshape(-1, *features.shape[1:])

    def encoder(self, outputs: int) -> "MeshEncoder":
        """From faces [batch, vertices, 3] to [batch, outputs]."""
        return MeshEncoder(self, outputs)

    def decoder(self) -> "MeshDecoder":
        """From codes [batch, latents] to [batch, vertices, 3]."""
        return MeshDecoder(self)


def mesh_net(
    kind: Literal["chebyshev", "spiral"], config: MeshNetConfig, template: np.ndarray, triangles: np.ndarray, where: str
) -> MeshNet:
    """The parts for a topology.

    Args:
      kind: of convolution.
      config: sizes.
      template: [vertices, 3], of which coarser meshes are made.
      triangles: [triangles, 3].
      where: what the mesh is called in errors.

    Raises:
      InputError: the mesh is no surface, or has too few vertices.
    """
    is_spiral = kind == "spiral"
    fewest = config.size if is_spiral else 4
    hierarchy = mesh_hierarchy(
        template, triangles, num_coarser=len(config.filters), factor=config.factor, fewest=fewest, where=where
    )
    layers: list[Layer] = []
    for level in hierarchy.levels[:-1]:
        if is_spiral:
            convolve = spiral_convolution(level_spirals(level, config.size))
            layers.append(partial(SpiralConvolution, length=config.size, convolve=convolve))
        else:
            convolve = chebyshev_convolution(level.laplacian)
            layers.append(partial(ChebyshevConvolution, orders=config.size, convolve=convolve))
    return MeshNet(config, hierarchy, layers, vertices_first=not is_spiral)


class MeshEncoder(nn.Module):
    """Convolution, ELU and a coarser mesh, repeated; then a linear layer.

    Attributes:
      net: the parts.
      outputs: how many numbers a face becomes.
    """

    net: MeshNet
    outputs: int

    @nn.compact
    def __call__(self, faces: jax.Array) -> jax.Array:
        """Maps [batch, vertices, 3] to [batch, outputs]."""
        net = self.net
        features = jnp.swapaxes(faces, 0, 1) if net.vertices_first else faces
        for filters, layer, down in zip(net.config.filters, net.layers, net.hierarchy.down, strict=True):
            convolution: Any = layer(filters)
            features = net.sampled(down, nn.elu(convolution(features)))
        if net.vertices_first:
            features = jnp.swapaxes(features, 0, 1)
        flat = features.reshape(len(features), -1)
        return nn.Dense(self.outputs, kernel_init=nn.initializers.xavier_uniform())(flat)


class MeshDecoder(nn.Module):
    """A linear layer; then a finer mesh, convolution and ELU, repeated; then a convolution to three channels.

    Attributes:
      net: the parts.
    """

    net: MeshNet

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Maps [batch, latents] to [batch, vertices, 3]."""
        net, config = self.net, self.net.config
        coarsest = len(net.hierarchy.levels[-1])
        flat = nn.Dense(coarsest * config.filters[-1], kernel_init=nn.initializers.xavier_uniform())(codes)
        features = flat.reshape(len(codes), coarsest, config.filters[-1])
        if net.vertices_first:
            features = jnp.swapaxes(features, 0, 1)
        # As in both papers' code, the widest layer comes first and the first layer's filters are not repeated.
        widths = config.filters[::-1]
        for filters, layer, up in zip(widths, net.layers[::-1], net.hierarchy.up[::-1], strict=True):
            convolution: Any = layer(filters)
            features = nn.elu(convolution(net.sampled(up, features)))
        last = net.layers[0](3, use_bias=False) if net.vertices_first else net.layers[0](3)
        made: Any = last
        faces = made(features)
        return jnp.swapaxes(faces, 0, 1) if net.vertices_first else faces
