"""Latents by Langevin dynamics (Eq. 7 and 16), for the learners that have no inference network."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.generator_functions import GeneratorFunctions, Inference
from facedis_jax.losses import log_joint
from facedis_jax.sampling import alternating_langevin, langevin


@dataclass(frozen=True)
class LangevinConfig:
    """Configuration of the sampler of latents; defaults are the deformable generator's for images, or its code's.

    Attributes:
      scheme: "alternating" moves one latent with the other fixed, as in the paper; "joint" moves both at once, as in
        the authors' code.
      num_steps: steps in a training step, or sweeps over both latents where they alternate.
      step_size: delta of Eq. 7 of the deformable generator.
      block: steps of either latent in a sweep.
      inference_steps: as `num_steps`, from the prior to the posterior of an unseen example (section 5.3).
      average_last: how many of the last latents of an unseen example are averaged, which estimates the posterior's
        mean; 0 for the latents after the last step, a sample.
      restarts: independent chains per unseen example, of which the one of lowest energy is kept.
      initial_std: standard deviation of the latents at the start of a chain, in training and of unseen examples; 1 is
        the prior's. Much below 1, the networks first learn from latents that the data have moved, in place of random
        numbers that short chains hardly leave. The density that is sampled is the same.

    Raises:
      InputError: for a step size that is not positive, a negative `initial_std` or number of steps, a block or a number
        of chains below 1, or more latents to average than there are.

    Example:
      >>> LangevinConfig(scheme="joint", num_steps=10, step_size=0.05).inference_steps
      300
      >>> LangevinConfig(step_size=0.0)
      Traceback (most recent call last):
          ...
      facedis_jax.errors.InputError: step_size: expected more than 0, found 0.0
    """

    scheme: Literal["alternating", "joint"] = "alternating"
    num_steps: int = 20
    step_size: float = 0.1
    block: int = 1
    inference_steps: int = 300
    average_last: int = 0
    restarts: int = 1
    initial_std: float = 1.0

    def __post_init__(self) -> None:
        check_least(self, num_steps=0, inference_steps=0, block=1, restarts=1)
        if not 0 < self.step_size < float("inf"):
            raise InputError("step_size", "more than 0", str(self.step_size))
        if not 0 <= self.initial_std < float("inf"):
            raise InputError("initial_std", "0 or more", str(self.initial_std))
        if not 0 <= self.average_last <= self.inference_steps:
            raise InputError("average_last", f"0 to {self.inference_steps}, inference_steps", str(self.average_last))


def initial_latents(config: LangevinConfig, draws: Any) -> Any:
    """Latents at the start of a chain, from draws of the prior."""
    return jax.tree.map(lambda z: config.initial_std * z, draws)


def sample_posterior(
    functions: GeneratorFunctions,
    config: LangevinConfig,
    params: Any,
    example: jax.Array,
    start: Any,
    key: jax.Array,
    *,
    sigma: jax.Array | float,
    num_steps: int,
    average_last: int = 0,
    appearance_known: bool = False,
) -> Any:
    """The latents of one example after steps towards a sample of their posterior.

    Args:
      functions: of the generator.
      config: the sampler.
      params: of the generator.
      example: an image [size, size, channels] or a clip [frames, size, size, channels], in the range of the generator's
        output.
      start: the latents before.
      key: of the noise.
      sigma: standard deviation of a pixel's residual.
      num_steps, average_last: as of `langevin`, or in sweeps as of `alternating_langevin`.
      appearance_known: keep the appearance of `start`.
    """
    if appearance_known and functions.parts is None:
        return start  # without geometry, nothing is left to infer
    sizes = jax.tree.broadcast(jax.tree.map(lambda ratio: ratio * config.step_size, functions.step_ratios), start)
    length = {"num_steps": num_steps, "average_last": average_last}
    if functions.parts is None or (config.scheme == "joint" and not appearance_known):

        def log_density(latents: Any) -> jax.Array:
            return functions.log_joint(params, example, latents, sigma)

        return langevin(log_density, start, key, **length, step_size=sizes)

    appearance_part, geometry_part = (partial(functions.call, part, params) for part in functions.parts)

    def log_density_by_parts(latents: tuple[Any, Any], made: tuple[jax.Array, jax.Array]) -> jax.Array:
        prediction = functions.call("combine", params, *made)
        return log_joint(example, prediction, latents, sigma=sigma) - functions.flow_price(made[1])

    if appearance_known:
        canonical = appearance_part(start.appearance)

        def log_conditional(geometry: Any) -> jax.Array:
            return log_density_by_parts((start.appearance, geometry), (canonical, geometry_part(geometry)))

        geometry = langevin(log_conditional, start.geometry, key, **length, step_size=sizes.geometry)
        return start._replace(geometry=geometry)
    moved = alternating_langevin(
        log_density_by_parts,
        tuple(start),
        key,
        **length,
        step_size=tuple(sizes),
        block=config.block,
        parts=(appearance_part, geometry_part),
    )
    return type(start)(*moved)


def langevin_inference(functions: GeneratorFunctions, config: LangevinConfig, sigma: float) -> Inference:
    """Inference for unseen examples, `infer` of `GeneratorFunctions`, with restarts.

    It takes `appearance` [batch, latents], which is held fixed where it is given, and `start`, latents [batch, ...]
    that the chains go on from.
    """

    def infer(
        params: Any, examples: jax.Array, keys: jax.Array, appearance: jax.Array | None = None, start: Any = None
    ) -> Any:
        def restart(example: jax.Array, key: jax.Array, code: jax.Array | None, first: Any) -> tuple[jax.Array, Any]:
            start_key, sample_key = jax.random.split(key)
            if first is None:
                first = initial_latents(config, functions.prior(start_key, example.shape))
            if code is not None:
                first = first._replace(appearance=code)

            latents = sample_posterior(
                functions,
                config,
                params,
                example,
                first,
                sample_key,
                sigma=sigma,
                num_steps=config.inference_steps,
                average_last=config.average_last,
                appearance_known=code is not None,
            )
            return -functions.log_joint(params, example, latents, sigma), latents

        def one(example: jax.Array, key: jax.Array, code: jax.Array | None, first: Any) -> Any:
            if config.restarts == 1:
                return restart(example, key, code, first)[1]
            keys = jax.random.split(key, config.restarts)
            energies, latents = jax.vmap(restart, in_axes=(None, 0, None, None))(example, keys, code, first)
            return jax.tree.map(lambda x: x[jnp.argmin(energies)], latents)

        return jax.vmap(one)(examples, keys, appearance, start)

    return infer
