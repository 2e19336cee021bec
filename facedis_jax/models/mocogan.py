"""MoCoGAN (Tulyakov et al. 2018, "MoCoGAN: decomposing motion and content for video generation"), a baseline.

One code for the content of a clip, a recurrent network for its motion, and one network that makes every frame from
both; and two critics, of frames and of clips. The network reads both codes together, so that nothing of it can be kept
while one of them moves: Langevin dynamics moves all latents at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, check_power_of_two
from facedis_jax.models.critic import LEAK, Critic
from facedis_jax.models.deformable import output_activation
from facedis_jax.models.upsampling import UpsamplingNetwork

FEWEST_FILTERS = 8


@dataclass(frozen=True)
class MocoganConfig:
    """Sizes of a MoCoGAN: codes as in its paper, the generator as the deformable generator's of Table 5.

    References:
      Tulyakov et al., "MoCoGAN: Decomposing Motion and Content for Video Generation", 2018.

    Attributes:
      size: height and width of a frame, a power of two of at least 8.
      channels: of a frame.
      content_latents: length of z_C.
      motion_latents: length of z_M at a frame, the recurrent network's units.
      motion_noise: length of a frame's noise.
      filters: of the generator's 4 x 4 map; the next layer has as many, each later one half as many, down to 8.
      critic_filters: of the critics' first layer; each later one has twice as many.
      output: of the generator: "tanh" for frames in [-1, 1], "sigmoid" for frames in [0, 1].

    Raises:
      InputError: for a size that is no power of two, or an unknown output.

    Example:
      >>> config = MocoganConfig(size=32)
      >>> config.content_latents, config.motion_latents
      (50, 10)
    """

    size: int = 64
    channels: int = 3
    content_latents: int = 50
    motion_latents: int = 10
    motion_noise: int = 10
    filters: int = 512
    critic_filters: int = 64
    output: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        check_power_of_two("model.size", self.size, least=8)
        if self.output not in ("tanh", "sigmoid"):
            raise InputError("model.output", "tanh or sigmoid", repr(self.output))


class MocoganLatents(NamedTuple):
    """The latents of a MoCoGAN's clip, or of a batch of them, a priori N(0, I).

    Attributes:
      content: [..., content latents], z_C, the same for all frames.
      noise: [..., frames, motion noise], from which the recurrent network makes the motion codes.

    Example:
      >>> latents = MocoganLatents(content=jnp.zeros([2, 50]), noise=jnp.zeros([2, 8, 10]))
      >>> latents.noise.shape  # two clips of eight frames
      (2, 8, 10)
    """

    content: Any
    noise: Any


class MocoganGenerator(nn.Module):
    """The generator of a MoCoGAN: clips of any length from content and noise, with any number of batch axes in front.

    Example:
      >>> model = MocoganGenerator(MocoganConfig(size=8, filters=8))
      >>> latents = MocoganLatents(content=jnp.ones(50), noise=jnp.ones([5, 10]))
      >>> clip, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), latents)
      >>> clip.shape
      (5, 8, 8, 3)
    """

    config: MocoganConfig

    def setup(self) -> None:
        config = self.config
        doublings = config.size.bit_length() - 3
        self.recurrent_network = nn.RNN(nn.GRUCell(config.motion_latents))
        self.frame_network = UpsamplingNetwork(
            first_filters=config.filters,
            filters=(*(max(FEWEST_FILTERS, config.filters >> i) for i in range(doublings)), config.channels),
            kernels=[3] * doublings + [5],
            strides=[2] * doublings + [1],
            weight_balance=1.0,
        )

    def __call__(self, latents: MocoganLatents) -> jax.Array:
        """Clips [..., frames, size, size, channels]."""
        motion = self.motion(latents.noise)
        content = jnp.broadcast_to(latents.content[..., None, :], (*motion.shape[:-1], self.config.content_latents))
        codes = jnp.concatenate([content, motion], axis=-1)
        return output_activation(self.config.output)(self.frame_network(codes))

    def motion(self, noise: jax.Array) -> jax.Array:
        """Motion codes z_M [..., frames, motion latents] from noise [..., frames, motion noise]."""
        first = jnp.zeros((*noise.shape[:-2], self.config.motion_latents), noise.dtype)
        return self.recurrent_network(noise, initial_carry=first)  # type: ignore[return-value]


class VideoCritic(nn.Module):
    """A MoCoGAN's critic of clips: logits that they are real, of any length, by convolutions over time and space.

    Attributes:
      filters: of the convolutions, each of which halves height, width and length.

    Example:
      >>> critic = VideoCritic(filters=(8, 16))
      >>> jax.eval_shape(critic.init_with_output, jax.random.key(0), jnp.zeros([2, 8, 16, 16, 3]))[0].shape
      (2,)
    """

    filters: Sequence[int]

    @nn.compact
    def __call__(self, clips: jax.Array) -> jax.Array:
        """Logits [batch] that clips [batch, frames, size, size, channels] are real."""
        x = clips
        for filters in self.filters:
            # A convolution over time and space, as one over space alone: for the gradients of the former, XLA's CPU
            # backend has a slow loop alone, which takes forty times as long.
            x = nn.leaky_relu(nn.Conv(filters, (3, 3), strides=2)(frame_triples(x)), LEAK)
        x = x.mean(axis=1)  # what is left of the length
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


def frame_triples(clips: jax.Array) -> jax.Array:
    """Windows of a convolution of three frames and stride 2 over time, [batch, ceil(frames / 2), ..., 3 * channels].

    Padding is zero, as for "SAME": one frame before and one after an odd number of frames, one after an even number.

    Args:
      clips: [batch, frames, ..., channels].
    """
    frames = clips.shape[1]
    span = frames + frames % 2  # all frames that a triple can begin at
    padded = jnp.pad(clips, [(0, 0), (frames % 2, 1), *[(0, 0)] * (clips.ndim - 2)])
    return jnp.concatenate([padded[:, i : i + span : 2] for i in range(3)], axis=-1)


def mocogan_critics(config: MocoganConfig) -> tuple[Critic, VideoCritic]:
    """A MoCoGAN's critics of frames and of clips, down to maps of 4 x 4.

    Example:
      >>> of_frames, of_clips = mocogan_critics(MocoganConfig(size=32, critic_filters=16))
      >>> of_frames.filters, of_clips.filters
      ([16, 32, 64], [16, 32, 64])
    """
    filters = [config.critic_filters << i for i in range(config.size.bit_length() - 3)]
    return Critic(filters=filters, kernels=[5] * len(filters)), VideoCritic(filters)
