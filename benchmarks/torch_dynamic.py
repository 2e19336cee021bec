"""An iteration of the dynamic generator as a PyTorch user would write it; for `benchmarks.peers`."""

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.torch_deformable import Form, UpsamplingNetwork, alternating_step, pixels
from facedis_jax.learners import AbpVideoConfig
from facedis_jax.models import DynamicConfig
from facedis_jax.models.dynamic import flow_strides


def training_step(
    config: AbpVideoConfig, num_clips: int, batch: Mapping[str, Tensor], *, form: Form
) -> Callable[[], Tensor]:
    """One iteration after another of Algorithm 2 on one batch, with a persistent chain per training clip.

    Args:
      config: of the learner, whose latents alternate in blocks of one step; schedules stay where they start.
      num_clips: size of the training set.
      batch: `frames` [batch, frames, size, size, channels] uint8 and `index` [batch].
      form: as of `torch_deformable.training_step`; a network comes with its transition.

    Returns:
      A function that runs a step and returns the energy before the weights' update.
    """
    model, frames = config.model, batch["frames"].shape[1]
    sizes = [(model.appearance_latents, model.appearance_noise), (model.geometry_latents, model.geometry_noise)]
    step_size = config.langevin.step_size
    return alternating_step(
        DynamicGenerator(model),
        pixels(batch["frames"], model.output).flatten(0, 1),
        batch["index"].long(),
        [(torch.randn(num_clips, code), torch.randn(num_clips, frames - 1, noise)) for code, noise in sizes],
        num_sweeps=config.langevin.num_steps,
        step_sizes=[(step_size, config.noise_step * step_size)] * 2,
        sigma=config.sigma,
        optimiser=functools.partial(
            torch.optim.Adam, lr=config.optimiser.learning_rate, betas=(config.optimiser.beta_1, 0.999), fused=True
        ),
        form=form,
    )


class Transition(nn.Module):
    """f of Eq. 11, from frame to frame: the codes [clips, frames, latents] of Eq. 10."""

    def __init__(self, hidden: int, latents: int, noise: int, residual: bool):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latents + noise, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, latents),
        )
        self.residual = residual

    def forward(self, first: Tensor, noise: Tensor) -> Tensor:
        """From Z_0 [clips, latents] and xi [clips, frames - 1, noise]."""
        state = torch.zeros_like(first)
        states = [state]
        for xi in noise.unbind(1):
            moved = self.layers(torch.cat([state, xi], dim=-1))
            state = torch.tanh(moved + state if self.residual else moved)
            states.append(state)
        return first[:, None] + torch.stack(states, dim=1)


class DynamicGenerator(nn.Module):
    """Table 5's networks; all frames of all clips are one batch."""

    def __init__(self, config: DynamicConfig):
        super().__init__()
        self.config = config
        hidden, residual = config.transition_hidden, config.transition == "residual"
        self.appearance_transition = Transition(hidden, config.appearance_latents, config.appearance_noise, residual)
        self.geometry_transition = Transition(hidden, config.geometry_latents, config.geometry_noise, residual)
        doublings = config.size.bit_length() - 3
        self.appearance_network = UpsamplingNetwork(
            config.appearance_latents,
            config.appearance_filters,
            [*(max(8, config.appearance_filters >> i) for i in range(doublings)), config.channels],
            [3] * doublings + [5],
            [2] * doublings + [1],
            weight_balance=None if config.weight_balance is None else 1.0,
        )
        strides = flow_strides(config.size)
        self.geometry_network = UpsamplingNetwork(
            config.geometry_latents,
            config.geometry_filters,
            [*(max(8, config.geometry_filters // 2 >> i) for i in range(len(strides))), 2],
            [4] * len(strides) + [5],
            [*strides, 1],
            weight_balance=config.weight_balance,
        )

    def canonical(self, first: Tensor, noise: Tensor) -> Tensor:
        """Canonical frames [clips * frames, channels, size, size]."""
        maps = self.appearance_network(self.appearance_transition(first, noise).flatten(0, 1))
        return torch.tanh(maps) if self.config.output == "tanh" else torch.sigmoid(maps)

    def flow(self, first: Tensor, noise: Tensor) -> Tensor:
        """Displacements [clips * frames, 2, size, size] in pixels."""
        maps = self.geometry_network(self.geometry_transition(first, noise).flatten(0, 1))
        return self.config.displacement * self.config.size * torch.tanh(maps)
