"""The contract between learners and the training loop."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import struct

from facedis_jax.metrics import Average

Batch = Mapping[str, jax.Array]
"""Arrays [batch, ...] by name; which names, each learner says.

Example:
  >>> import numpy as np
  >>> batch: Batch = {"image": np.zeros([2, 64, 64, 3], np.uint8), "index": np.arange(2)}
"""

State = Any
"""A pytree with at least the fields `key` and `step`, and a method `replace` where it is one of this package.

Example:
  >>> state: State = {"key": jax.random.key(0), "step": 0, "weights": {}}
"""


class GradientState(struct.PyTreeNode):
    """Everything that a run of a learner that only follows a gradient carries from step to step.

    Example:
      >>> import jax.numpy as jnp
      >>> state = GradientState({}, {}, jax.random.key(0), jnp.int32(0))
      >>> int(state.replace(step=state.step + 1).step)
      1
    """

    params: Any
    opt_state: Any
    key: jax.Array
    step: jax.Array


Metrics = Mapping[str, Average]
"""Averages by name, with their unit in it, as sums and counts until they are read.

Example:
  >>> import jax.numpy as jnp
  >>> from facedis_jax.metrics import Average
  >>> metrics: Metrics = {"reconstruction_mm": Average.of(jnp.array([0.5, 0.7]))}
"""


class Learner(NamedTuple):
    """Three pure functions, as optax's `(init, update)`.

    Attributes:
      init: `(key, batch) -> state`, a pytree with at least the fields `key` (a typed PRNG key) and `step`
        (int32).
      step: `(state, batch) -> (state, metrics)`; draws its noise from `fold_in(state.key, state.step)` and
        counts `step` up by one, so that a resumed run repeats itself bit for bit.
      evaluate: `(state, batch) -> metrics`; examples whose `batch["mask"]` is 0 do not count.

    Example:
      >>> import jax.numpy as jnp
      >>> def step(state, batch):  # a running mean, as the smallest learner there is
      ...     mean = state["mean"] + 0.1 * (batch["x"].mean() - state["mean"])
      ...     metrics = {"error": Average.of(jnp.abs(batch["x"] - mean))}
      ...     return {**state, "mean": mean, "step": state["step"] + 1}, metrics
      >>> learner = Learner(
      ...     init=lambda key, batch: {"key": key, "step": jnp.int32(0), "mean": jnp.float32(0)},
      ...     step=step,
      ...     evaluate=lambda state, batch: {"error": Average.of(jnp.abs(batch["x"] - state["mean"]), batch["mask"])},
      ... )
      >>> state = learner.init(jax.random.key(0), {})
      >>> state, metrics = learner.step(state, {"x": jnp.array([1.0, 3.0])})
      >>> round(float(state["mean"]), 3), int(state["step"]), float(metrics["error"].count)
      (0.2, 1, 2.0)
      >>> metrics = learner.evaluate(state, {"x": jnp.array([1.0, 9.0]), "mask": jnp.array([1.0, 0.0])})
      >>> round(metrics["error"].compute(), 3)  # of the first; the second is padding
      0.8
    """

    init: Callable[[jax.Array, Batch], State]
    step: Callable[[State, Batch], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch], Metrics]
