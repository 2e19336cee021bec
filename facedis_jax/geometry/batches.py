"""Functions written for a whole batch, used as functions of one example."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.geometry.platforms import by_platform


def batch_under_vmap(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A function of one example that under `jax.vmap` computes the whole batch by one call of `function`.

    However often it is vmapped, and over whichever of the arguments, all examples come along one axis. It is for
    computations that are faster written for a batch than batched by `jax.vmap`.

    Args:
      function: of pytrees of arrays [examples, ...]; gives an array [examples, ...]. Not differentiated.

    Returns:
      The function of pytrees of arrays [...], which gives an array [...].

    Example:
      >>> total = batch_under_vmap(lambda x, y: x + jnp.full_like(y, len(y)))
      >>> jax.vmap(jax.vmap(total, (0, None)), (None, 0))(jnp.zeros(2), jnp.zeros(3)).tolist()
      [[6.0, 6.0], [6.0, 6.0], [6.0, 6.0]]
    """
    whole = jax.custom_batching.custom_vmap(function)

    @whole.def_vmap
    def vmapped(axis_size: int, in_batched: Any, *arguments: Any) -> tuple[jax.Array, bool]:
        broadcast = jax.tree.map(
            lambda array, batched: array if batched else jnp.broadcast_to(array, (axis_size, *array.shape)),
            arguments,
            tuple(in_batched),
        )
        axes = jax.tree.leaves(broadcast)[0].shape[:2]
        result = whole(*jax.tree.map(lambda array: array.reshape(math.prod(axes), *array.shape[2:]), broadcast))
        return result.reshape(*axes, *result.shape[1:]), True

    return lambda *arguments: whole(*jax.tree.map(lambda array: jnp.asarray(array)[None], arguments))[0]


def one_by_one_on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one example as one of batches, vmapped on accelerators and a loop on CPUs.

    It is for functions whose intermediate results are far larger than what comes in and out: those of one example stay
    in a CPU's caches, those of a batch do not.

    Args:
      function: of pytrees of arrays [...].

    Returns:
      The function of pytrees of arrays [examples, ...].

    Example:
      >>> one_by_one_on_cpu(lambda x, y: x @ y)(jnp.ones((3, 4)), jnp.ones((3, 4))).tolist()
      [4.0, 4.0, 4.0]
    """

    def looped(*arguments: Any) -> Any:
        return jax.lax.map(lambda parts: function(*parts), arguments)

    def batched(*arguments: Any) -> Any:
        return by_platform(*arguments, cpu=looped, default=jax.vmap(function))

    return batched
