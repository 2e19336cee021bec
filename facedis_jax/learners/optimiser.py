"""Adam and its schedules by name, and the step that a learner takes with its gradients."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from facedis_jax.errors import check_least


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam; the defaults are those of section 3.5 of the information-bottlenecked VAE.

    Attributes:
      name: "adam" adds the L2 penalty's gradient before the moments, as the paper's; "adamw" decays the
        weights.
      learning_rate: at the start, or after the warm-up.
      weight_decay: strength of the L2 penalty or of the decay.
      schedule: "staircase" multiplies the rate by `decay_rate` every `decay_epochs`; "cosine" lowers it to a hundredth
        by the end; "steps" sets the rates of `steps`.
      decay_rate, decay_epochs: factor and interval of the staircase.
      steps: pairs of an epoch and the learning rate from then on.
      warmup_steps: steps over which the rate rises linearly from 0.
      beta_1: Adam's decay of the first moment.
      geometry_warmup: steps over which the rate of a generator's geometric networks, those whose names begin with
        "geometry", rises from 0, in addition to the schedule. Adam's steps are of full size however small the gradient
        is: while the canonical images are still grey, they may drive the flow to its largest displacements, where no
        motion is learned.

    Raises:
      InputError: for a negative number of steps.

    Example:
      >>> config = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, schedule="cosine", warmup_steps=10)
      >>> config.name, config.beta_1
      ('adam', 0.9)
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 5e-5
    weight_decay: float = 1e-4
    schedule: Literal["staircase", "cosine", "steps"] = "staircase"
    decay_rate: float = 0.7
    decay_epochs: float = 50.0
    steps: tuple[tuple[float, float], ...] = ()
    warmup_steps: int = 0
    beta_1: float = 0.9
    geometry_warmup: int = 0

    def __post_init__(self) -> None:
        check_least(self, warmup_steps=0, geometry_warmup=0)


def make_optimiser(config: OptimiserConfig, *, steps_per_epoch: float, num_steps: int) -> optax.GradientTransformation:
    """Adam with the schedule of a run of `num_steps` steps.

    Args:
      config: the choices.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, at whose end "cosine" reaches its lowest rate.

    Raises:
      ValueError: for an unknown name or schedule.

    Example:
      >>> import jax.numpy as jnp
      >>> config = OptimiserConfig(learning_rate=0.5, weight_decay=0.0)
      >>> optimiser = make_optimiser(config, steps_per_epoch=5, num_steps=10)
      >>> weights = {"kernel": jnp.ones(2)}
      >>> updates, _ = optimiser.update({"kernel": jnp.array([3.0, -3.0])}, optimiser.init(weights), weights)
      >>> updates["kernel"].round(3).tolist()  # Adam's first step, whatever the gradient's size
      [-0.5, 0.5]
    """
    if config.name not in ("adam", "adamw"):
        raise ValueError(f"name must be 'adam' or 'adamw', got {config.name!r}")
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, num_steps, alpha=0.01)
    elif config.schedule == "staircase":
        every = max(1, round(config.decay_epochs * steps_per_epoch))
        rate = optax.exponential_decay(config.learning_rate, every, config.decay_rate, staircase=True)
    elif config.schedule == "steps":
        starts = [round(epoch * steps_per_epoch) for epoch, _ in config.steps]
        constants = [optax.constant_schedule(value) for value in (config.learning_rate, *(r for _, r in config.steps))]
        rate = optax.join_schedules(constants, starts)
    else:
        raise ValueError(f"schedule must be 'staircase', 'cosine' or 'steps', got {config.schedule!r}")
    if config.warmup_steps:
        # The schedule itself keeps the run's own count of steps.
        warmup, after = optax.linear_schedule(0.0, 1.0, config.warmup_steps), rate

        def rate(step):
            return warmup(step) * after(step)

    optimiser = _adam(config, rate)
    if not config.geometry_warmup:
        return optimiser
    rise = optax.scale_by_schedule(optax.linear_schedule(0.0, 1.0, config.geometry_warmup))
    return optax.chain(
        optimiser, optax.masked(rise, lambda weights: {name: name.startswith("geometry") for name in weights})
    )


def apply_gradients(
    optimiser: optax.GradientTransformation,
    gradients: Any,
    opt_state: Any,
    params: Any,
    *,
    axis_name: str | None = None,
    frozen: Collection[str] = (),
) -> tuple[Any, Any]:
    """Parameters and optimiser state after one step along the mean gradients of all devices.

    Args:
      optimiser: as of `make_optimiser`.
      gradients: of this device's batch, a pytree like the parameters.
      opt_state: the optimiser's state.
      params: the parameters.
      axis_name: the device axis over which gradients are averaged; None on one device.
      frozen: keys of the entries of `params` that stay as they are: weight decay would move them even without a
        gradient.

    Returns:
      The new parameters and the optimiser's new state.

    Example:
      >>> optimiser, gradients, params = optax.sgd(0.5), {"a": 2.0, "b": 2.0}, {"a": 3.0, "b": 3.0}
      >>> params, _ = apply_gradients(optimiser, gradients, optimiser.init(params), params, frozen=["b"])
      >>> float(params["a"]), float(params["b"])
      (2.0, 3.0)
    """
    if axis_name is not None:
        gradients = jax.lax.pmean(gradients, axis_name)
    updates, opt_state = optimiser.update(gradients, opt_state, params)
    moved = optax.apply_updates(params, updates)
    return {**moved, **{name: params[name] for name in frozen if name in moved}} if frozen else moved, opt_state


def _adam(config: OptimiserConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    if config.name == "adamw":
        return optax.adamw(rate, b1=config.beta_1, weight_decay=config.weight_decay)
    if not config.weight_decay:
        return optax.adam(rate, b1=config.beta_1)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.adam(rate, b1=config.beta_1))
