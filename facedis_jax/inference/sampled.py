"""Latents of many examples by a sampler, a chunk at a time, with noise that is each example's own."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from facedis_jax.inference.chunks import in_chunks


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
