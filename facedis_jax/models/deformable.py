"""The deformable generator (Eq. 1, Table 4): one network makes a canonical image, another the flow that warps it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_power_of_two
from facedis_jax.geometry import integrated_flow, warp
from facedis_jax.models.upsampling import (
    INITIAL_DEVIATION,
    Compute,
    FanIn,
    UpsamplingNetwork,
    check_compute,
    enlarge,
    narrowed,
)

FEWEST_FILTERS = 16  # of Table 4's last hidden layer, and of those that larger images add


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the generators; defaults are those of the deformable generator's Table 4 and of its authors' code.

    Attributes:
      size: height and width of an image, a power of two of at least 8.
      channels: of an image.
      appearance_latents: length of Z^a.
      geometry_latents: length of Z^g; 0 for no geometric generator and no warp.
      filters: of the geometric generator's 4 x 4 map; every layer that follows has half as many, down to 16.
      filter_balance: alpha, the appearance generator's filters in relation to the geometric generator's.
      weight_balance: beta, by which the geometric generator's weights are scaled at run time; None scales neither's.
      he_fan_in: what He's constant counts at that, see `UpsamplingNetwork`: "kernel" as the authors, "pixel" ours.
      geometry_gain: factor of the geometric code at the input of its network. Above 1, the geometric prior is wider
        and learned faster than the appearance's: a third balance between the two, beside alpha and beta.
      output: of the appearance generator: "sigmoid" for images in [0, 1], "tanh" for images in [-1, 1].
      displacement: the largest displacement, as a fraction of the image's size.
      initial_flow: factor of the initial weights and biases of the geometric generator's last layer. At 1, the
        authors', an untrained flow scatters pixels at random; much below 1, training starts from hardly any flow.
      flow_scale: the geometric generator makes one displacement for every `flow_scale` pixels along either axis,
        without its last layers, and the flow is interpolated between them. Above 1, ours, flows are smooth: they can
        turn a face or open its mouth, but not compose one from single pixels of the colours needed.
      squarings: above 0, ours, the geometric generator makes a stationary velocity field, which scaling and squaring in
        so many steps integrates to a flow that does not fold; 0 takes what it makes as the flow itself.
      linear_flow: what the geometric generator makes before its limit is a weighted sum of fields that are learned, one
        for each number of the code, ours; a code of zero is then no flow, and the opposite code the opposite field.
        False for the network of Table 4.
      bending: price of a bent flow, ours, in nats: a part of the log density of geometry is minus this times the sum
        over pixels of the flow's squared second derivatives. 0 for the standard normal prior alone.
      asymmetry_scale: above 0, ours for faces, canonical images are their own mirror images but for what differs in
        blocks of so many pixels: the light may come from one side, and only the geometry can turn a head. The image's
        size leaves no difference, 0 leaves images free.
      refine: add a small convolutional network after the warp.
      compute: type of what flows from layer to layer and of canonical images while they are warped. "bfloat16" halves
        what accelerators read and write; parameters, latents, canonical images, flows, images and energies stay
        float32.

    Raises:
      InputError: for a size, a flow scale or an asymmetry scale that is no power of two, fewer than 8 x 8
        displacements, more than `MOST_SQUARINGS`, or an unknown output or type.

    Example:
      >>> GeneratorConfig(size=32, flow_scale=4).deformable
      True
      >>> GeneratorConfig(size=32, geometry_latents=0).deformable  # a generator without a warp
      False
    """

    size: int = 64
    channels: int = 3
    appearance_latents: int = 64
    geometry_latents: int = 64
    filters: int = 128
    filter_balance: float = 0.625
    weight_balance: float | None = None
    he_fan_in: FanIn = "kernel"
    geometry_gain: float = 1.0
    output: Literal["sigmoid", "tanh"] = "sigmoid"
    displacement: float = 20 / 64
    initial_flow: float = 1.0
    flow_scale: int = 1
    squarings: int = 0
    linear_flow: bool = False
    bending: float = 0.0
    asymmetry_scale: int = 0
    refine: bool = False
    compute: Compute = "float32"

    def __post_init__(self) -> None:
        check_power_of_two("model.size", self.size, least=8)
        check_power_of_two("model.flow_scale", self.flow_scale, most=self.size // 8)
        check_squarings(self.squarings)
        if self.asymmetry_scale:
            check_power_of_two("model.asymmetry_scale", self.asymmetry_scale, most=self.size)
        if self.output not in ("sigmoid", "tanh"):
            raise InputError("model.output", "sigmoid or tanh", repr(self.output))
        check_compute(self.compute)

    @property
    def deformable(self) -> bool:
        return self.geometry_latents > 0


class Latents(NamedTuple):
    """The two codes of an image, or of a batch of them: arrays on the device or on the host.

    Those of Eq. 1 of the deformable generator.

    Attributes:
      appearance: [..., appearance latents], Z^a.
      geometry: [..., geometry latents], Z^g; None for a generator without a warp.

    Example:
      >>> import numpy as np
      >>> anna, ben = (Latents(np.full(64, x), np.full(64, x)) for x in (0.0, 1.0))
      >>> mixed = anna._replace(geometry=ben.geometry)  # the looks of one, the pose of the other
      >>> mixed.appearance[0].item(), mixed.geometry[0].item()
      (0.0, 1.0)
    """

    appearance: Any
    geometry: Any


class DeformableGenerator(nn.Module):
    """F(Z^a, Z^g) of Eq. 1 of the deformable generator, from codes [..., latents] to images.

    Example:
      >>> model = DeformableGenerator(GeneratorConfig(size=16, filters=16))
      >>> latents = Latents(jnp.ones([5, 64]), jnp.ones([5, 64]))
      >>> images, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), latents)
      >>> images.shape
      (5, 16, 16, 3)
    """

    config: GeneratorConfig

    def setup(self) -> None:
        config = self.config
        beta = config.weight_balance
        ratio = config.filter_balance
        self.appearance_network = _network(config, ratio, config.channels, None if beta is None else 1.0)
        if config.deformable:
            size = config.size // config.flow_scale
            coarse = replace(config, size=size, flow_scale=1, asymmetry_scale=0)
            self.geometry_network: nn.Module = (
                WeightedFields(size, config.initial_flow)
                if config.linear_flow
                else _network(coarse, 1.0, 2, beta, config.initial_flow)
            )
        if config.refine:
            self.refiner = Refiner(config.channels)

    def __call__(self, latents: Latents) -> jax.Array:
        """Images [..., size, size, channels] from codes [..., latents]."""
        geometry = latents.geometry
        return self.combine(self.canonical(latents.appearance), None if geometry is None else self.flow(geometry))

    def canonical(self, appearance: jax.Array) -> jax.Array:
        """Canonical images [..., size, size, channels], of the appearance alone."""
        maps = self.appearance_network(appearance)
        if self.config.asymmetry_scale:
            maps = mirrored(maps, self.config.asymmetry_scale)
        return output_activation(self.config.output)(maps)

    def flow(self, geometry: jax.Array) -> jax.Array:
        """Flows [..., size, size, 2] as (dx, dy) in pixels, of the geometry alone."""
        maps = self.geometry_network(self.config.geometry_gain * geometry)  # type: ignore[operator]
        return scaled_flow(self.config, maps)

    def combine(self, canonical: jax.Array, flow: jax.Array | None) -> jax.Array:
        """Images: canonical ones, warped where there is a flow, and refined if so configured."""
        image = canonical
        if flow is not None:
            warp_all = warp
            for _ in range(image.ndim - 3):
                warp_all = jax.vmap(warp_all)
            image = warp_all(narrowed(image, self.config.compute), flow).astype(image.dtype)
        return self.refiner(image) if self.config.refine else image


class WeightedFields(nn.Module):
    """Fields [..., size, size, 2], sums of learned ones that codes [..., latents] weight.

    Attributes:
      size: height and width.
      initial: factor of the first fields, whose deviation is that of `UpsamplingNetwork`'s weights.
    """

    size: int
    initial: float = 1.0

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        start = nn.initializers.truncated_normal(INITIAL_DEVIATION * self.initial)
        fields = self.param("fields", start, (codes.shape[-1], self.size * self.size * 2))
        return (codes @ fields).reshape(*codes.shape[:-1], self.size, self.size, 2)


def with_principal_fields(params: Any, geometry: Any = None) -> tuple[Any, Any]:
    """The same generator of a `linear_flow`, in the axes of its fields, and geometric codes in the same axes.

    A standard normal prior has no axes of its own. The fields' own are chosen: they are made orthogonal to each other,
    the largest first, so that what moves most is one number of the code. Images, flows and densities stay as they are.

    Args:
      params: of the generator.
      geometry: codes [..., latents], or None.

    Returns:
      The parameters and the codes.

    Example:
      >>> params = {"geometry_network": {"fields": np.array([[3.0, 3.0], [4.0, 4.0]])}}
      >>> turned, codes = with_principal_fields(params, np.array([0.6, 0.8]))
      >>> np.abs(turned["geometry_network"]["fields"]).round(3).tolist(), np.abs(codes).round(3).tolist()
      ([[5.0, 5.0], [0.0, 0.0]], [1.0, 0.0])
    """
    fields = np.asarray(params["geometry_network"]["fields"])
    turn, _, _ = np.linalg.svd(fields.astype(np.float64))
    turned = {**params, "geometry_network": {"fields": (turn.T @ fields).astype(fields.dtype)}}
    return turned, None if geometry is None else (np.asarray(geometry) @ turn).astype(np.asarray(geometry).dtype)


class Refiner(nn.Module):
    """The optional network after the deformable generator's warp (its Figure 1): images plus a residual, 0 at first.

    Example:
      >>> refiner = Refiner(channels=3)
      >>> refined, _ = jax.eval_shape(refiner.init_with_output, jax.random.key(0), jnp.zeros([2, 8, 8, 3]))
      >>> refined.shape
      (2, 8, 8, 3)
    """

    channels: int
    filters: int = 16

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(self.filters, (3, 3))(image))
        return image + nn.Conv(self.channels, (3, 3), kernel_init=nn.initializers.zeros)(x)


def output_activation(output: str) -> Callable[[jax.Array], jax.Array]:
    """The activation of a generator's images, by the name of its output: "sigmoid" or "tanh"."""
    return nn.sigmoid if output == "sigmoid" else jnp.tanh


def scaled_flow(config: Any, maps: jax.Array) -> jax.Array:
    """Flows in pixels from the last maps of a geometric generator, by a `GeneratorConfig` or a `DynamicConfig`."""
    field = config.displacement * config.size * jnp.tanh(maps)
    if config.squarings:
        # On the coarse grid, in units of its own: what is interpolated between points that do not fold does not either.
        field = integrated_flow(field / config.flow_scale, config.squarings) * config.flow_scale
    return enlarge(field, config.flow_scale)


def mirrored(maps: jax.Array, scale: int) -> jax.Array:
    """Maps [..., size, size, channels] made symmetric from left to right, but for means over blocks of pixels.

    Args:
      maps: of even size.
      scale: height and width of the blocks, between whose middles the asymmetry is interpolated.

    Example:
      >>> mirrored(jnp.arange(4.0)[None, :, None].repeat(4, 0), 2)[0, :, 0].tolist()
      [0.5, 1.0, 2.0, 2.5]
    """
    reflected = maps[..., ::-1, :]
    odd = (maps - reflected) / 2
    *leading, height, width, channels = odd.shape
    blocks = odd.reshape(*leading, height // scale, scale, width // scale, scale, channels).mean(axis=(-4, -2))
    return (maps + reflected) / 2 + enlarge(blocks, scale)


MOST_SQUARINGS = 10


def check_squarings(squarings: int) -> None:
    """Raises an `InputError` for a number of squarings that is negative or of no use."""
    if not 0 <= squarings <= MOST_SQUARINGS:
        raise InputError("model.squarings", f"0 to {MOST_SQUARINGS}", str(squarings))


def generator_widths(config: GeneratorConfig) -> list[int]:
    """Filters of the geometric generator's maps, from 4 x 4 to half the image's size."""
    doublings = config.size.bit_length() - 3
    return [max(FEWEST_FILTERS, config.filters >> i) for i in range(doublings)]


def generator_kernels(config: GeneratorConfig) -> list[int]:
    """Taps of the transposed convolutions: 3, and 5 in the last two."""
    doublings = config.size.bit_length() - 3
    return [5 if i >= doublings - 2 else 3 for i in range(doublings)]


def _network(
    config: GeneratorConfig, ratio: float, channels: int, beta: float | None, initial_output: float = 1.0
) -> UpsamplingNetwork:
    widths = [int(width * ratio) for width in generator_widths(config)]
    return UpsamplingNetwork(
        first_filters=widths[0],
        filters=(*widths[1:], channels),
        kernels=generator_kernels(config),
        strides=[2] * len(widths),
        weight_balance=beta,
        he_fan_in=config.he_fan_in,
        initial_output=initial_output,
        compute=config.compute,
    )
