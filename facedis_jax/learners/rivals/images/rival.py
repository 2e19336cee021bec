"""What the rivals on images share: a state of weights alone, and the step that follows a loss's gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.learners.generator_functions import example_keys
from facedis_jax.learners.learner import Batch, GradientState, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.metrics import Average

Loss = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Metrics]]


def gradient_learner(
    init_params: Callable[[jax.Array, jax.Array], Any],
    loss: Loss,
    evaluate: Callable[[Any, Batch], Metrics],
    config: OptimiserConfig,
    *,
    to_model_range: Callable[[jax.Array], jax.Array],
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    frozen: frozenset[str] = frozenset(),
    axis_name: str | None = None,
) -> Learner:
    """The learner that follows the gradient of a loss of images.

    Args:
      init_params: (key, images) -> weights by networks.
      loss: (weights, images, keys [batch]) -> the mean loss, and metrics.
      evaluate: as of a learner.
      config: the optimiser.
      to_model_range: of a batch's images.
      steps_per_epoch, num_steps, params, axis_name: as of `abp_learner`.
      frozen: networks that keep their weights.
    """
    optimiser = make_optimiser(config, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> GradientState:
        start = init_params(jax.random.fold_in(key, 0), to_model_range(batch["image"][:1]))
        start = {**start, **(params or {})}
        return GradientState(start, optimiser.init(start), jax.random.fold_in(key, 1), jnp.int32(0))

    def step(state: GradientState, batch: Batch) -> tuple[GradientState, Metrics]:
        images = to_model_range(batch["image"])
        keys = example_keys(state.key, state.step, batch["index"])
        gradients, metrics = jax.grad(loss, has_aux=True)(state.params, images, keys)
        weights, opt_state = apply_gradients(
            optimiser, gradients, state.opt_state, state.params, axis_name=axis_name, frozen=frozen
        )
        return state.replace(params=weights, opt_state=opt_state, step=state.step + 1), metrics

    return Learner(init, step, evaluate)


def error_learner(
    name: str,
    init_params: Callable[[jax.Array, jax.Array], Any],
    errors: Callable[[Any, jax.Array, jax.Array], jax.Array],
    config: OptimiserConfig,
    *,
    steps_per_epoch: float,
    num_steps: int,
    axis_name: str | None = None,
) -> Learner:
    """The learner whose loss, and one metric, is the mean of an error of images in [0, 1].

    Args:
      name: of the metric.
      init_params, config, steps_per_epoch, num_steps, axis_name: as of `gradient_learner`.
      errors: (weights, images, keys [batch]) -> an error of each image [batch].
    """

    def loss(params: Any, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, Metrics]:
        found = errors(params, images, keys)
        return found.mean(), {name: Average.of(found)}

    def evaluate(state: Any, batch: Batch) -> Metrics:
        keys = example_keys(state.key, state.step, batch["index"])
        return {name: Average.of(errors(state.params, unit_range(batch["image"]), keys), batch["mask"])}

    return gradient_learner(
        init_params,
        loss,
        evaluate,
        config,
        to_model_range=unit_range,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        axis_name=axis_name,
    )


def unit_range(images: jax.Array) -> jax.Array:
    """Images as float32 in [0, 1], from uint8 or from what is there already.

    Example:
      >>> unit_range(jnp.array([0, 255], jnp.uint8)).tolist()
      [0.0, 1.0]
    """
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
