"""Alternating back-propagation (Algorithm 1): Langevin steps for the latents, then a gradient step for the weights."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from facedis_jax.learners.chains import chain_metrics, gather_chains, num_chains, redraw_diverged, scatter_chains
from facedis_jax.learners.generator_functions import (
    GeneratorFunctions,
    ImageFunctions,
    example_keys,
    image_functions,
    reconstruction_evaluation,
)
from facedis_jax.learners.langevin_inference import (
    LangevinConfig,
    initial_latents,
    langevin_inference,
    sample_posterior,
)
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.losses import log_joint
from facedis_jax.metrics import Average
from facedis_jax.models import GeneratorConfig

Part = Literal["appearance", "geometry", "refiner"]

# Epochs and the learning rates from then on, in the authors' code. It compares `epoch <= 100`, and counts epochs from
# 0: the first rate, and the early sigma, last for 101 epochs.
PAPER_RATES = ((101, 8e-4), (201, 6e-4), (301, 5e-4), (401, 4e-4), (501, 3e-4), (701, 2e-4), (901, 1e-4))
PAPER_OPTIMISER = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, schedule="steps", steps=PAPER_RATES)


@dataclass(frozen=True)
class AbpConfig:
    """Configuration of `abp_learner`; defaults are those of the deformable generator's code for images of 64 x 64.

    Attributes:
      model: sizes of the generators; `geometry_latents=0` is the non-deformable ABP.
      langevin: the sampler.
      sigma: standard deviation of a pixel's residual, for pixels in the range of the generators' output.
      early_sigma, early_epochs: the deviation in the first so many epochs.
      geometry_first_epochs: in the first so many epochs, ours, appearance codes stay at zero, their prior's mean, so
        that geometry explains what it can before appearance does.
      frozen: networks that keep their weights.
      optimiser: Adam's settings.

    Example:
      >>> config = AbpConfig(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4), sigma=0.3)
      >>> config.model.deformable, config.early_sigma, config.langevin.num_steps
      (True, 1.5, 20)
    """

    model: GeneratorConfig = field(default_factory=GeneratorConfig)
    langevin: LangevinConfig = field(default_factory=LangevinConfig)
    sigma: float = 1.0
    early_sigma: float = 1.5
    early_epochs: float = 101.0
    geometry_first_epochs: float = 0.0
    frozen: tuple[Part, ...] = ()
    optimiser: OptimiserConfig = PAPER_OPTIMISER


class AbpState(struct.PyTreeNode):
    """State of `abp_learner` and `abp_video_learner`.

    Attributes:
      params: of the generators.
      opt_state: the optimiser's.
      chains: one `Latents` per training image, by its index, or one `DynamicLatents` per clip; the only field that is
        split over devices.
      key, step: of the run's noise.

    Example:
      >>> config = AbpConfig(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4))
      >>> learner = abp_learner(config, num_images=10, steps_per_epoch=5, num_steps=100)
      >>> batch = {"image": np.zeros([2, 8, 8, 3], np.uint8), "index": np.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> sorted(state.params)
      ['appearance_network', 'geometry_network']
      >>> state.chains.appearance.shape  # one chain for each image, and some that are no image's
      (3840, 3)
    """

    params: Any
    opt_state: Any
    chains: Any
    key: jax.Array
    step: jax.Array


# Folded into the key of an example's noise for a new draw of its chain; larger than all that the chain's steps fold in.
_REDRAW = 2**31 - 1

ABP_STATE_AXES: Any = AbpState(params=None, opt_state=None, chains=0, key=None, step=None)  # type: ignore[arg-type]
"""Which fields of an `AbpState` are split over devices along their first axis, for `data_parallel` and `fit`.

Example:
  >>> ABP_STATE_AXES.chains, ABP_STATE_AXES.params
  (0, None)
"""


def abp_functions(config: AbpConfig) -> ImageFunctions:
    """What the generator does, with inference by Langevin dynamics.

    Example:
      >>> sizes = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4)
      >>> functions = abp_functions(AbpConfig(sizes))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> latents = functions.prior(jax.random.key(1), (8, 8, 3))
      >>> latents.appearance.shape, latents.geometry.shape
      ((3,), (4,))
      >>> jax.eval_shape(functions.decode, params, latents).shape
      (8, 8, 3)
      >>> jax.eval_shape(functions.flow, params, latents.geometry).shape
      (8, 8, 2)
    """
    functions = image_functions(config.model)
    return replace(functions, infer=langevin_inference(functions, config.langevin, config.sigma))


def abp_learner(
    config: AbpConfig,
    *,
    num_images: int,
    steps_per_epoch: float,
    num_steps: int,
    codes: np.ndarray | None = None,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Algorithm 1 of the deformable generator, with one persistent chain per training image.

    Batches have `image` [batch, size, size, channels] (uint8, or float32 in [0, 1]) and `index` [batch]
    int32, the images' places in the training set; at evaluation `mask` [batch] and, with `codes`, `code` [batch,
    appearance latents].

    The noise of an image depends on the run's key, the step and the image's index alone. Its latents are therefore the
    same in any batch and on any number of devices.

    Args:
      config: networks, sampler, optimiser.
      num_images: size of the training set.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, for schedules that end with it.
      codes: known appearance [images, appearance latents], such as one-hot labels, which is not inferred.
      params: initial weights of all or some of the networks, as of a state; fresh ones for the others.
      axis_name: the device axis over which batch means are collective; None on one device.

    Returns:
      A `Learner`, whose state is split over devices as `ABP_STATE_AXES` says. Metrics of `step`, of the chains:
      `squared_error` per image for pixels in [0, 1]; `energy_nats`, minus the log-joint density of Eq. 8 without its
      constant; `latent_norm`, the root mean square of a chain's latents (1 under the prior); `redrawn_chains`, the
      share that had diverged and was drawn anew. Metric of `evaluate`: `squared_error`, of codes that are inferred.

    Example:
      >>> config = AbpConfig(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4))
      >>> learner = abp_learner(config, num_images=10, steps_per_epoch=5, num_steps=100)
      >>> batch = {"image": np.zeros([2, 8, 8, 3], np.uint8), "index": np.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> sorted(metrics)
      ['energy_nats', 'latent_norm', 'redrawn_chains', 'squared_error']
    """
    functions = abp_functions(config)
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> AbpState:
        start = functions.init(jax.random.fold_in(key, 0), params)
        chains = initial_chains(
            functions, config.langevin, batch["image"].shape[1:], jax.random.fold_in(key, 1), num_images
        )
        if codes is not None:
            appearance = chains.appearance.at[:num_images].set(jnp.asarray(codes, jnp.float32))
            chains = chains._replace(appearance=appearance)
        return AbpState(start, optimiser.init(start), chains, jax.random.fold_in(key, 2), jnp.int32(0))

    step = alternating_step(
        functions,
        config.langevin,
        optimiser,
        observed="image",
        sigma_at=lambda step: current_sigma(config, step, steps_per_epoch),
        frozen=config.frozen,
        appearance_known=codes is not None,
        geometry_first_steps=config.geometry_first_epochs * steps_per_epoch,
        axis_name=axis_name,
    )
    return Learner(init, step, reconstruction_evaluation(functions, "image"))


def alternating_step(
    functions: GeneratorFunctions,
    langevin: LangevinConfig,
    optimiser: optax.GradientTransformation,
    *,
    observed: str,
    sigma_at: Callable[[jax.Array], jax.Array],
    frozen: tuple[Part, ...] = (),
    appearance_known: bool = False,
    geometry_first_steps: float = 0.0,
    axis_name: str | None = None,
) -> Callable[[AbpState, Batch], tuple[AbpState, Metrics]]:
    """The `step` of a learner by Algorithm 1 or 2; see `abp_learner`.

    Args:
      functions: of the generator.
      langevin: the sampler.
      optimiser: of the weights.
      observed: the name of the examples in a batch.
      sigma_at: step -> the residual's deviation.
      frozen, appearance_known, axis_name: as at `abp_learner`.
      geometry_first_steps: steps in which appearance codes stay at zero.
    """
    geometry_first = geometry_first_steps > 0 and functions.parts is not None and not appearance_known

    def step(state: AbpState, batch: Batch) -> tuple[AbpState, Metrics]:
        examples, index = functions.to_model_range(batch[observed]), batch["index"]
        sigma = sigma_at(state.step)
        start = gather_chains(state.chains, index, axis_name)
        keys = example_keys(state.key, state.step, index)

        def moved(start: Any, appearance_known: bool = appearance_known) -> Any:
            return move_chains(
                functions, langevin, state.params, examples, start, keys, sigma=sigma, appearance_known=appearance_known
            )

        if geometry_first:
            latents = jax.lax.cond(
                state.step < geometry_first_steps,
                lambda start: moved(start._replace(appearance=jnp.zeros_like(start.appearance)), True),
                moved,
                start,
            )
        else:
            latents = moved(start)
        redraw_keys = jax.vmap(lambda key: jax.random.fold_in(key, _REDRAW))(keys)
        fresh = jax.vmap(lambda key: functions.prior(key, examples.shape[1:]))(redraw_keys)
        fresh = initial_latents(langevin, fresh)
        if appearance_known:
            fresh = fresh._replace(appearance=start.appearance)
        latents, norms, diverged = redraw_diverged(latents, fresh)

        def loss(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            predictions = functions.decode(with_frozen(params, frozen), latents)
            energies = example_energies(examples, predictions, latents, sigma)
            energies = energies + functions.geometry_price(with_frozen(params, frozen), latents)
            return energies.mean(), (energies, functions.squared_error(examples, predictions))

        gradients, (energies, errors) = jax.grad(loss, has_aux=True)(state.params)
        params, opt_state = apply_gradients(
            optimiser,
            gradients,
            state.opt_state,
            state.params,
            axis_name=axis_name,
            frozen=frozen_networks(frozen),
        )
        state = state.replace(
            params=params,
            opt_state=opt_state,
            chains=scatter_chains(state.chains, index, latents, axis_name),
            step=state.step + 1,
        )
        return state, {
            "squared_error": Average.of(errors),
            "energy_nats": Average.of(energies),
            **chain_metrics(norms, diverged),
        }

    return step


def initial_chains(
    functions: GeneratorFunctions, langevin: LangevinConfig, shape: tuple[int, ...], key: jax.Array, num_examples: int
) -> Any:
    """Initial chains of all examples of a shape, each from a key of its own."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_chains(num_examples)))
    return initial_latents(langevin, jax.vmap(lambda key: functions.prior(key, shape))(keys))


def current_sigma(config: AbpConfig, step: jax.Array, steps_per_epoch: float) -> jax.Array:
    """The residual's deviation at a step."""
    return jnp.where(step < config.early_epochs * steps_per_epoch, config.early_sigma, config.sigma)


def move_chains(
    functions: GeneratorFunctions,
    langevin: LangevinConfig,
    params: Any,
    examples: jax.Array,
    latents: Any,
    keys: jax.Array,
    *,
    sigma: jax.Array,
    appearance_known: bool = False,
) -> Any:
    """The latents [batch, ...] of a batch of examples after the inferential step of Algorithm 1 or 2."""

    def move(example: jax.Array, start: Any, key: jax.Array) -> Any:
        return sample_posterior(
            functions,
            langevin,
            params,
            example,
            start,
            key,
            sigma=sigma,
            num_steps=langevin.num_steps,
            appearance_known=appearance_known,
        )

    return jax.vmap(move)(examples, latents, keys)


def example_energies(examples: jax.Array, predictions: jax.Array, latents: Any, sigma: jax.Array) -> jax.Array:
    """Energies [batch] in nats, minus Eq. 8 or 17."""
    return -jax.vmap(lambda x, f, z: log_joint(x, f, z, sigma=sigma))(examples, predictions, latents)


def with_frozen(params: Any, frozen: tuple[Part, ...]) -> Any:
    """The same parameters, without gradients of the frozen networks."""
    names = frozen_networks(frozen)
    return {name: jax.lax.stop_gradient(value) if name in names else value for name, value in params.items()}


def frozen_networks(parts: tuple[Part, ...]) -> set[str]:
    """Keys of the frozen parts in the generators' parameters."""
    return {"refiner" if part == "refiner" else f"{part}_network" for part in parts}
