"""A trained generator of images as pure functions of batches, whichever learner trained it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.learners.langevin_inference import GeneratorParts, LatentModel
from facedis_jax.learners.learner import Batch, Metrics
from facedis_jax.metrics import Average
from facedis_jax.models import DeformableGenerator, GeneratorConfig, Latents


class ImageFunctions(NamedTuple):
    """Inference and generation with given parameters; images are float32 in the range of the generator's output.

    Attributes:
      config: of the generator.
      pixels: images [...] to that range, from uint8 or from floating-point numbers in [0, 1].
      unit: images [...] from that range to [0, 1].
      infer: (params, images [batch, size, size, channels], keys [batch], appearance) -> `Latents` of unseen images;
        `appearance` [batch, latents] is held fixed where it is given, else None.
      decode: (params, latents) -> images.
      canonical: (params, appearance) -> images before they are bent.
      flow: (params, geometry) -> displacements [batch, size, size, 2] in pixels.
      squared_error: (images, predictions) -> [batch], summed over pixels and channels, in units of the range [0, 1].
    """

    config: GeneratorConfig
    pixels: Callable[[jax.Array], jax.Array]
    unit: Callable[[jax.Array], jax.Array]
    infer: Callable[..., Latents]
    decode: Callable[[Any, Latents], jax.Array]
    canonical: Callable[[Any, jax.Array], jax.Array]
    flow: Callable[[Any, jax.Array], jax.Array]
    squared_error: Callable[[jax.Array, jax.Array], jax.Array]


def image_functions(config: GeneratorConfig, infer: Callable[..., Latents]) -> ImageFunctions:
    """The functions of a generator; only inference differs between learners.

    Args:
      config: of the generator, whose parameters are those of `DeformableGenerator` (others beside them are ignored).
      infer: as in `ImageFunctions`.
    """
    model = DeformableGenerator(config)
    pixels, unit = ranges(config.output)

    def canonical(params: Any, appearance: jax.Array) -> jax.Array:
        return model.apply({"params": params}, appearance, method="canonical")  # type: ignore[return-value]

    def flow(params: Any, geometry: jax.Array) -> jax.Array:
        return model.apply({"params": params}, geometry, method="flow")  # type: ignore[return-value]

    def squared_error(images: jax.Array, predictions: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(unit(images) - unit(predictions)), axis=(-3, -2, -1))

    return ImageFunctions(config, pixels, unit, infer, image_model(config).decode, canonical, flow, squared_error)


def ranges(output: str) -> tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
    """`pixels` and `unit` of `ImageFunctions`, for images and clips, by the name of the generator's output."""
    signed = output == "tanh"

    def pixels(images: jax.Array) -> jax.Array:
        if images.dtype == jnp.uint8:
            images = images.astype(jnp.float32) / 255
        return images * 2 - 1 if signed else images

    def unit(images: jax.Array) -> jax.Array:
        return (images + 1) / 2 if signed else images

    return pixels, unit


def reconstruction_evaluation(functions: Any, observed: str = "image") -> Callable[[Any, Batch], Metrics]:
    """A learner's `evaluate`: unseen examples are given codes anew and rebuilt from them.

    Args:
      functions: `ImageFunctions` or its like for clips.
      observed: under which name a batch has the examples.

    Returns:
      A function of states, which have `params`, `key` and `step`, and of batches, as at `abp_learner`.
    """

    def evaluate(state: Any, batch: Batch) -> Metrics:
        images = functions.pixels(batch[observed])
        keys = keys_of(state.key, state.step, batch["index"])
        latents = functions.infer(state.params, images, keys, batch.get("code"))
        errors = functions.squared_error(images, functions.decode(state.params, latents))
        return {"squared_error": Average.of(errors, batch["mask"])}

    return evaluate


def image_model(config: GeneratorConfig) -> LatentModel:
    """The generator of one image for the sampler."""
    model = DeformableGenerator(config)

    def decode(params: Any, latents: Latents) -> jax.Array:
        return model.apply({"params": params}, *latents)  # type: ignore[return-value]

    def part(name: str) -> Callable[..., jax.Array]:
        return lambda params, *latents: model.apply({"params": params}, *latents, method=name)  # type: ignore[return-value]

    parts = GeneratorParts(part("canonical"), part("flow"), part("combine")) if config.deformable else None
    return LatentModel(lambda key, image: prior_sample(config, key), decode, parts)


def prior_sample(config: GeneratorConfig, key: jax.Array) -> Latents:
    """One pair of codes from N(0, I)."""
    appearance_key, geometry_key = jax.random.split(key)
    appearance = jax.random.normal(appearance_key, (config.appearance_latents,))
    return Latents(
        appearance, jax.random.normal(geometry_key, (config.geometry_latents,)) if config.deformable else None
    )


def keys_of(key: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
    """One key per example, by the run's step and the example's index: independent of batch and devices."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda i: jax.random.fold_in(step_key, i))(index)
