"""The deforming autoencoder (Shu et al., 2018): an encoder, a decoder of texture, and one of a warp in order."""

from dataclasses import dataclass, field

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import check_least, check_power_of_two
from facedis_jax.geometry import affine_flow, monotone_flow, warp
from facedis_jax.models.deformable import Latents
from facedis_jax.models.upsampling import enlarge, subpixel_convolution

# In public code a step is at most 5/64 of a square from -1 to 1, where one of 64 pixels takes 2/64.
LARGEST_STEP = 2.5
_LARGEST_TURN = 0.3  # of an entry of the affine matrix, besides the identity: its determinant stays above 0.4
_LARGEST_SHIFT = 0.2  # of the image's size


@dataclass(frozen=True)
class DeformingNetworks:
    """Sizes of the networks of a deforming autoencoder, whatever the images.

    Attributes:
      filters: of the encoder's first layer; every layer that follows has twice as many, and the decoders as many back.
      most_filters: no layer has more.
      growth: maps that the convolution of a dense block adds to those it sees; 0 for plain layers, as public code runs.
      flow_scale: the warp's decoder makes one step for every `flow_scale` pixels along either axis, interpolated.
      affine: whether the warp has an affine part; public code has none, the paper has.

    Raises:
      InputError: for a negative number, or no filters.

    Example:
      >>> DeformingNetworks(filters=16, growth=8).flow_scale
      1
    """

    filters: int = 32
    most_filters: int = 256
    growth: int = 16
    flow_scale: int = 1
    affine: bool = True

    def __post_init__(self) -> None:
        check_least(self, filters=1, most_filters=1, growth=0)


@dataclass(frozen=True)
class DeformingConfig:
    """Sizes of a deforming autoencoder.

    Attributes:
      size: height and width of an image, a power of two of at least 8.
      channels: of an image.
      appearance_latents, geometry_latents: lengths of the codes of texture and warp, 16 and 128 in public code.
      networks: what does not follow from the images.

    Raises:
      InputError: for a size or a flow scale that is no power of two, or fewer than 8 x 8 steps.

    Example:
      >>> config = DeformingConfig(size=32, networks=DeformingNetworks(filters=16))
      >>> config.deformable, config.output
      (True, 'sigmoid')
    """

    size: int = 64
    channels: int = 3
    appearance_latents: int = 16
    geometry_latents: int = 128
    networks: DeformingNetworks = field(default_factory=DeformingNetworks)

    # What is asked of any generator's configuration.
    output = "sigmoid"
    deformable = True
    linear_flow = False

    def __post_init__(self) -> None:
        check_power_of_two("model.size", self.size, least=8)
        check_power_of_two("networks.flow_scale", self.networks.flow_scale, most=self.size // 8)

    @property
    def widths(self) -> list[int]:
        """Filters of the encoder's layers, each of which halves the image, down to 4 x 4."""
        layers = self.size.bit_length() - 3
        return [min(self.networks.filters << i, self.networks.most_filters) for i in range(layers)]


class DeformingEncoder(nn.Module):
    """Codes [..., latents] of texture and warp, from images [batch, size, size, channels].

    Public code ends in a sigmoid. Here it is the decoders' first layer instead, so that codes are not bounded.

    Example:
      >>> encoder = DeformingEncoder(DeformingConfig(size=8, appearance_latents=3, geometry_latents=4))
      >>> codes, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), jnp.zeros([2, 8, 8, 3]))
      >>> codes.appearance.shape, codes.geometry.shape
      ((2, 3), (2, 4))
    """

    config: DeformingConfig

    @nn.compact
    def __call__(self, images: jax.Array) -> Latents:
        x = images
        for filters in self.config.widths:
            x = nn.relu(nn.Conv(filters, (4, 4), strides=2)(x))
            x = _denser(x, self.config.networks.growth)
        x = x.reshape(len(x), -1)
        return Latents(nn.Dense(self.config.appearance_latents)(x), nn.Dense(self.config.geometry_latents)(x))


class DeformingDecoder(nn.Module):
    """Images from codes of any number of batch axes: a texture, read by a warp that keeps columns and rows in order.

    Example:
      >>> config = DeformingConfig(size=8, appearance_latents=3, geometry_latents=4)
      >>> codes = Latents(jnp.zeros([5, 3]), jnp.zeros([5, 4]))
      >>> images, _ = jax.eval_shape(DeformingDecoder(config).init_with_output, jax.random.key(0), codes)
      >>> images.shape
      (5, 8, 8, 3)
    """

    config: DeformingConfig

    def setup(self) -> None:
        config, networks = self.config, self.config.networks
        self.appearance_network = _Decoder(config.size, config.channels, config.widths[::-1], networks.growth)
        self.geometry_network = _WarpDecoder(config)

    def __call__(self, latents: Latents) -> jax.Array:
        """Images [..., size, size, channels] from codes [..., latents]."""
        image, flow = self.canonical(latents.appearance), self.flow(latents.geometry)
        warp_all = warp
        for _ in range(image.ndim - 3):
            warp_all = jax.vmap(warp_all)
        return warp_all(image, flow)

    def canonical(self, appearance: jax.Array) -> jax.Array:
        """Textures [..., size, size, channels] in [0, 1], of the appearance alone."""
        return nn.sigmoid(self.appearance_network(appearance))

    def flow(self, geometry: jax.Array) -> jax.Array:
        """Flows [..., size, size, 2] as (dx, dy) in pixels, of the geometry alone."""
        return self.geometry_network(geometry)


class _WarpDecoder(nn.Module):
    config: DeformingConfig

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        config, networks = self.config, self.config.networks
        size = config.size // networks.flow_scale
        widths = config.widths[::-1][: size.bit_length() - 3]
        maps = enlarge(_Decoder(size, 2, widths, networks.growth, first_output=0.1)(codes), networks.flow_scale)
        # A map of zeros is steps of 1.
        steps = LARGEST_STEP * nn.sigmoid(maps - np.log(LARGEST_STEP - 1))
        flow = monotone_flow(steps)
        if not networks.affine:
            return flow
        numbers = jnp.tanh(nn.Dense(6, kernel_init=nn.initializers.normal(0.01))(nn.sigmoid(codes)))
        matrix = jnp.eye(2) + _LARGEST_TURN * numbers[..., :4].reshape(*codes.shape[:-1], 2, 2)
        return affine_flow(flow, matrix, _LARGEST_SHIFT * config.size * numbers[..., 4:])


class _Decoder(nn.Module):
    """Maps [..., size, size, channels] from codes [..., latents], which a sigmoid bounds."""

    size: int
    channels: int
    widths: list[int]
    growth: int
    first_output: float = 1.0

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        leading = codes.shape[:-1]
        x = nn.sigmoid(codes).reshape(-1, codes.shape[-1])
        x = nn.relu(nn.Dense(16 * self.widths[0])(x)).reshape(-1, 4, 4, self.widths[0])
        for i, filters in enumerate([*self.widths[1:], self.widths[-1]]):
            kernel = self.param(f"enlarge_{i}", nn.initializers.he_normal(), (4, 4, x.shape[-1], filters))
            # Of the kernel's taps, a pixel sums a quarter.
            x = nn.relu(
                2 * subpixel_convolution(x, kernel, 2) + self.param(f"bias_{i}", nn.initializers.zeros, filters)
            )
            x = _denser(x, self.growth)
        start = nn.initializers.variance_scaling(self.first_output**2, "fan_in", "normal")
        maps = nn.Conv(self.channels, (3, 3), kernel_init=start)(x)
        return maps.reshape(*leading, *maps.shape[1:])


def _denser(x: jax.Array, growth: int) -> jax.Array:
    """A dense block of one layer: maps, and the new ones that a convolution makes of them."""
    return jnp.concatenate([x, nn.relu(nn.Conv(growth, (3, 3))(x))], axis=-1) if growth else x
