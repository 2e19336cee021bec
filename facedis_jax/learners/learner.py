"""The contract between learners and the training loop."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from facedis_jax.metrics import Average

Batch = Mapping[str, jax.Array]
State = Any
Metrics = Mapping[str, Average]


class Learner(NamedTuple):
    """Three pure functions, as optax's `(init, update)`.

    Attributes:
      init: `(key, batch) -> state`, a pytree with at least the fields `key` (a typed PRNG key) and `step`
        (int32).
      step: `(state, batch) -> (state, metrics)`; draws its noise from `fold_in(state.key, state.step)` and
        counts `step` up by one, so that a resumed run repeats itself bit for bit.
      evaluate: `(state, batch) -> metrics`; examples whose `batch["mask"]` is 0 do not count.
    """

    init: Callable[[jax.Array, Batch], State]
    step: Callable[[State, Batch], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch], Metrics]
