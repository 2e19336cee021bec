"""A compiled function over any number of examples, in chunks of one size."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from facedis_jax.progress import track


def in_chunks(function: Callable[..., Any], arrays: tuple[Any, ...], size: int) -> Any:
    """The results of a function for all examples, called on chunks of one size so that it compiles once.

    Args:
      function: of as many pytrees of arrays [size, ...] as `arrays` has; its results begin with the same axis.
      arrays: pytrees of host arrays [examples, ...], at least one example; None where there is none.
      size: of a chunk; the last one is padded with repeats of its last example.

    Returns:
      The function's results as host arrays [examples, ...].

    Example:
      >>> in_chunks(lambda x: 2 * x, (np.arange(5),), size=2)
      array([0, 2, 4, 6, 8])
    """
    results = []
    num_examples = len(jax.tree.leaves(arrays)[0])
    for first in track(range(0, num_examples, size), "inferring"):
        chunk = jax.tree.map(lambda x, first=first: np.asarray(x[first : first + size]), arrays)
        length = min(size, num_examples - first)
        padded = jax.tree.map(
            lambda x, length=length: np.concatenate([x, np.repeat(x[-1:], size - length, axis=0)]), chunk
        )
        results.append(jax.tree.map(lambda x, length=length: np.asarray(x)[:length], function(*padded)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def on_host(function: Callable[[Any, Any], Any], params: Any, size: int) -> Callable[[Any], Any]:
    """A function of parameters and one batch as one of host arrays [examples, ...], compiled for chunks of a size."""
    compiled = jax.jit(function)
    return lambda batch: in_chunks(partial(compiled, params), (batch,), size)
