"""Linear layers over very many rows, such as the points of all neighbourhoods of a batch of faces."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear(inputs: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """`inputs @ kernel`, with the kernel's gradient asked for as `inputs^T g`.

    JAX asks for `(g^T inputs)^T`, for which XLA:CPU computes a transposed copy of g once more: that takes longer than
    the product. Values and gradients equal those of the plain product. Reverse mode only.

    Args:
      inputs: [..., channels].
      kernel: [channels, features].
      precision: of the products, as `jax.numpy.matmul` takes it.

    Returns:
      [..., features].
    """
    return jnp.matmul(inputs, kernel, precision=precision)


def _forward(inputs: jax.Array, kernel: jax.Array, precision: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return linear(inputs, kernel, precision), (inputs, kernel)


def _backward(precision: Any, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, kernel = kept
    rows = inputs.reshape(-1, inputs.shape[-1])
    of_rows = cotangent.reshape(-1, cotangent.shape[-1])
    of_kernel = jax.lax.dot_general(rows, of_rows, (((0,), (0,)), ((), ())), precision=precision)
    return jnp.matmul(cotangent, kernel.T, precision=precision), of_kernel


linear.defvjp(_forward, _backward)


def _dot_general(inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None) -> jax.Array:
    """`linear` as flax's layers call it: over the last axis of the inputs and the first of the kernel."""
    return linear(inputs, kernel, precision)


# `nn.Dense` by `linear`, for layers over rows that are many more than their channels.
RowsDense = partial(nn.Dense, dot_general=_dot_general)
