"""An iteration of the deformable generator as a PyTorch user would write it; for `benchmarks.peers`."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facedis_jax.learners import AbpConfig
from facedis_jax.models import GeneratorConfig
from facedis_jax.models.deformable import generator_kernels, generator_widths
from facedis_jax.models.upsampling import INITIAL_DEVIATION

Latents = tuple[Tensor, ...]

# How a step is written: as public code does it; as fast as we know how; the latter through `torch.compile`.
Form = Literal["eager", "tuned", "compiled"]


def training_step(
    config: AbpConfig, num_images: int, batch: Mapping[str, Tensor], *, form: Form
) -> Callable[[], Tensor]:
    """One iteration after another of Algorithm 1 on one batch, with a persistent chain per training image.

    Args:
      config: of the learner, whose latents alternate in blocks of one step; schedules stay where they start.
      num_images: size of the training set.
      batch: `image` [batch, size, size, channels] uint8 and `index` [batch].
      form: "eager": each Langevin step evaluates and differentiates both networks; "tuned": a network is
        evaluated once per step of its own latents; "compiled": that, with both networks, and the warp with the energy,
        through `torch.compile`.

    Returns:
      A function that runs a step and returns the energy before the weights' update.
    """
    sizes = config.model.appearance_latents, config.model.geometry_latents
    step_size = config.langevin.step_size
    return alternating_step(
        DeformableGenerator(config.model),
        pixels(batch["image"], config.model.output),
        batch["index"].long(),
        [(torch.randn(num_images, size),) for size in sizes],
        num_sweeps=config.langevin.num_steps,
        step_sizes=[(step_size,), (step_size,)],
        sigma=config.early_sigma,
        optimiser=functools.partial(
            torch.optim.Adam, lr=config.optimiser.learning_rate, betas=(config.optimiser.beta_1, 0.999), fused=True
        ),
        form=form,
    )


def alternating_step(
    model: nn.Module,
    images: Tensor,
    index: Tensor,
    chains: Sequence[Latents],
    *,
    num_sweeps: int,
    step_sizes: Sequence[tuple[float, ...]],
    sigma: float,
    optimiser: Callable[..., torch.optim.Optimizer],
    form: Form,
) -> Callable[[], Tensor]:
    """As `training_step`, for images and clips.

    Args:
      model: has `canonical`, images from the appearance's latents, and `flow`, from the geometry's.
      images: [images, channels, size, size], in the range of the model's output; all frames of all clips.
      index: [batch], indices of the examples' chains.
      chains: appearance's and geometry's, each a tuple of tensors [examples, ...].
      num_sweeps: of Langevin steps, first of the appearance, then of the geometry.
      step_sizes: like `chains`.
      sigma: standard deviation of a pixel's residual.
      optimiser: of the weights.
      form: as of `training_step`.
    """
    updates = optimiser(model.parameters())
    to_canonical, to_flow = model.canonical, model.flow
    energy = functools.partial(image_energy, images, sigma=sigma)
    if form == "compiled":
        to_canonical, to_flow, energy = torch.compile(to_canonical), torch.compile(to_flow), torch.compile(energy)

    def sample(appearance: Latents, geometry: Latents) -> tuple[Latents, Latents]:
        for _ in range(num_sweeps):
            made = energy(to_canonical(*appearance), to_flow(*geometry), appearance)
            appearance = _moved(appearance, made, step_sizes[0])
            made = energy(to_canonical(*appearance), to_flow(*geometry), geometry)
            geometry = _moved(geometry, made, step_sizes[1])
        return appearance, geometry

    def sample_tuned(appearance: Latents, geometry: Latents) -> tuple[Latents, Latents]:
        canonical, flow = to_canonical(*appearance), to_flow(*geometry)
        for _ in range(num_sweeps):
            # The fixed network enters by its value alone, so that no gradient is computed for it.
            appearance = _moved(appearance, energy(canonical, flow.detach(), appearance), step_sizes[0])
            canonical = to_canonical(*appearance)
            geometry = _moved(geometry, energy(canonical.detach(), flow, geometry), step_sizes[1])
            flow = to_flow(*geometry)
        return appearance, geometry

    def step() -> Tensor:
        model.requires_grad_(False)
        start = (tuple(chain[index].requires_grad_() for chain in chains_) for chains_ in chains)
        moved = (sample if form == "eager" else sample_tuned)(*start)
        appearance, geometry = (tuple(z.detach() for z in latents) for latents in moved)
        for chain, latents in zip(chains, (appearance, geometry), strict=True):
            for table, z in zip(chain, latents, strict=True):
                table[index] = z
        model.requires_grad_(True)
        updates.zero_grad(set_to_none=True)
        value = energy(to_canonical(*appearance), to_flow(*geometry), (*appearance, *geometry)) / len(index)
        value.backward()
        updates.step()
        return value.detach()

    return step


def _moved(latents: Latents, energy: Tensor, step_sizes: tuple[float, ...]) -> Latents:
    """The latents after a Langevin step, as leaves of a new graph."""
    gradients = torch.autograd.grad(energy, latents)
    with torch.no_grad():
        moved = [
            z - size**2 / 2 * gradient + size * torch.randn_like(z)
            for z, gradient, size in zip(latents, gradients, step_sizes, strict=True)
        ]
    return tuple(z.requires_grad_() for z in moved)


def image_energy(images: Tensor, canonical: Tensor, flow: Tensor, latents: Latents, sigma: float) -> Tensor:
    """Minus Eq. 8 or 17, summed over the batch."""
    residual = (images - warp(canonical, flow)).square().sum()
    return 0.5 * (residual / sigma**2 + sum(z.square().sum() for z in latents))


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images [batch, channels, height, width] read at coordinates displaced by [batch, 2, height, width] pixels."""
    height, width = images.shape[-2:]
    grid = _grid(height, width) + flow.movedim(1, -1) * flow.new_tensor([2 / (width - 1), 2 / (height - 1)])
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


def _grid(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y], dim=-1)


def pixels(images: Tensor, output: str) -> Tensor:
    """From uint8 [..., height, width, channels] to the range of the output, [..., channels, height, width]."""
    unit = images.movedim(-1, -3).contiguous() / 255
    return 2 * unit - 1 if output == "tanh" else unit


class Layer(nn.Module):
    """A linear layer or transposed convolution whose weights are as drawn, or are scaled at run time.

    Attributes:
      scale: by which weights are multiplied; None draws them small instead.
    """

    def __init__(self, layer: nn.Linear | nn.ConvTranspose2d, scale: float | None):
        super().__init__()
        self.layer, self.scale = layer, scale
        nn.init.normal_(layer.weight, std=INITIAL_DEVIATION if scale is None else 1.0)
        nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.scale is None:
            return self.layer(inputs)
        layer, weight = self.layer, self.layer.weight * self.scale
        if isinstance(layer, nn.Linear):
            return F.linear(inputs, weight, layer.bias)
        return F.conv_transpose2d(inputs, weight, layer.bias, layer.stride, layer.padding, layer.output_padding)


class UpsamplingNetwork(nn.Module):
    """Codes [batch, latents] to maps [batch, channels, size, size], before any activation of the last layer."""

    def __init__(
        self,
        latents: int,
        first_filters: int,
        filters: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        weight_balance: float | None = None,
    ):
        super().__init__()

        def layer(plain: nn.Linear | nn.ConvTranspose2d, fan_in: float) -> Layer:
            return Layer(plain, None if weight_balance is None else float(weight_balance * np.sqrt(2 / fan_in)))

        widths = [first_filters, *filters]
        self.dense = layer(nn.Linear(latents, 16 * first_filters), latents)
        self.first_filters = first_filters
        self.upsample = nn.ModuleList()
        for inputs, outputs, taps, stride in zip(widths[:-1], widths[1:], kernels, strides, strict=True):
            padding = (taps - stride + 1) // 2
            plain = nn.ConvTranspose2d(inputs, outputs, taps, stride, padding, stride + 2 * padding - taps)
            self.upsample.append(layer(plain, inputs * taps**2 / stride**2))

    def forward(self, codes: Tensor) -> Tensor:
        maps = self.dense(codes).view(-1, self.first_filters, 4, 4)
        for layer in self.upsample:
            maps = layer(F.relu(maps))
        return maps


class DeformableGenerator(nn.Module):
    """Table 4's networks; the last flow is in pixels."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        widths = generator_widths(config)
        self.appearance_network, self.geometry_network = (
            UpsamplingNetwork(
                latents,
                int(ratio * widths[0]),
                [*(int(ratio * width) for width in widths[1:]), channels],
                generator_kernels(config),
                [2] * len(widths),
            )
            for latents, ratio, channels in (
                (config.appearance_latents, config.filter_balance, config.channels),
                (config.geometry_latents, 1.0, 2),
            )
        )

    def canonical(self, appearance: Tensor) -> Tensor:
        """Canonical images [batch, channels, size, size]."""
        maps = self.appearance_network(appearance)
        return torch.sigmoid(maps) if self.config.output == "sigmoid" else torch.tanh(maps)

    def flow(self, geometry: Tensor) -> Tensor:
        """Displacements [batch, 2, size, size] in pixels."""
        return self.config.displacement * self.config.size * torch.tanh(self.geometry_network(geometry))
