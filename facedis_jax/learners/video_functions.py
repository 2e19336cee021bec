"""A trained generator of clips as pure functions of batches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.learners.image_functions import ranges
from facedis_jax.learners.langevin_inference import GeneratorParts, LatentModel
from facedis_jax.models import DynamicConfig, DynamicGenerator, DynamicLatents, Latents, Trajectory


class VideoFunctions(NamedTuple):
    """Inference and generation with given parameters; clips are float32 in the range of the generator's output.

    The shape of a clip is edited by another `latents.geometry.first`, and clips are recombined by
    `DynamicLatents(one.appearance, other.geometry)`. What is made of codes may have any number of axes in front of the
    frames'.

    Attributes:
      config: of the generator.
      pixels: clips [...] to that range, from uint8 or from floating-point numbers in [0, 1].
      unit: clips [...] from that range to [0, 1].
      infer: (params, clips [batch, frames, size, size, channels], keys [batch]) -> `DynamicLatents` of unseen clips; on
        from those that are given as `start`.
      decode: (params, latents) -> clips.
      codes: (params, latents) -> `Latents` of all frames, Z_t [batch, frames, latents] of either kind.
      states: (params, latents) -> `Latents`, the hidden states s_t in the same way: Z_t - Z_0.
      frames: (params, codes) -> clips.
      canonical: (params, codes.appearance) -> frames before they are bent.
      flow: (params, codes.geometry) -> displacements [batch, frames, size, size, 2] in pixels.
      squared_error: (clips, predictions) -> [batch], summed over pixels and channels, averaged over frames, in units of
        the range [0, 1].
    """

    config: DynamicConfig
    pixels: Callable[[jax.Array], jax.Array]
    unit: Callable[[jax.Array], jax.Array]
    infer: Callable[..., DynamicLatents]
    decode: Callable[[Any, DynamicLatents], jax.Array]
    codes: Callable[[Any, DynamicLatents], Latents]
    states: Callable[[Any, DynamicLatents], Latents]
    frames: Callable[[Any, Latents], jax.Array]
    canonical: Callable[[Any, jax.Array], jax.Array]
    flow: Callable[[Any, jax.Array], jax.Array]
    squared_error: Callable[[jax.Array, jax.Array], jax.Array]


def video_functions(config: DynamicConfig, infer: Callable[..., DynamicLatents]) -> VideoFunctions:
    """The functions of a generator, whose parameters are those of `DynamicGenerator`.

    Args:
      config: of the generator.
      infer: as in `VideoFunctions`.
    """
    model = DynamicGenerator(config)
    pixels, unit = ranges(config.output)

    def method(name: str) -> Callable[[Any, Any], Any]:
        return lambda params, inputs: model.apply({"params": params}, inputs, method=name)

    return VideoFunctions(
        config,
        pixels,
        unit,
        infer,
        decode=method("__call__"),
        codes=method("codes"),
        states=method("states"),
        frames=method("frames"),
        canonical=method("canonical"),
        flow=method("flow"),
        squared_error=error_per_frame(unit),
    )


def error_per_frame(unit: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`squared_error` of `VideoFunctions`, by its `unit`."""

    def squared_error(clips: jax.Array, predictions: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(unit(clips) - unit(predictions)), axis=(-3, -2, -1)).mean(axis=-1)

    return squared_error


def video_model(config: DynamicConfig, noise_step: float = 1.0) -> LatentModel:
    """The generator of one clip for the sampler.

    Args:
      config: of the generator.
      noise_step: by what the step size of the noise xi exceeds that of Z_0.
    """
    model = DynamicGenerator(config)

    def decode(params: Any, latents: DynamicLatents) -> jax.Array:
        return model.apply({"params": params}, latents)  # type: ignore[return-value]

    def part(name: str) -> Callable[..., jax.Array]:
        return lambda params, *latents: model.apply({"params": params}, *latents, method=name)  # type: ignore[return-value]

    parts = GeneratorParts(part("appearance_part"), part("geometry_part"), part("combine"))
    trajectory = Trajectory(first=1.0, noise=noise_step)
    steps = DynamicLatents(trajectory, trajectory)
    return LatentModel(lambda key, clip: prior_clip(config, key, len(clip)), decode, parts, steps)


def prior_clip(config: DynamicConfig, key: jax.Array, num_frames: int) -> DynamicLatents:
    """The latents of one clip from N(0, I).

    The noise of a frame does not depend on how many follow it, so that a longer clip from the same key goes on from
    where the shorter one ends.
    """

    def trajectory(key: jax.Array, latents: int, noise: int) -> Trajectory:
        first_key, noise_key = jax.random.split(key)
        if not noise:
            return Trajectory(jax.random.normal(first_key, (latents,)), None)
        keys = jax.vmap(lambda t: jax.random.fold_in(noise_key, t))(jnp.arange(1, num_frames))
        later = jax.vmap(lambda key: jax.random.normal(key, (noise,)))(keys)
        return Trajectory(jax.random.normal(first_key, (latents,)), later)

    appearance_key, geometry_key = jax.random.split(key)
    return DynamicLatents(
        trajectory(appearance_key, config.appearance_latents, config.appearance_noise),
        trajectory(geometry_key, config.geometry_latents, config.geometry_noise),
    )
