"""The adversarial extension (Eq. 22): a critic sharpens what maximum likelihood leaves blurred."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

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
from facedis_jax.learners.generator_functions import example_keys, reconstruction_evaluation
from facedis_jax.learners.langevin_inference import initial_latents
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.metrics import Average
from facedis_jax.models import Latents, critic_of

CRITIC_OPTIMISER = OptimiserConfig(learning_rate=1e-4, weight_decay=0.0, schedule="steps", beta_1=0.5)


@dataclass(frozen=True)
class AdversarialConfig:
    """What is learned and how; the weights are the paper's.

    Attributes:
      abp: the generators, the sampler and the generators' optimiser.
      likelihood_weight: lambda_1 of Eq. 22.
      penalty_weight: lambda_2, of the critic's squared gradient at real images (R1).
      critic_optimiser: Adam's settings for the critic.
    """

    abp: AbpConfig = field(default_factory=AbpConfig)
    likelihood_weight: float = 0.001
    penalty_weight: float = 10.0
    critic_optimiser: OptimiserConfig = CRITIC_OPTIMISER


class AdversarialState(struct.PyTreeNode):
    """Everything that a run of the learner carries from step to step; the first fields are `AbpState`'s."""

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


def adversarial_learner(
    config: AdversarialConfig,
    *,
    num_images: int,
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Eq. 22; batches, arguments and metrics as of `abp_learner`.

    Every step moves the chains, then the generators by the likelihood of the batch and by the critic's opinion of as
    many images from the prior (non-saturating: they maximise log D), then the critic by the same images and the batch,
    with R1's penalty.

    Returns:
      A `Learner`, split over devices as `ADVERSARIAL_STATE_AXES` says. Its step's metrics have beside those of
      `abp_learner` `generator_nats` and `critic_nats`, the two cross-entropies, and `penalty`, the critic's squared
      gradient.
    """
    abp = config.abp
    functions = abp_functions(abp)
    network = critic_of(abp.model)
    optimiser = make_optimiser(abp.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    critic_optimiser = make_optimiser(config.critic_optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def logits(critic: Any, images: jax.Array) -> jax.Array:
        return network.apply({"params": critic}, images)  # type: ignore[return-value]

    def init(key: jax.Array, batch: Batch) -> AdversarialState:
        start = functions.init(jax.random.fold_in(key, 0), params)
        critic = network.init(jax.random.fold_in(key, 3), functions.to_model_range(batch["image"][:1]))["params"]
        return AdversarialState(
            params=start,
            opt_state=optimiser.init(start),
            chains=initial_chains(
                functions, abp.langevin, batch["image"].shape[1:], jax.random.fold_in(key, 1), num_images
            ),
            key=jax.random.fold_in(key, 2),
            step=jnp.int32(0),
            critic=critic,
            critic_opt_state=critic_optimiser.init(critic),
        )

    def step(state: AdversarialState, batch: Batch) -> tuple[AdversarialState, Metrics]:
        images, index = functions.to_model_range(batch["image"]), batch["index"]
        sigma = current_sigma(abp, state.step, steps_per_epoch)
        keys = jax.vmap(jax.random.split)(example_keys(state.key, state.step, index))
        latents = move_chains(
            functions,
            abp.langevin,
            state.params,
            images,
            gather_chains(state.chains, index, axis_name),
            keys[:, 0],
            sigma=sigma,
        )
        fresh = jax.vmap(lambda key: functions.prior(key, images.shape[1:]))(keys[:, 1])
        latents, norms, diverged = redraw_diverged(latents, initial_latents(abp.langevin, fresh))

        def generator_loss(params: Any) -> tuple[jax.Array, Any]:
            params = with_frozen(params, abp.frozen)
            predictions = functions.decode(params, latents)
            energies = example_energies(images, predictions, latents, sigma)
            sampled = functions.decode(params, fresh)
            entropy = -jax.nn.log_sigmoid(logits(state.critic, sampled))
            total = config.likelihood_weight * energies + entropy
            return total.mean(), (energies, functions.squared_error(images, predictions), entropy, sampled)

        gradients, (energies, errors, entropy, sampled) = jax.grad(generator_loss, has_aux=True)(state.params)

        def critic_loss(critic: Any) -> tuple[jax.Array, Any]:
            cross_entropy, penalty = critic_terms(lambda x: logits(critic, x), images, sampled)
            total = cross_entropy + config.penalty_weight / 2 * penalty
            return total.mean(), (cross_entropy, penalty)

        critic_gradients, (cross_entropy, penalty) = jax.grad(critic_loss, has_aux=True)(state.critic)
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
            chains=scatter_chains(state.chains, index, latents, axis_name),
            step=state.step + 1,
            critic=critic,
            critic_opt_state=critic_opt_state,
        )
        metrics = {
            "squared_error": errors,
            "energy_nats": energies,
            "generator_nats": entropy,
            "critic_nats": cross_entropy,
            "penalty": penalty,
        }
        return state, {
            **{name: Average.of(values) for name, values in metrics.items()},
            **chain_metrics(norms, diverged),
        }

    return Learner(init, step, reconstruction_evaluation(functions, "image"))


def critic_terms(
    logits: Callable[[jax.Array], jax.Array], real: jax.Array, fake: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A critic's cross-entropy and R1's penalty, [batch] each.

    Args:
      logits: [batch] from examples; nothing in it may mix them.
      real, fake: examples [batch, ...]; the penalty is the squared gradient at the real ones.
    """
    cross_entropy = -jax.nn.log_sigmoid(logits(real)) - jax.nn.log_sigmoid(-logits(fake))
    slopes = jax.grad(lambda x: logits(x).sum())(real)
    return cross_entropy, jnp.sum(jnp.square(slopes), axis=range(1, slopes.ndim))
