"""Linear layers over many rows, such as the points of all neighbourhoods of a batch of faces."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def linear(inputs: jax.Array, kernel: jax.Array, precision: Any = None) -> jax.Array:
    """The product `inputs @ kernel`, whose gradient for the kernel is computed as `inputs^T g`.

    JAX computes it as `(g^T inputs)^T`, for which XLA:CPU makes a transposed copy of g: that takes longer than the
    product. Values and gradients equal those of the plain product. Reverse mode only.

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
    d_outputs = cotangent.reshape(-1, cotangent.shape[-1])
    d_kernel = jax.lax.dot_general(rows, d_outputs, (((0,), (0,)), ((), ())), precision=precision)
    return jnp.matmul(cotangent, kernel.T, precision=precision), d_kernel


linear.defvjp(_forward, _backward)


def _dot_general(inputs: jax.Array, kernel: jax.Array, dimension_numbers: Any, precision: Any = None) -> jax.Array:
    """`linear` with the signature that flax's layers call: last axis of the inputs, first of the kernel."""
    return linear(inputs, kernel, precision)


# `nn.Dense` that calls `linear`, for layers with many more rows than channels.
RowsDense = partial(nn.Dense, dot_general=_dot_general)
