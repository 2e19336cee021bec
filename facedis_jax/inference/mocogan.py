"""What a trained MoCoGAN finds in clips."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.inference.sampled import sampled_inference
from facedis_jax.learners import MocoganFunctions

# Clips whose latents MoCoGAN's generator infers at once.
_CHUNK = 10


class MotionCodes(NamedTuple):
    """What a MoCoGAN finds in clips.

    Attributes:
      motion: [clips, frames, latents], z_M.
      predictions: [clips, frames, size, size, channels] in [0, 1], the clips that its generator makes of the latents.
    """

    motion: Any
    predictions: Any


def mocogan_codes(
    functions: MocoganFunctions, params: Any, *, seed: int = 0, devices: Sequence[jax.Device] | None = None
) -> Callable[[np.ndarray], MotionCodes]:
    """Inference of a trained MoCoGAN, for clips, uint8 or in [0, 1], in batches of any size.

    Args:
      functions: of its learner.
      params: its parameters.
      seed: of the sampler's noise; a clip's depends on its place in the call as well.
      devices: that share the clips of a call; one by default.
    """

    def codes(params: Any, clips: jax.Array, keys: jax.Array) -> MotionCodes:
        latents = functions.infer(params, functions.pixels(clips), keys)
        return MotionCodes(functions.motion(params, latents.noise), functions.unit(functions.decode(params, latents)))

    return sampled_inference(codes, params, jax.random.key(seed), chunk=_CHUNK, devices=devices)
