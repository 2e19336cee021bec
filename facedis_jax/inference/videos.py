"""A trained generator of clips as functions on the host: what reports and comparisons need of a learner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.inference.chunks import in_chunks
from facedis_jax.inference.images import ImageCodec
from facedis_jax.inference.sampled import sampled_inference
from facedis_jax.learners import VideoFunctions
from facedis_jax.learners.video_functions import prior_clip
from facedis_jax.models import DynamicLatents, Latents

# Clips per call of the compiled functions.
_CHUNK = 10


@dataclass(frozen=True)
class VideoCodec:
    """Latents and clips in batches of any size; clips are uint8 or float32 in [0, 1].

    Attributes:
      infer: clips [n, frames, size, size, channels] -> `DynamicLatents` [n, ...], from the prior; or, if such are
        given after the clips, on from them.
      decode: `DynamicLatents` [n, ...] -> clips.
      codes: `DynamicLatents` [n, ...] -> `Latents` of all frames, Z_t [n, frames, latents] of either kind.
      frames: such `Latents` -> clips.
      flow: their geometry [n, frames, latents] -> displacements [n, frames, size, size, 2] in pixels.
      prior: (count, frames) -> `DynamicLatents` of new clips; more frames go on from where fewer end.
      appearance_latents, geometry_latents: lengths of the codes.
    """

    infer: Callable[..., DynamicLatents]
    decode: Callable[[DynamicLatents], np.ndarray]
    codes: Callable[[DynamicLatents], Latents]
    frames: Callable[[Latents], np.ndarray]
    flow: Callable[[np.ndarray], np.ndarray]
    prior: Callable[[int, int], DynamicLatents]
    appearance_latents: int
    geometry_latents: int


def video_codec(
    functions: VideoFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> VideoCodec:
    """The codec of a trained generator.

    Args:
      functions: of its learner.
      params: its parameters.
      seed: of the noise where inference samples, and of new clips; a clip's noise depends on its place in the call as
        well.
      devices: that share the clips of a call where latents are inferred; one by default.
    """
    key, new_key = jax.random.split(jax.random.key(seed))

    def infer(params: Any, clips: jax.Array, keys: jax.Array, start: DynamicLatents | None) -> DynamicLatents:
        return functions.infer(params, functions.pixels(clips), keys, start=start)

    infer_all = sampled_inference(infer, params, key, chunk=_CHUNK, devices=devices)
    decode = jax.jit(lambda params, latents: functions.unit(functions.decode(params, latents)))
    codes = jax.jit(functions.codes)
    frames = jax.jit(lambda params, codes: functions.unit(functions.frames(params, codes)))
    flow = jax.jit(functions.flow)

    def prior(count: int, num_frames: int) -> DynamicLatents:
        keys = jax.vmap(lambda i: jax.random.fold_in(new_key, i))(jnp.arange(count))
        return jax.device_get(jax.vmap(lambda key: prior_clip(functions.config, key, num_frames))(keys))

    def each(function: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda clips: in_chunks(partial(function, params), (clips,), _CHUNK)

    return VideoCodec(
        infer=lambda clips, start=None: infer_all(clips, start),
        decode=each(decode),
        codes=each(codes),
        frames=each(frames),
        flow=each(flow),
        prior=prior,
        appearance_latents=functions.config.appearance_latents,
        geometry_latents=functions.config.geometry_latents,
    )


def frame_codec(codec: VideoCodec) -> ImageCodec:
    """A generator of clips as one of single images, by the codes Z_t of one frame; it infers nothing."""

    def infer(images: np.ndarray, appearance: np.ndarray | None = None) -> Latents:
        raise NotImplementedError("the codes of a frame follow from its clip")

    def canonical(appearance: np.ndarray) -> np.ndarray:
        raise NotImplementedError("frames of clips are shown as they are bent")

    return ImageCodec(
        infer=infer,
        decode=lambda codes: codec.frames(Latents(*(z[:, None] for z in codes)))[:, 0],
        canonical=canonical,
        flow=lambda geometry: codec.flow(geometry[:, None])[:, 0],
        appearance_latents=codec.appearance_latents,
        geometry_latents=codec.geometry_latents,
    )


def as_distributed(draws: DynamicLatents, found: DynamicLatents) -> DynamicLatents:
    """Draws from N(0, I) as draws from the normal distributions that the latents of clips have.

    A finished training leaves latents narrower than the prior, in which its networks have seen nothing of what lies
    between; what they make of the prior itself is then hardly a face.

    Args:
      draws: of new clips, from the prior, of any length.
      found: of clips, of which each kind's mean and covariance are taken; noise is alike in all frames.
    """

    def adapt(draw: np.ndarray, known: np.ndarray) -> np.ndarray:
        known = np.float64(known).reshape(-1, known.shape[-1])
        variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(known.T, bias=True)))
        root = directions * np.sqrt(np.maximum(variances, 0)) @ directions.T
        return (known.mean(axis=0) + draw @ root).astype(np.float32)

    return jax.tree.map(adapt, draws, found)


def recombined(appearance: DynamicLatents, geometry: DynamicLatents) -> DynamicLatents:
    """The appearance trajectory of one clip with the geometric trajectory of another (Figures 15 and 16)."""
    return DynamicLatents(appearance.appearance, geometry.geometry)


def of_clips(latents: DynamicLatents, rows: np.ndarray) -> DynamicLatents:
    """The latents of some clips of a batch."""
    return jax.tree.map(lambda z: z[rows], latents)
