"""Attention among the points of a cloud on a TPU: each cloud's energies never leave fast memory.

XLA writes the energies, their softmax and their gradients to slow memory in float32 and reads them again. Here the
backward pass computes them again.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from facedis_jax.models.kernels import LANES, ROWS, product

# Five float32 arrays of all pairs of points and as many of all points' channels have to fit into 16 MB.
_MOST_POINTS, _MOST_NUMBERS = 512, 512 * 1024


def fits(query: jax.Array, value: jax.Array) -> bool:
    """Whether the kernels of `attend` support arrays of these shapes."""
    if query.ndim != 3 or not len(query):
        return False
    _, points, channels = value.shape
    keys = query.shape[2]
    return (
        points % LANES == channels % LANES == keys % ROWS == 0
        and points <= _MOST_POINTS
        and points * max(channels, 4 * keys) <= _MOST_NUMBERS
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(query: jax.Array, value: jax.Array, interpret: bool = False) -> jax.Array:
    """The result of `facedis_jax.models.pct.attend_plain`, for arrays that `fits` allows.

    Args:
      query: [clouds, points, query channels]; these are the keys as well.
      value: [clouds, points, channels].
      interpret: run the kernels as plain JAX, on any device.

    Returns:
      [clouds, points, channels].
    """
    return _call(_forward_kernel, (query, value), (value,), 1, 1, "attention", interpret)[0]


def _forward(query: jax.Array, value: jax.Array, interpret: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return attend(query, value, interpret), (query, value)


def _backward(interpret: bool, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> Any:
    return tuple(_call(_backward_kernel, (*kept, cotangent), kept, 3, 2, "attention_backward", interpret))


attend.defvjp(_forward, _backward)


def _call(
    kernel: Any,
    inputs: tuple[jax.Array, ...],
    outputs: tuple[jax.Array, ...],
    query_products: int,
    value_products: int,
    name: str,
    interpret: bool,
) -> Any:
    """Runs a kernel on one cloud after the other.

    Args:
      kernel: of references to one cloud's inputs and outputs.
      inputs: [clouds, ...].
      outputs: arrays like the outputs.
      query_products, value_products: number of products over all pairs of points with the channels of each.
      name: in profiles.
      interpret: as above.
    """

    def block(array: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, *array.shape[1:]), lambda cloud: (cloud, 0, 0))

    query, value = inputs[:2]
    clouds, points, _ = value.shape
    channels = query_products * query.shape[2] + value_products * value.shape[2]
    return pl.pallas_call(
        kernel,
        out_shape=[jax.ShapeDtypeStruct(output.shape, output.dtype) for output in outputs],
        grid=(clouds,),
        in_specs=[block(array) for array in inputs],
        out_specs=[block(array) for array in outputs],
        cost_estimate=pl.CostEstimate(
            flops=2 * clouds * points**2 * channels,
            bytes_accessed=sum(array.size * array.dtype.itemsize for array in (*inputs, *outputs)),
            transcendentals=clouds * points**2,
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        name=name,
        interpret=interpret,
    )(*inputs)


def _forward_kernel(query_ref: Any, value_ref: Any, attended_ref: Any) -> None:
    query, value = query_ref[...], value_ref[...]
    _, _, attention = _attention(query)
    attended_ref[...] = product(attention.astype(value.dtype), value, 0, 0).astype(attended_ref.dtype)


def _backward_kernel(query_ref: Any, value_ref: Any, d_attended_ref: Any, d_query_ref: Any, d_value_ref: Any) -> None:
    query, value, d_attended = query_ref[...], value_ref[...], d_attended_ref[...]
    softmax, received, attention = _attention(query)
    d_value_ref[...] = product(attention.astype(value.dtype), d_attended, 1, 0).astype(d_value_ref.dtype)
    d_attention = product(value, d_attended, 1, 1)
    d_softmax = (d_attention - jnp.sum(d_attention * attention, axis=0, keepdims=True)) / received
    d_energy = softmax * (d_softmax - jnp.sum(d_softmax * softmax, axis=1, keepdims=True))
    d_energy = d_energy.astype(query.dtype)
    d_query = product(d_energy, query, 1, 0) + product(d_energy, query, 0, 0)
    d_query_ref[...] = d_query.astype(d_query_ref.dtype)


def _attention(query: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Softmax over keys [queries, keys], its sums over queries [1, keys], and their ratio [queries, keys], float32."""
    energy = product(query, query, 1, 1)
    weight = jnp.exp(energy - jnp.max(energy, axis=1, keepdims=True))
    softmax = weight / jnp.sum(weight, axis=1, keepdims=True)
    received = 1e-9 + jnp.sum(softmax, axis=0, keepdims=True)
    return softmax, received, softmax / received
