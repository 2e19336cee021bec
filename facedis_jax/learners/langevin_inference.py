"""Latents by Langevin dynamics (Eq. 7 and 16), for the learners that have no inference network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError, check_least
from facedis_jax.losses import log_joint
from facedis_jax.sampling import alternating_langevin, langevin


@dataclass(frozen=True)
class LangevinConfig:
    """The sampler of the latents; the defaults are the paper's for images and, where it is silent, the authors' code's.

    Attributes:
      scheme: "alternating" moves one latent with the other fixed, as the paper; "joint" both at once, as the authors'
        code.
      num_steps: in a training step: steps, or sweeps over both latents where they alternate.
      step_size: delta of Eq. 7.
      block: steps of either latent in a sweep.
      inference_steps: as `num_steps`, from the prior to the posterior of an unseen example (section 5.3).
      average_last: of an unseen example's chain, so many of the last latents are averaged, which estimates the
        posterior's mean; 0 takes the last ones as they are, a sample.
      restarts: independent chains per unseen example, of which the one of lowest energy is kept.
      initial_std: standard deviation of the latents at the start of a chain, in training and of unseen examples; 1 is
        the prior's. Much below 1, the networks first learn from latents that the data have moved, in place of random
        numbers that short chains hardly leave. The density that is sampled is the same.

    Raises:
      InputError: for a step size that is not positive, a negative `initial_std` or number of steps, a block or a number
        of chains below 1, or more latents to average than there are.
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


class GeneratorParts(NamedTuple):
    """What a generator computes from either of its latents alone, and from what they make together.

    Attributes:
      appearance: (params, latents.appearance) -> canonical image or images.
      geometry: (params, latents.geometry) -> flow or flows.
      combine: (params, canonical, flow) -> the example, as `decode` of `LatentModel` makes it of both latents.
    """

    appearance: Callable[[Any, Any], jax.Array]
    geometry: Callable[[Any, Any], jax.Array]
    combine: Callable[[Any, jax.Array, jax.Array], jax.Array]


class LatentModel(NamedTuple):
    """A generator of single examples, images or clips, as the sampler sees it.

    Attributes:
      prior: (key, example) -> latents from N(0, I), any pytree, as many as an example of this shape has.
      decode: (params, latents) -> the example that they stand for.
      parts: of a generator whose latents are a pair, `appearance` and `geometry`, of which one can be moved with the
        other fixed; None for any other, whose latents all move together.
      steps: by what the sampler's step size is multiplied for each of the latents; a pytree that is a prefix of them.
    """

    prior: Callable[[jax.Array, jax.Array], Any]
    decode: Callable[[Any, Any], jax.Array]
    parts: GeneratorParts | None = None
    steps: Any = 1.0


def first_latents(config: LangevinConfig, prior: Any) -> Any:
    """Where chains begin, from draws of the prior."""
    return jax.tree.map(lambda z: config.initial_std * z, prior)


def sample_posterior(
    model: LatentModel,
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
    """Moves the latents of one example towards a sample of their posterior.

    Args:
      model: the generator.
      config: the sampler.
      params: of the generator.
      example: an image [size, size, channels] or a clip [frames, size, size, channels], in the range of its output.
      start: the chain's last latents.
      key: of the noise.
      sigma: standard deviation of a pixel's residual.
      num_steps, average_last: as in the configuration.
      appearance_known: leave the appearance as it is in `start`.
    """

    parts = model.parts
    sizes = jax.tree.broadcast(jax.tree.map(lambda ratio: ratio * config.step_size, model.steps), start)
    length = {"num_steps": num_steps, "average_last": average_last}
    if parts is None or (config.scheme == "joint" and not appearance_known):

        def log_density(latents: Any) -> jax.Array:
            return log_joint(example, model.decode(params, latents), latents, sigma=sigma)

        return langevin(log_density, start, key, **length, step_size=sizes)

    def log_density_by_parts(latents: tuple[Any, Any], made: tuple[jax.Array, jax.Array]) -> jax.Array:
        return log_joint(example, parts.combine(params, *made), latents, sigma=sigma)

    if appearance_known:
        canonical = parts.appearance(params, start.appearance)

        def log_conditional(geometry: Any) -> jax.Array:
            flow = parts.geometry(params, geometry)
            return log_density_by_parts((start.appearance, geometry), (canonical, flow))

        geometry = langevin(log_conditional, start.geometry, key, **length, step_size=sizes.geometry)
        return start._replace(geometry=geometry)
    moved = alternating_langevin(
        log_density_by_parts,
        tuple(start),
        key,
        **length,
        step_size=tuple(sizes),
        block=config.block,
        parts=(partial(parts.appearance, params), partial(parts.geometry, params)),
    )
    return type(start)(*moved)


def langevin_inference(model: LatentModel, config: LangevinConfig, sigma: float) -> Callable[..., Any]:
    """Inference for unseen examples, `infer` of `ImageFunctions` and its like, with restarts.

    From where the configuration begins, or on from latents that are given as `start`.
    """

    def infer(
        params: Any, examples: jax.Array, keys: jax.Array, appearance: jax.Array | None = None, start: Any = None
    ) -> Any:
        def restart(example: jax.Array, key: jax.Array, code: jax.Array | None, first: Any) -> tuple[jax.Array, Any]:
            start_key, sample_key = jax.random.split(key)
            if first is None:
                first = first_latents(config, model.prior(start_key, example))
            if code is not None:
                first = first._replace(appearance=code)

            latents = sample_posterior(
                model,
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
            return -log_joint(example, model.decode(params, latents), latents, sigma=sigma), latents

        def one(example: jax.Array, key: jax.Array, code: jax.Array | None, first: Any) -> Any:
            if config.restarts == 1:
                return restart(example, key, code, first)[1]
            keys = jax.random.split(key, config.restarts)
            energies, latents = jax.vmap(restart, in_axes=(None, 0, None, None))(example, keys, code, first)
            return jax.tree.map(lambda x: x[jnp.argmin(energies)], latents)

        return jax.vmap(one)(examples, keys, appearance, start)

    return infer
