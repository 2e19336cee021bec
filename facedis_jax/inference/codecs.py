"""A trained generator as functions on the host: what reports and comparisons need of a learner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.inference.chunks import on_host, sampled_inference
from facedis_jax.learners import GeneratorFunctions, ImageFunctions, MocoganFunctions, VideoFunctions
from facedis_jax.models import DynamicLatents, Latents

# Per call of the compiled functions.
_IMAGES, _CLIPS = 50, 10


@dataclass(frozen=True, kw_only=True)
class Codec:
    """Latents and examples in batches of any size; images and clips are uint8 or float32 in [0, 1].

    Attributes:
      infer: examples [n, ...] -> latents [n, ...].
      decode: latents [n, ...] -> examples.
      flow: geometric codes [n, ..., latents] -> flows [n, ..., size, size, 2] in pixels.
      appearance_latents, geometry_latents: lengths of the codes; the latter is 0 for a generator without a warp.
    """

    infer: Callable[..., Any]
    decode: Callable[[Any], np.ndarray]
    flow: Callable[[np.ndarray], np.ndarray]
    appearance_latents: int
    geometry_latents: int


@dataclass(frozen=True, kw_only=True)
class ImageCodec(Codec):
    """The `Codec` of a generator of images; latents are `Latents` [n, latents].

    `infer` keeps known `appearance` [n, latents] where it is given.

    Attributes:
      canonical: appearance [n, latents] -> canonical images.
    """

    canonical: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class VideoCodec(Codec):
    """The `Codec` of a generator of clips [n, frames, size, size, channels]; latents are `DynamicLatents` [n, ...].

    `infer` begins at the prior, or goes on from latents of the clips that are given as `start`.

    Attributes:
      codes: latents -> `Latents` of all frames, Z_t [n, frames, latents] of either kind.
      frames: such codes -> clips.
      prior: (count, frames) -> latents of new clips from the prior; more frames go on from where fewer end.
    """

    codes: Callable[[DynamicLatents], Latents]
    frames: Callable[[Latents], np.ndarray]
    prior: Callable[[int, int], DynamicLatents]


def image_codec(
    functions: ImageFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> ImageCodec:
    """The codec of a trained generator of images.

    Args:
      functions: of its learner.
      params: its parameters.
      seed: of the noise where inference samples; an image's noise depends on its place in the call as well.
      devices: that share the images of a call where latents are inferred; one by default.
    """
    shared = _codec(functions, params, jax.random.key(seed), _IMAGES, devices)
    return ImageCodec(**shared, canonical=on_host(_shown(functions, functions.canonical), params, _IMAGES))


def video_codec(
    functions: VideoFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> VideoCodec:
    """The codec of a trained generator of clips.

    Args:
      functions, params, devices: as of `image_codec`.
      seed: of the noise where inference samples, and of new clips; a clip's noise depends on its place in the call as
        well.
    """
    key, new_key = jax.random.split(jax.random.key(seed))

    def prior(count: int, num_frames: int) -> DynamicLatents:
        keys = jax.vmap(lambda i: jax.random.fold_in(new_key, i))(jnp.arange(count))
        return jax.device_get(jax.vmap(lambda key: functions.prior(key, (num_frames,)))(keys))

    return VideoCodec(
        **_codec(functions, params, key, _CLIPS, devices),
        codes=on_host(functions.codes, params, _CLIPS),
        frames=on_host(_shown(functions, functions.frames), params, _CLIPS),
        prior=prior,
    )


def frame_codec(codec: VideoCodec) -> ImageCodec:
    """A generator of clips as one of single images, by the codes Z_t of one frame; it infers nothing."""

    def infer(images: np.ndarray) -> Latents:
        raise NotImplementedError("the codes of a frame follow from its clip")

    def canonical(appearance: np.ndarray) -> np.ndarray:
        raise NotImplementedError("frames of clips are shown as they are warped")

    return ImageCodec(
        infer=infer,
        decode=lambda codes: codec.frames(Latents(*(z[:, None] for z in codes)))[:, 0],
        canonical=canonical,
        flow=lambda geometry: codec.flow(geometry[:, None])[:, 0],
        appearance_latents=codec.appearance_latents,
        geometry_latents=codec.geometry_latents,
    )


class MotionCodes(NamedTuple):
    """What a MoCoGAN finds in clips.

    Attributes:
      motion: [clips, frames, latents], z_M.
      predictions: [clips, frames, size, size, channels] in [0, 1], the clips that its generator makes of the codes.
    """

    motion: Any
    predictions: Any


def mocogan_codes(
    functions: MocoganFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> Callable[[np.ndarray], MotionCodes]:
    """Inference of a trained MoCoGAN as a function of clips, uint8 or in [0, 1], in batches of any size.

    Args:
      functions, params, devices: as of `image_codec`.
      seed: of the sampler's noise; a clip's depends on its place in the call as well.
    """

    def codes(params: Any, clips: jax.Array, keys: jax.Array) -> MotionCodes:
        found = functions.infer(params, functions.to_model_range(clips), keys)
        return MotionCodes(found.motion, _shown(functions, functions.decode)(params, found))

    return sampled_inference(codes, params, jax.random.key(seed), chunk=_CLIPS, devices=devices)


class Decoded:
    """The images or clips [n, ...] of some latents, in [0, 1], made when they are asked for by their rows.

    All of a test set in float32 would take four times the memory of its bytes.

    Args:
      make: latents [rows, ...] -> images or clips [rows, ...], such as a codec's `decode`.
      latents: [n, ...].
    """

    def __init__(self, make: Callable[[Any], np.ndarray], latents: Any):
        self._make, self._latents = make, latents

    def __len__(self) -> int:
        return len(jax.tree.leaves(self._latents)[0])

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return self._make(jax.tree.map(lambda z: z[rows], self._latents))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def squared_errors(images: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared error per image [n], summed over pixels and channels, for pixels in [0, 1] (Table 1's measure).

    Args:
      images: [n, height, width, channels], uint8 or in [0, 1].
      predictions: the same shape, in [0, 1].

    Example:
      >>> squared_errors(np.full([1, 2, 2, 1], 255, np.uint8), np.full([1, 2, 2, 1], 0.5))
      array([1.])
    """
    errors = np.empty(len(images))
    # One at a time: in float64 all of them would take eight times the memory of their bytes.
    for i, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
        pixels = image / np.float32(255) if image.dtype == np.uint8 else image
        errors[i] = np.square(pixels.astype(np.float64) - prediction).sum()
    return errors


def _codec(
    functions: ImageFunctions, params: Any, key: jax.Array, chunk: int, devices: Sequence[jax.Device] | None
) -> dict[str, Any]:
    """The fields of `Codec`."""

    def infer(params: Any, examples: jax.Array, keys: jax.Array, **known: Any) -> Any:
        return functions.infer(params, functions.to_model_range(examples), keys, **known)

    return {
        "infer": sampled_inference(infer, params, key, chunk=chunk, devices=devices),
        "decode": on_host(_shown(functions, functions.decode), params, chunk),
        "flow": on_host(functions.flow, params, chunk),
        "appearance_latents": functions.config.appearance_latents,
        "geometry_latents": functions.config.geometry_latents,
    }


def _shown(functions: GeneratorFunctions, function: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], jax.Array]:
    """The function with its images in [0, 1]."""
    return lambda params, inputs: functions.to_unit_range(function(params, inputs))
