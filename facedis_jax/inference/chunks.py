"""A compiled function over any number of examples, in chunks of one size, with noise that is each example's own."""

from collections.abc import Callable, Sequence
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


def sampled_inference(
    infer: Callable[..., Any], params: Any, key: jax.Array, *, chunk: int, devices: Sequence[jax.Device] | None
) -> Callable[..., Any]:
    """Inference with a trained model as a function of any number of examples on the host.

    Args:
      infer: (params, examples, keys, ...) of batches; an example's results depend on that example and its key alone.
      params: the model's parameters.
      key: of the noise; an example's depends on its place in the call as well.
      chunk: how many examples are inferred at once.
      devices: that share them; one for None.

    Returns:
      A function of examples [n, ...], and by name of what else `infer` takes of each example, that gives host arrays
      [n, ...].
    """

    def with_keys(params: Any, examples: Any, index: jax.Array, known: dict[str, Any]) -> Any:
        return infer(params, examples, jax.vmap(lambda i: jax.random.fold_in(key, i))(index), **known)

    # Who only decodes waits for none of the training.
    from facedis_jax.training import split_examples

    compiled = split_examples(with_keys, chunk, devices)

    def infer_all(examples: np.ndarray, **known: Any) -> Any:
        index = np.arange(len(examples), dtype=np.int32)
        return in_chunks(partial(compiled, params), (examples, index, known), chunk)

    return infer_all
