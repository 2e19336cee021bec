"""A trained generator of images as functions on the host: what reports and comparisons need of a learner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from facedis_jax.inference.chunks import in_chunks
from facedis_jax.inference.sampled import sampled_inference
from facedis_jax.learners import ImageFunctions
from facedis_jax.models import Latents

# Images per call of the compiled functions.
_CHUNK = 50


@dataclass(frozen=True)
class ImageCodec:
    """Codes and images in batches of any size; images are uint8 or float32 in [0, 1].

    Attributes:
      infer: (images [n, size, size, channels], known appearance [n, latents] or None) -> `Latents` [n, latents].
      decode: `Latents` [n, latents] -> images.
      canonical: appearance [n, latents] -> images before they are bent.
      flow: geometry [n, latents] -> displacements [n, size, size, 2] in pixels.
      appearance_latents, geometry_latents: lengths of the codes; the latter is 0 where nothing is bent.
    """

    infer: Callable[..., Latents]
    decode: Callable[[Latents], np.ndarray]
    canonical: Callable[[np.ndarray], np.ndarray]
    flow: Callable[[np.ndarray], np.ndarray]
    appearance_latents: int
    geometry_latents: int


def image_codec(
    functions: ImageFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> ImageCodec:
    """The codec of a trained generator.

    Args:
      functions: of its learner.
      params: its parameters.
      seed: of the noise where inference samples; an image's noise depends on its place in the call as well.
      devices: that share the images of a call where latents are inferred; one by default.
    """

    def infer(params: Any, images: jax.Array, keys: jax.Array, appearance: jax.Array | None) -> Latents:
        return functions.infer(params, functions.pixels(images), keys, appearance)

    infer_all = sampled_inference(infer, params, jax.random.key(seed), chunk=_CHUNK, devices=devices)
    decode = jax.jit(lambda params, latents: functions.unit(functions.decode(params, latents)))
    canonical = jax.jit(lambda params, appearance: functions.unit(functions.canonical(params, appearance)))
    flow = jax.jit(functions.flow)

    return ImageCodec(
        infer=lambda images, appearance=None: infer_all(images, appearance),
        decode=lambda latents: in_chunks(partial(decode, params), (latents,), _CHUNK),
        canonical=lambda appearance: in_chunks(partial(canonical, params), (appearance,), _CHUNK),
        flow=lambda geometry: in_chunks(partial(flow, params), (geometry,), _CHUNK),
        appearance_latents=functions.config.appearance_latents,
        geometry_latents=functions.config.geometry_latents,
    )


def squared_errors(images: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared error per image [n], summed over pixels and channels, for pixels in [0, 1] (Table 1's measure)."""
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    return np.square(images.astype(np.float64) - predictions).sum(axis=(1, 2, 3))
