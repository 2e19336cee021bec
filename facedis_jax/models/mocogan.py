"""MoCoGAN (Tulyakov et al. 2018, "MoCoGAN: decomposing motion and content for video generation"), a baseline.

One code for the content of a clip, a recurrent network for its motion, and one network that makes every frame from
both; and two critics, of frames and of clips. How the codes of given clips are found is not published: here by an
encoder, which is learned on the generator's own clips.
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
      critic_filters: of the critics' and the encoder's first layer; each later one has twice as many.
      encoder_units: what the encoder makes of a frame before it sees the others.
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
    encoder_units: int = 256
    output: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        check_power_of_two("model.size", self.size, least=8)
        if self.output not in ("tanh", "sigmoid"):
            raise InputError("model.output", "tanh or sigmoid", repr(self.output))


class MocoganLatents(NamedTuple):
    """What is drawn for a MoCoGAN's clip, or for a batch of them, from N(0, I).

    Attributes:
      content: [..., content latents], z_C, the same for all frames.
      start: [..., motion latents], the recurrent network's state before the first frame.
      noise: [..., frames, motion noise], from which the recurrent network makes the motion codes.

    Example:
      >>> latents = MocoganLatents(content=jnp.zeros([2, 50]), start=jnp.zeros([2, 10]), noise=jnp.zeros([2, 8, 10]))
      >>> latents.noise.shape  # two clips of eight frames
      (2, 8, 10)
    """

    content: Any
    start: Any
    noise: Any


class MocoganCodes(NamedTuple):
    """What the frames of a MoCoGAN's clip, or of a batch of them, are made of.

    Attributes:
      content: [..., content latents], z_C.
      motion: [..., frames, motion latents], z_M.

    Example:
      >>> codes = MocoganCodes(content=jnp.zeros([2, 50]), motion=jnp.zeros([2, 8, 10]))
      >>> codes.motion.shape  # two clips of eight frames
      (2, 8, 10)
    """

    content: Any
    motion: Any


class MocoganGenerator(nn.Module):
    """The generator of a MoCoGAN: clips of any length from content and noise, with any number of batch axes in front.

    Example:
      >>> model = MocoganGenerator(MocoganConfig(size=8, filters=8))
      >>> latents = MocoganLatents(content=jnp.ones(50), start=jnp.zeros(10), noise=jnp.ones([5, 10]))
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
            # Weights that are scaled at run time, as the deformable generator's, learn ten times as slowly here.
            weight_balance=None,
        )

    def __call__(self, latents: MocoganLatents) -> jax.Array:
        """Clips [..., frames, size, size, channels]."""
        return self.frames(self.codes(latents))

    def codes(self, latents: MocoganLatents) -> MocoganCodes:
        """The codes of a clip of what is drawn."""
        motion: Any = self.recurrent_network(latents.noise, initial_carry=latents.start)
        return MocoganCodes(latents.content, motion)

    def frames(self, codes: MocoganCodes) -> jax.Array:
        """The frames [..., frames, size, size, channels] of codes."""
        shape = (*codes.motion.shape[:-1], self.config.content_latents)
        content = jnp.broadcast_to(codes.content[..., None, :], shape)
        both = jnp.concatenate([content, codes.motion], axis=-1)
        return output_activation(self.config.output)(self.frame_network(both))


class VideoCritic(nn.Module):
    """A MoCoGAN's critic of clips: logits that they are real, of any length, by convolutions over time and space.

    Attributes:
      filters: of the convolutions, each of which halves height and width and sees three frames at a time, as many as
        lie in the clip.

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
        x = x.mean(axis=1)  # over what is left of the length
        return nn.Dense(1)(x.reshape(len(x), -1))[:, 0]


def frame_triples(clips: jax.Array) -> jax.Array:
    """Every three consecutive frames, [batch, frames - 2, ..., 3 * channels]; of fewer frames, zeros stand for others.

    Args:
      clips: [batch, frames, ..., channels].
    """
    missing = max(3 - clips.shape[1], 0)
    padded = jnp.pad(clips, [(0, 0), (0, missing), *[(0, 0)] * (clips.ndim - 2)])
    return jnp.concatenate([padded[:, i : padded.shape[1] - 2 + i] for i in range(3)], axis=-1)


class ClipEncoder(nn.Module):
    """A MoCoGAN's encoder: the codes that frames are likely made of, learned on clips whose codes are known.

    Frames are read as the critic of frames reads them, one by one; then each beside the mean of all.

    Example:
      >>> encoder = ClipEncoder(MocoganConfig(size=8, critic_filters=8))
      >>> codes, _ = jax.eval_shape(encoder.init_with_output, jax.random.key(0), jnp.zeros([2, 5, 8, 8, 3]))
      >>> codes.content.shape, codes.motion.shape
      ((2, 50), (2, 5, 10))
    """

    config: MocoganConfig

    @nn.compact
    def __call__(self, clips: jax.Array) -> MocoganCodes:
        """Codes of clips [..., frames, size, size, channels]."""
        config = self.config
        x = clips.reshape(-1, *clips.shape[-3:])
        for filters in _critic_filters(config):
            x = nn.leaky_relu(nn.Conv(filters, (5, 5), strides=2)(x), LEAK)
        frames = nn.leaky_relu(nn.Dense(config.encoder_units)(x.reshape(*clips.shape[:-3], -1)), LEAK)
        mean = frames.mean(axis=-2, keepdims=True)
        beside = jnp.concatenate([frames - mean, jnp.broadcast_to(mean, frames.shape)], axis=-1)
        motion = nn.Dense(config.motion_latents)(nn.leaky_relu(nn.Dense(config.encoder_units)(beside), LEAK))
        return MocoganCodes(nn.Dense(config.content_latents)(mean[..., 0, :]), motion)


def _critic_filters(config: MocoganConfig) -> list[int]:
    """Of convolutions down to maps of 4 x 4."""
    return [config.critic_filters << i for i in range(config.size.bit_length() - 3)]


def mocogan_critics(config: MocoganConfig) -> tuple[Critic, VideoCritic]:
    """A MoCoGAN's critics of frames and of clips, down to maps of 4 x 4.

    Example:
      >>> of_frames, of_clips = mocogan_critics(MocoganConfig(size=32, critic_filters=16))
      >>> of_frames.filters, of_clips.filters
      ([16, 32, 64], [16, 32, 64])
    """
    filters = _critic_filters(config)
    return Critic(filters=filters, kernels=[5] * len(filters)), VideoCritic(filters)
