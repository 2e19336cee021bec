"""The adversarial extension (Eq. 22): a critic makes the generated images sharper than maximum likelihood does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from facedis_jax.errors import InputError
from facedis_jax.learners.abp import (
    AbpConfig,
    abp_functions,
    current_sigma,
    example_energies,
    frozen_networks,
    initial_chains,
    move_chains,
    with_frozen,
)
from facedis_jax.learners.chains import chain_metrics, gather_chains, redraw_diverged, scatter_chains
from facedis_jax.learners.generator_functions import ImageFunctions, example_keys, reconstruction_evaluation
from facedis_jax.learners.langevin_inference import initial_latents
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.metrics import Average
from facedis_jax.models import Critic, Latents, critic_of

CRITIC_OPTIMISER = OptimiserConfig(learning_rate=1e-4, weight_decay=0.0, schedule="steps", beta_1=0.5)


@dataclass(frozen=True)
class AdversarialConfig:
    """Networks, loss and optimisers; the weights are the deformable generator's (section 5.3).

    Attributes:
      abp: the generators, the sampler and the generators' optimiser.
      likelihood_weight: lambda_1 of Eq. 22.
      penalty_weight: lambda_2, of the critic's squared gradient at real images (R1).
      critic_optimiser: Adam's settings for the critic.

    Example:
      >>> config = AdversarialConfig()
      >>> config.likelihood_weight, config.penalty_weight
      (0.001, 10.0)
    """

    abp: AbpConfig = field(default_factory=AbpConfig)
    likelihood_weight: float = 0.001
    penalty_weight: float = 10.0
    critic_optimiser: OptimiserConfig = CRITIC_OPTIMISER
    critic_sees: Literal["prior", "posterior"] = "prior"

    def __post_init__(self) -> None:
        if self.critic_sees not in ("prior", "posterior"):
            raise InputError("critic_sees", "prior or posterior", repr(self.critic_sees))


class AdversarialState(struct.PyTreeNode):
    """Everything that a run of the learner carries from step to step; the first fields are `AbpState`'s.

    Example:
      >>> from facedis_jax.models import GeneratorConfig
      >>> config = AdversarialConfig(AbpConfig(GeneratorConfig(size=8, filters=16)))
      >>> learner = adversarial_learner(config, num_images=10, steps_per_epoch=5, num_steps=100)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state.step.dtype, sorted(state.critic)
      (dtype('int32'), ['Conv_0', 'Dense_0'])
    """

    params: Any
    opt_state: Any
    chains: Latents
    key: jax.Array
    step: jax.Array
    critic: Any
    critic_opt_state: Any


ADVERSARIAL_STATE_AXES: Any = AdversarialState(
    params=None,
    opt_state=None,
    chains=0,  # type: ignore[arg-type]
    key=None,  # type: ignore[arg-type]
    step=None,  # type: ignore[arg-type]
    critic=None,
    critic_opt_state=None,
)
"""Which fields of an `AdversarialState` are split over devices along their first axis.

Example:
  >>> ADVERSARIAL_STATE_AXES.chains, ADVERSARIAL_STATE_AXES.critic
  (0, None)
"""


def adversarial_learner(
    config: AdversarialConfig,
    *,
    num_images: int,
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Eq. 22 of the deformable generator: generators and a critic.

    Batches, arguments and metrics are as of `abp_learner`. The penalty is charged to the critic, as in R1; the paper
    prints it with the other sign.

    Every step moves the chains, then updates the generators by the likelihood of the batch and by the critic's logits
    of as many images from the prior (non-saturating: they maximise log D), then updates the critic by the same images
    and the batch, with R1's penalty.

    Returns:
      A `Learner`, split over devices as `ADVERSARIAL_STATE_AXES` says. Its step's metrics have beside those of
      `abp_learner` `generator_nats` and `critic_nats`, the two cross-entropies, and `penalty`, the critic's squared
      gradient.

    Example:
      >>> from facedis_jax.models import GeneratorConfig
      >>> config = AdversarialConfig(AbpConfig(GeneratorConfig(size=8, filters=16)))
      >>> learner = adversarial_learner(config, num_images=10, steps_per_epoch=5, num_steps=100)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> sorted(metrics)
      ['critic_nats', 'energy_nats', 'generator_nats', 'latent_norm', 'penalty', 'redrawn_chains', 'squared_error']
    """
    abp = config.abp
    setup = _Setup(config, abp_functions(abp), critic_of(abp.model), steps_per_epoch, axis_name)
    optimiser = make_optimiser(abp.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    critic_optimiser = make_optimiser(config.critic_optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> AdversarialState:
        start = setup.functions.init(jax.random.fold_in(key, 0), params)
        images = setup.functions.to_model_range(batch["image"][:1])
        critic = setup.critic.init(jax.random.fold_in(key, 3), images)["params"]
        return AdversarialState(
            params=start,
            opt_state=optimiser.init(start),
            chains=initial_chains(
                setup.functions, abp.langevin, images.shape[1:], jax.random.fold_in(key, 1), num_images
            ),
            key=jax.random.fold_in(key, 2),
            step=jnp.int32(0),
            critic=critic,
            critic_opt_state=critic_optimiser.init(critic),
        )

    def step(state: AdversarialState, batch: Batch) -> tuple[AdversarialState, Metrics]:
        images = setup.functions.to_model_range(batch["image"])
        samples = _samples(setup, state, images, batch["index"])
        gradients, generated = jax.grad(partial(_generator_loss, setup), has_aux=True)(
            state.params, state.critic, images, samples
        )
        critic_gradients, (cross_entropy, penalty) = jax.grad(partial(_critic_loss, setup), has_aux=True)(
            state.critic, images, generated.images
        )
        params, opt_state = apply_gradients(
            optimiser,
            gradients,
            state.opt_state,
            state.params,
            axis_name=axis_name,
            frozen=frozen_networks(abp.frozen),
        )
        critic, critic_opt_state = apply_gradients(
            critic_optimiser, critic_gradients, state.critic_opt_state, state.critic, axis_name=axis_name
        )
        state = state.replace(
            params=params,
            opt_state=opt_state,
            chains=scatter_chains(state.chains, batch["index"], samples.posterior, axis_name),
            step=state.step + 1,
            critic=critic,
            critic_opt_state=critic_opt_state,
        )
        metrics = {
            "squared_error": generated.errors,
            "energy_nats": generated.energies,
            "generator_nats": generated.cross_entropy,
            "critic_nats": cross_entropy,
            "penalty": penalty,
        }
        return state, {
            **{name: Average.of(values) for name, values in metrics.items()},
            **chain_metrics(samples.norms, samples.diverged),
        }

    return Learner(init, step, reconstruction_evaluation(setup.functions, "image"))


class _Setup(NamedTuple):
    """Values that are fixed for a run and shared by the learner's functions."""

    config: AdversarialConfig
    functions: ImageFunctions
    critic: Critic
    steps_per_epoch: float
    axis_name: str | None


class _Samples(NamedTuple):
    """Latents of a step.

    Attributes:
      posterior: of the batch's images, after their Langevin steps.
      prior: as many drawn from N(0, I).
      norms, diverged: of the chains, from `redraw_diverged`.
      sigma: standard deviation of a pixel's residual at this step.
    """

    posterior: Latents
    prior: Latents
    norms: jax.Array
    diverged: jax.Array
    sigma: jax.Array


class _Generated(NamedTuple):
    """Terms of the generators' loss, [batch] each, and the images [batch, size, size, channels] from the prior."""

    energies: jax.Array
    errors: jax.Array
    cross_entropy: jax.Array
    images: jax.Array


def _logits(setup: _Setup, critic: Any, images: jax.Array) -> jax.Array:
    return setup.critic.apply({"params": critic}, images)  # type: ignore[return-value]


def _samples(setup: _Setup, state: AdversarialState, images: jax.Array, index: jax.Array) -> _Samples:
    """Latents of the batch after their Langevin steps, and as many from the prior, at which diverged chains restart."""
    abp = setup.config.abp
    sigma = current_sigma(abp, state.step, setup.steps_per_epoch)
    keys = jax.vmap(jax.random.split)(example_keys(state.key, state.step, index))
    latents = move_chains(
        setup.functions,
        abp.langevin,
        state.params,
        images,
        gather_chains(state.chains, index, setup.axis_name),
        keys[:, 0],
        sigma=sigma,
    )
    fresh = jax.vmap(lambda key: setup.functions.prior(key, images.shape[1:]))(keys[:, 1])
    latents, norms, diverged = redraw_diverged(latents, initial_latents(abp.langevin, fresh))
    return _Samples(latents, fresh, norms, diverged, sigma)


def _generator_loss(
    setup: _Setup, params: Any, critic: Any, images: jax.Array, samples: _Samples
) -> tuple[jax.Array, _Generated]:
    """The generators' part of Eq. 22: the likelihood's energy, and the non-saturating cross-entropy."""
    functions = setup.functions
    params = with_frozen(params, setup.config.abp.frozen)
    predictions = functions.decode(params, samples.posterior)
    energies = example_energies(images, predictions, samples.posterior, samples.sigma)
    energies = energies + functions.geometry_price(params, samples.posterior)
    seen = setup.config.critic_sees
    generated = predictions if seen == "posterior" else functions.decode(params, samples.prior)
    cross_entropy = -jax.nn.log_sigmoid(_logits(setup, critic, generated))
    total = setup.config.likelihood_weight * energies + cross_entropy
    errors = functions.squared_error(images, predictions)
    return total.mean(), _Generated(energies, errors, cross_entropy, generated)


def _critic_loss(
    setup: _Setup, critic: Any, real: jax.Array, fake: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The critic's cross-entropy with R1's penalty; both, [batch], beside it."""
    cross_entropy, penalty = critic_terms(partial(_logits, setup, critic), real, fake)
    return (cross_entropy + setup.config.penalty_weight / 2 * penalty).mean(), (cross_entropy, penalty)


def critic_terms(
    logits: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A critic's cross-entropy and R1's penalty, the squared gradient at real examples: [batch] each.

    Args:
      logits: [batch] from examples [batch, ...]; each depends on its own example alone.
      real, fake: examples [batch, ...].
    """
    cross_entropy = -jax.nn.log_sigmoid(logits(real)) - jax.nn.log_sigmoid(-logits(fake))
    slopes = jax.grad(lambda x: logits(x).sum())(real)
    return cross_entropy, jnp.sum(jnp.square(slopes), axis=range(1, slopes.ndim))
