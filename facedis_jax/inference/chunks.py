"""A compiled function over many examples, a chunk at a time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def in_chunks(function: Callable[..., Any], arrays: tuple[Any, ...], size: int) -> Any:
    """Applies a function of batches to all examples, in chunks of one size, so that it compiles once.

    Args:
      function: of as many pytrees of arrays [size, ...] as `arrays` has; its results begin with the same axis.
      arrays: pytrees of host arrays [examples, ...], at least one example; None where there is none.
      size: of a chunk; the last one is filled up with repeats.

    Returns:
      The function's results as host arrays [examples, ...].
    """
    results = []
    num_examples = len(jax.tree.leaves(arrays)[0])
    for first in range(0, num_examples, size):
        chunk = jax.tree.map(lambda x, first=first: np.asarray(x[first : first + size]), arrays)
        length = min(size, num_examples - first)
        filled = jax.tree.map(
            lambda x, length=length: np.concatenate([x, np.repeat(x[-1:], size - length, axis=0)]), chunk
        )
        results.append(jax.tree.map(lambda x, length=length: np.asarray(x)[:length], function(*filled)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
