"""Latents of images by Langevin dynamics (Eq. 7), for the learners that have no inference network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError
from facedis_jax.learners.image_functions import prior_sample
from facedis_jax.losses import log_joint
from facedis_jax.models import DeformableGenerator, GeneratorConfig, Latents
from facedis_jax.sampling import alternating_langevin, langevin


@dataclass(frozen=True)
class LangevinConfig:
    """The sampler of the latents; the defaults are the paper's and, where it is silent, the authors' code's.

    Attributes:
      scheme: "alternating" moves one latent with the other fixed, as the paper; "joint" both at once, as the authors'
        code.
      num_steps: in a training step: steps, or sweeps over both latents where they alternate.
      step_size: delta of Eq. 7.
      block: steps of either latent in a sweep.
      inference_steps: as `num_steps`, from the prior to the posterior of an unseen image (section 5.3).
      average_last: of an unseen image's chain, so many of the last latents are averaged, which estimates the
        posterior's mean; 0 takes the last ones as they are, a sample.
      restarts: independent chains per unseen image, of which the one of lowest energy is kept.

    Raises:
      InputError: where more latents are to be averaged than there are.
    """

    scheme: Literal["alternating", "joint"] = "alternating"
    num_steps: int = 20
    step_size: float = 0.1
    block: int = 1
    inference_steps: int = 300
    average_last: int = 0
    restarts: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.average_last <= self.inference_steps:
            raise InputError("average_last", f"0 to {self.inference_steps}, inference_steps", str(self.average_last))


def sample_posterior(
    model: GeneratorConfig,
    config: LangevinConfig,
    params: Any,
    image: jax.Array,
    start: Latents,
    key: jax.Array,
    *,
    sigma: jax.Array | float,
    num_steps: int,
    appearance_known: bool = False,
) -> Latents:
    """Moves the latents of one image towards a sample of their posterior.

    Args:
      model: sizes of the generators.
      config: the sampler.
      params: of the generators.
      image: [size, size, channels] in the range of their output.
      start: the chain's last latents.
      key: of the noise.
      sigma: standard deviation of a pixel's residual.
      num_steps: as in the configuration.
      appearance_known: leave the appearance as it is in `start`.
    """
    generator = DeformableGenerator(model)

    def log_density(latents: Any) -> jax.Array:
        prediction: Any = generator.apply({"params": params}, *latents)
        return log_joint(image, prediction, latents, sigma=sigma)

    steps: Any = {"num_steps": num_steps, "step_size": config.step_size}
    if appearance_known:
        geometry = langevin(lambda z: log_density((start.appearance, z)), start.geometry, key, **steps)
        return start._replace(geometry=geometry)
    if config.scheme == "joint" or not model.deformable:
        return langevin(log_density, start, key, **steps)
    return Latents(*alternating_langevin(log_density, tuple(start), key, block=config.block, **steps))


def langevin_inference(model: GeneratorConfig, config: LangevinConfig, sigma: float) -> Callable[..., Latents]:
    """Inference for unseen images, `infer` of `ImageFunctions`: from the prior, with restarts."""
    generator = DeformableGenerator(model)

    def infer(params: Any, images: jax.Array, keys: jax.Array, appearance: jax.Array | None = None) -> Latents:
        def restart(image: jax.Array, key: jax.Array, code: jax.Array | None) -> tuple[jax.Array, Latents]:
            start_key, sample_key = jax.random.split(key)
            start = prior_sample(model, start_key)
            if code is not None:
                start = start._replace(appearance=code)

            def moved(latents: Latents, key: jax.Array, num_steps: int) -> Latents:
                known = code is not None
                return sample_posterior(
                    model, config, params, image, latents, key, sigma=sigma, num_steps=num_steps, appearance_known=known
                )

            if config.average_last:
                latents = _mean_of_last(moved, start, sample_key, config.inference_steps, config.average_last)
            else:
                latents = moved(start, sample_key, config.inference_steps)
            prediction: Any = generator.apply({"params": params}, *latents)
            return -log_joint(image, prediction, latents, sigma=sigma), latents

        def one(image: jax.Array, key: jax.Array, code: jax.Array | None) -> Latents:
            if config.restarts == 1:
                return restart(image, key, code)[1]
            keys = jax.random.split(key, config.restarts)
            energies, latents = jax.vmap(restart, in_axes=(None, 0, None))(image, keys, code)
            return jax.tree.map(lambda x: x[jnp.argmin(energies)], latents)

        return jax.vmap(one)(images, keys, appearance)

    return infer


def _mean_of_last(
    moved: Callable[[Latents, jax.Array, int], Latents], start: Latents, key: jax.Array, num_steps: int, last: int
) -> Latents:
    """Moves latents step by step and averages over the last ones."""

    def step(carry: tuple[Latents, Latents], i: jax.Array) -> tuple[tuple[Latents, Latents], None]:
        latents, mean = carry
        latents = moved(latents, jax.random.fold_in(key, i), 1)
        weight = jnp.where(i >= num_steps - last, 1 / last, 0.0)
        return (latents, jax.tree.map(lambda m, z: m + weight * z, mean, latents)), None

    (_, mean), _ = jax.lax.scan(step, (start, jax.tree.map(jnp.zeros_like, start)), jnp.arange(num_steps))
    return mean
