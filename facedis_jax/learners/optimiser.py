"""Adam and its schedules by name."""

from dataclasses import dataclass
from typing import Literal

import optax


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam; the defaults are the IB-VAE paper's.

    Attributes:
      name: "adam" adds the L2 penalty's gradient before the moments, as the paper's; "adamw" decays the
        weights.
      learning_rate: at the start, or after the warm-up.
      weight_decay: strength of the L2 penalty or of the decay.
      schedule: "staircase" multiplies by `decay_rate` every `decay_epochs`; "cosine" falls to a hundredth by
        the end.
      decay_rate, decay_epochs: of the staircase.
      warmup_steps: steps over which the rate rises linearly from 0.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 5e-5
    weight_decay: float = 1e-4
    schedule: Literal["staircase", "cosine"] = "staircase"
    decay_rate: float = 0.7
    decay_epochs: float = 50.0
    warmup_steps: int = 0


def make_optimiser(config: OptimiserConfig, *, steps_per_epoch: float, num_steps: int) -> optax.GradientTransformation:
    """The optimiser for a run of `num_steps` steps.

    Args:
      config: the choices.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: after which "cosine" has come to its end.

    Raises:
      ValueError: for an unknown name or schedule.
    """
    if config.name not in ("adam", "adamw"):
        raise ValueError(f"name must be 'adam' or 'adamw', got {config.name!r}")
    if config.schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, num_steps, alpha=0.01)
    elif config.schedule == "staircase":
        every = max(1, round(config.decay_epochs * steps_per_epoch))
        rate = optax.exponential_decay(config.learning_rate, every, config.decay_rate, staircase=True)
    else:
        raise ValueError(f"schedule must be 'staircase' or 'cosine', got {config.schedule!r}")
    if config.warmup_steps:
        # The schedule itself keeps the run's own count of steps.
        warmup, after = optax.linear_schedule(0.0, 1.0, config.warmup_steps), rate

        def rate(step):
            return warmup(step) * after(step)

    if config.name == "adamw":
        return optax.adamw(rate, weight_decay=config.weight_decay)
    if not config.weight_decay:
        return optax.adam(rate)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), optax.adam(rate))
