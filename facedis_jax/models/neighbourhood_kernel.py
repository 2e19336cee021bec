"""Neighbourhoods on a TPU: one kernel from the gathered values to their maximum, another for its gradient.

In each of the two groupings XLA reads or writes a tensor of all neighbours of all centres eighteen times in a step,
which takes most of its time. Here a block of neighbourhoods stays in fast memory, and the backward pass computes the
forward pass again.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from facedis_jax.models.kernels import LANES, ROWS, product

# Rows of a vector of 16-bit numbers, two of which share a place.
_NARROW_ROWS = 2 * ROWS
# Most numbers in a block, of which ten arrays have to fit into 16 MB, and in the linear layer's kernel.
_BLOCK = 256 * 1024
# Parts that run in parallel on chips with two cores.
_CORES = 2

Arrays = tuple[jax.Array, ...]


def block_size(shape: tuple[int, ...], features: int) -> int | None:
    """Number of neighbourhoods in a block, or None for shapes that `linear_moments_and_extreme` does not support.

    Args:
      shape: [neighbourhoods, neighbours, channels].
      features: of the result.
    """
    count, neighbours, channels = shape
    if not count or channels * features > _BLOCK:
        return None
    if channels % LANES or features % LANES or neighbours % _NARROW_ROWS:
        return None
    largest = _BLOCK // (neighbours * max(channels, features))
    sizes = range(largest - largest % _NARROW_ROWS, 0, -_NARROW_ROWS)
    return next((size for size in sizes if count % (_CORES * size) == 0), None)


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def linear_moments_and_extreme(
    gathered: jax.Array,
    centre: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    kernel: jax.Array,
    sign: jax.Array,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The result of `neighbourhoods.linear_moments_and_extreme_plain`, for shapes that have a `block_size`.

    Args:
      gathered: [neighbourhoods, neighbours, channels].
      centre: [neighbourhoods, channels].
      mean, factor, bias: [channels], float32.
      kernel: [channels, features].
      sign: [features], 1 or -1.
      interpret: run the kernels as plain JAX, on any device.

    Returns:
      [features], [features], float32, and [neighbourhoods, features] of the inputs' type.
    """
    return _forward(gathered, centre, mean, factor, bias, kernel, sign, interpret)[0]


def _forward(*arguments: Any) -> tuple[Any, Arrays]:
    *inputs, interpret = arguments
    gathered, _, _, _, _, kernel, _ = inputs
    plan = _Plan(gathered.shape, kernel.shape[1])
    sums = jax.ShapeDtypeStruct((_CORES, ROWS, plan.features), jnp.float32)
    outputs = (sums, sums, jax.ShapeDtypeStruct((plan.count, plan.features), gathered.dtype))
    total, square, extreme = pl.pallas_call(
        _forward_kernel,
        out_shape=outputs,
        in_specs=plan.inputs(),
        out_specs=(plan.total(ROWS, plan.features), plan.total(ROWS, plan.features), plan.block(plan.features)),
        cost_estimate=plan.cost(1, (*inputs, *outputs)),
        name="neighbourhood_maximum",
        interpret=interpret,
        **plan.grid(),
    )(*_as_rows(inputs))
    rows = gathered.shape[0] * gathered.shape[1]
    return (total.sum((0, 1)) / rows, square.sum((0, 1)) / rows, extreme), tuple(inputs)


def _backward(interpret: bool, inputs: Arrays, cotangents: Arrays) -> Arrays:
    gathered, centre, _, factor, _, kernel, sign = inputs
    d_mean, d_square, d_extreme = cotangents
    plan = _Plan(gathered.shape, kernel.shape[1])
    rows = gathered.shape[0] * gathered.shape[1]
    channel_sums = jax.ShapeDtypeStruct((_CORES, ROWS, plan.channels), jnp.float32)
    outputs = (
        jax.ShapeDtypeStruct(gathered.shape, gathered.dtype),
        jax.ShapeDtypeStruct(centre.shape, centre.dtype),
        channel_sums,
        channel_sums,
        jax.ShapeDtypeStruct((_CORES, *kernel.shape), jnp.float32),
    )
    d_gathered, d_centre, d_factor, d_bias, d_kernel = pl.pallas_call(
        _backward_kernel,
        out_shape=outputs,
        in_specs=[
            *plan.inputs(),
            plan.whole(1, plan.features),
            plan.whole(1, plan.features),
            plan.block(plan.features),
        ],
        out_specs=(
            plan.block(plan.neighbours, plan.channels),
            plan.block(plan.channels),
            plan.total(ROWS, plan.channels),
            plan.total(ROWS, plan.channels),
            plan.total(plan.channels, plan.features),
        ),
        # The forward pass again, the inputs' gradient and the kernel's.
        cost_estimate=plan.cost(3, (*inputs, *cotangents, *outputs)),
        name="neighbourhood_maximum_backward",
        interpret=interpret,
        **plan.grid(),
    )(*_as_rows(inputs), d_mean[None] / rows, 2 * d_square[None] / rows, d_extreme)
    d_bias = d_bias.sum((0, 1))
    return (
        d_gathered,
        d_centre,
        -factor * d_bias,
        d_factor.sum((0, 1)),
        d_bias,
        d_kernel.sum(0).astype(kernel.dtype),
        jnp.zeros_like(sign),
    )


linear_moments_and_extreme.defvjp(_forward, _backward)


class _Plan:
    """How arrays are cut for the kernels: each core takes blocks of neighbourhoods one after the other."""

    def __init__(self, shape: tuple[int, ...], features: int):
        size = block_size(shape, features)
        if size is None:
            raise ValueError(f"no block size for {shape} and {features} features")
        self.count, self.neighbours, self.channels = shape
        self.features, self.size = features, size
        self.steps = self.count // (_CORES * size)

    def block(self, *shape: int) -> pl.BlockSpec:
        rest = (0,) * len(shape)
        return pl.BlockSpec((self.size, *shape), lambda core, step: (core * self.steps + step, *rest))

    def whole(self, *shape: int) -> pl.BlockSpec:
        return pl.BlockSpec(shape, lambda core, step: (0,) * len(shape))

    def total(self, *shape: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, *shape), lambda core, step: (core, 0, 0))

    def inputs(self) -> list[pl.BlockSpec]:
        per_channel = self.whole(1, self.channels)
        return [
            self.block(self.neighbours, self.channels),
            self.block(self.channels),
            *(per_channel, per_channel, per_channel),
            self.whole(self.channels, self.features),
            self.whole(1, self.features),
        ]

    def grid(self) -> dict[str, Any]:
        semantics = pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary"))
        return {"grid": (_CORES, self.steps), "compiler_params": semantics}

    def cost(self, products: int, moved: Sequence[Any]) -> pl.CostEstimate:
        """Cost of so many products of all rows with the layer's kernel, and of reading or writing arrays."""
        rows = self.count * self.neighbours
        return pl.CostEstimate(
            flops=2 * products * rows * self.channels * self.features,
            bytes_accessed=sum(array.size * array.dtype.itemsize for array in moved),
            transcendentals=0,
        )


def _as_rows(inputs: Sequence[jax.Array]) -> Arrays:
    return tuple(array[None] if array.ndim == 1 else array for array in inputs)


class _Inputs(NamedTuple):
    """References to a block's inputs, in the order of `linear_moments_and_extreme`'s arguments."""

    gathered: Any
    centre: Any
    mean: Any
    factor: Any
    bias: Any
    kernel: Any
    sign: Any


class _Gradients(NamedTuple):
    """References to a block's gradients, or to a core's totals of them."""

    gathered: Any
    centre: Any
    factor: Any
    bias: Any
    kernel: Any


def _forward_kernel(*refs: Any) -> None:
    """Takes references to the `_Inputs`, then to the totals of outputs and their squares and to the extremes."""
    inputs, (total_ref, square_ref, extreme_ref) = _Inputs(*refs[:7]), refs[7:]
    _, hidden = _hidden(inputs)
    outputs = product(hidden.astype(inputs.kernel.dtype), inputs.kernel[...], 1, 0)
    _add(total_ref, _row_sums(outputs))
    _add(square_ref, _row_sums(outputs * outputs))
    largest = jnp.max(_by_neighbourhood(outputs * inputs.sign[...], inputs.gathered), axis=1)
    extreme_ref[...] = (largest * inputs.sign[...]).astype(extreme_ref.dtype)


def _backward_kernel(*refs: Any) -> None:
    """Takes references to the `_Inputs`, then to the gradients of the three results, then to the `_Gradients`."""
    inputs, (d_mean_ref, d_square_ref, d_extreme_ref), d_inputs = _Inputs(*refs[:7]), refs[7:10], _Gradients(*refs[10:])
    narrow = inputs.kernel.dtype
    centred, hidden = _hidden(inputs)
    outputs = product(hidden.astype(narrow), inputs.kernel[...], 1, 0)

    signed = _by_neighbourhood(outputs * inputs.sign[...], inputs.gathered)
    chosen = (signed == jnp.max(signed, axis=1, keepdims=True)).astype(jnp.float32)
    # Neighbours that share the maximum share its gradient, as they do in jnp.max.
    share = d_extreme_ref[...].astype(jnp.float32) / jnp.sum(chosen, axis=1)
    d_outputs = (chosen * share[:, None]).reshape(outputs.shape) + d_mean_ref[...] + d_square_ref[...] * outputs
    d_outputs = d_outputs.astype(narrow)

    _add(d_inputs.kernel, product(hidden.astype(narrow), d_outputs, 0, 0))
    d_normalised = jnp.where(hidden > 0, product(d_outputs, inputs.kernel[...], 1, 1), 0.0)
    _add(d_inputs.factor, _row_sums(d_normalised * centred))
    _add(d_inputs.bias, _row_sums(d_normalised))
    d_gathered = _by_neighbourhood(d_normalised * inputs.factor[...], inputs.gathered)
    d_inputs.gathered[...] = d_gathered.astype(d_inputs.gathered.dtype)
    d_inputs.centre[...] = jnp.sum(d_gathered, axis=1).astype(d_inputs.centre.dtype)


def _hidden(inputs: _Inputs) -> tuple[jax.Array, jax.Array]:
    """Inputs less their mean, and the same normalised and rectified: [rows, channels] each, float32."""
    summed = inputs.gathered[...].astype(jnp.float32) + inputs.centre[...].astype(jnp.float32)[:, None]
    centred = summed.reshape(-1, summed.shape[-1]) - inputs.mean[...]
    return centred, jnp.maximum(centred * inputs.factor[...] + inputs.bias[...], 0.0)


def _by_neighbourhood(rows: jax.Array, gathered_ref: Any) -> jax.Array:
    return rows.reshape(*gathered_ref.shape[:2], rows.shape[-1])


def _row_sums(rows: jax.Array) -> jax.Array:
    """Sums [8, channels] of every eighth row: to add up the 8 rows of a vector would cost as much again."""
    return jnp.sum(rows.reshape(-1, ROWS, rows.shape[-1]), axis=0)


def _add(total_ref: Any, part: jax.Array) -> None:
    """Adds to a running total, which a core's first step sets to 0."""

    @pl.when(pl.program_id(1) == 0)
    def begin() -> None:
        total_ref[...] = jnp.zeros_like(total_ref)

    total_ref[...] += part
