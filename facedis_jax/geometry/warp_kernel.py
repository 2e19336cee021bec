"""The warp and its gradients on a TPU, a kernel each: weights of pixels never leave fast memory.

As products with the weights of Eq. 4, XLA writes the weights of all pixels, and every row of an image read at each
pixel's x, to slow memory and reads them again: 2.5 of the 3.1 GB that a sweep of Langevin dynamics moves for 64 images.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

# Shape of a TPU's vectors of 32-bit numbers.
_ROWS, _LANES = 8, 128
# Pixels at a time: some arrays [channels * height, pixels] of float32 have to fit into fast memory.
_CHUNKS, _MOST_NUMBERS = (512, 256, 128), 1024 * 512
# Height or width above which the products take more time than gathers.
_LARGEST = 128
# A product of float32 numbers takes so many of bfloat16.
_PASSES = 6


def fits(images: jax.Array) -> bool:
    """Whether the kernels support images [images, height, width, channels] of this shape and type."""
    count, height, width, channels = images.shape
    return (
        images.dtype in (jnp.float32, jnp.bfloat16)
        and count > 0
        and height % _ROWS == height * width % _LANES == 0
        and max(height, width) <= _LARGEST
        and channels * height * _chunk(height * width) <= _MOST_NUMBERS
    )


def interpolation(images: jax.Array, flows: jax.Array, *, interpret: bool = False) -> jax.Array:
    """Images read at displaced coordinates, `warp` of a batch that `fits`.

    Args:
      images: [images, height, width, channels]; in bfloat16, weights are rounded to it as well.
      flows: [images, height, width, 2].
      interpret: run the kernel as plain JAX, on any device.

    Returns:
      [images, height, width, channels], of the images' type.
    """
    count, height, width, channels = images.shape
    out = (count, channels, height * width)
    read = _call(_interpolation_kernel, images, [_by_rows(images), _by_pixels(flows)], out, 1, interpret)
    return _from_pixels(read, height, width).astype(images.dtype)


def image_gradient(cotangents: jax.Array, flows: jax.Array, *, interpret: bool = False) -> jax.Array:
    """The gradient of the images, from that of what `interpolation` returns; arguments and result as there."""
    count, height, width, channels = cotangents.shape
    inputs = [_by_pixels(cotangents.astype(jnp.float32)), _by_pixels(flows)]
    kernel = functools.partial(_image_gradient_kernel, cotangents.dtype)
    gradient = _call(kernel, cotangents, inputs, (count, channels * height, width), 1, interpret)
    return jnp.moveaxis(gradient.reshape(count, channels, height, width), 1, 3).astype(cotangents.dtype)


def flow_gradient(images: jax.Array, flows: jax.Array, cotangents: jax.Array, *, interpret: bool = False) -> jax.Array:
    """The gradient of the flows [images, height, width, 2] float32, from that of what `interpolation` returns."""
    count, height, width, _ = images.shape
    inputs = [_by_rows(images), _by_pixels(flows), _by_pixels(cotangents.astype(jnp.float32))]
    gradient = _call(_flow_gradient_kernel, images, inputs, (count, 2, height * width), 2, interpret)
    return _from_pixels(gradient, height, width)


def _chunk(pixels: int) -> int:
    return next((chunk for chunk in _CHUNKS if pixels % chunk == 0), pixels)


def _by_rows(images: jax.Array) -> jax.Array:
    """[images, height, width, channels] -> [images, channels * height, width]."""
    count, height, width, channels = images.shape
    return jnp.moveaxis(images, 3, 1).reshape(count, channels * height, width)


def _by_pixels(maps: jax.Array) -> jax.Array:
    """[images, height, width, channels] -> [images, channels, height * width]."""
    count, height, width, channels = maps.shape
    return jnp.moveaxis(maps, 3, 1).reshape(count, channels, height * width)


def _from_pixels(rows: jax.Array, height: int, width: int) -> jax.Array:
    return jnp.moveaxis(rows.reshape(*rows.shape[:2], height, width), 1, 3)


def _call(
    kernel: Any, images: jax.Array, inputs: list[jax.Array], out: tuple[int, ...], products: int, interpret: bool
) -> jax.Array:
    """Runs a kernel on one image after the other.

    Args:
      kernel: of the height and width of an image and of references to one image's inputs and output.
      images: or arrays like them, [images, height, width, channels].
      inputs: [images, ...].
      out: shape of the float32 output.
      products: products over all pixels with all rows of an image.
      interpret: as above.
    """
    count, height, width, channels = images.shape

    def block(size: tuple[int, ...]) -> pl.BlockSpec:
        return pl.BlockSpec((None, *size[1:]), lambda image: (image, 0, 0))

    passes = 1 if images.dtype == jnp.bfloat16 else _PASSES
    return pl.pallas_call(
        functools.partial(kernel, height, width),
        out_shape=jax.ShapeDtypeStruct(out, jnp.float32),
        grid=(count,),
        in_specs=[block(array.shape) for array in inputs],
        out_specs=block(out),
        cost_estimate=pl.CostEstimate(
            flops=passes * 2 * products * count * (height * width) * width * (channels * height),
            bytes_accessed=sum(array.size * array.dtype.itemsize for array in inputs) + 4 * math.prod(out),
            transcendentals=0,
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        name="warp",
        interpret=interpret,
    )(*inputs)


class _Axis(NamedTuple):
    """As in `facedis_jax.geometry.warp`, of pixels along the lanes [1, pixels], with indices as float32."""

    lower: jax.Array
    upper: jax.Array
    below: jax.Array
    fraction: jax.Array
    size: int

    def weights(self) -> jax.Array:
        """Weight of each of `size` pixels along the axis, a factor of Eq. 4: [size, pixels]."""
        return self._at(self.lower, 1 - self.fraction) + self._at(self.upper, self.fraction)

    def slopes(self) -> jax.Array:
        """The derivative of the weights with respect to the displacement."""
        slope = jnp.where(self.fraction == 0, 0.5, 1.0)
        return self._at(self.upper, slope) - self._at(self.below, slope)

    def _at(self, place: jax.Array, value: jax.Array) -> jax.Array:
        index = jax.lax.broadcasted_iota(jnp.int32, (self.size, place.shape[1]), 0).astype(jnp.float32)
        return jnp.where(index == place, value, 0.0)


def _axis(position: jax.Array, displacement: jax.Array, size: int) -> _Axis:
    # As there: of the displacement, not of the coordinate, which would lose digits.
    displacement = jnp.clip(displacement, -size - 1, size + 1)
    floor, ceil = jnp.floor(displacement), jnp.ceil(displacement)
    lower, upper, below = (jnp.clip(position + step, 0, size - 1) for step in (floor, floor + 1, ceil - 1))
    return _Axis(lower, upper, below, displacement - floor, size)


def _axes(flow: jax.Array, first: jax.Array, height: int, width: int) -> tuple[_Axis, _Axis]:
    """Both axes of the pixels from the first one on, whose flow is [2, pixels]."""
    pixel = (first + jax.lax.broadcasted_iota(jnp.int32, (1, flow.shape[1]), 1)).astype(jnp.float32)
    row = jnp.floor((pixel + 0.5) / width)
    return _axis(pixel - width * row, flow[0:1], width), _axis(row, flow[1:2], height)


def _product(left: jax.Array, right: jax.Array, right_axis: int) -> jax.Array:
    """The product over the last axis of `left` and an axis of `right`: in full precision, or one pass in bfloat16."""
    highest = left.dtype == jnp.float32
    return jax.lax.dot_general(
        left,
        right.astype(left.dtype),
        (((1,), (right_axis,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST if highest else jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )


def _summed_over_rows(read: jax.Array, factors: jax.Array) -> jax.Array:
    """Rows of all channels [channels * height, pixels], times factors [height, pixels], summed: [channels, pixels]."""
    rows = read.reshape(-1, *factors.shape)
    return jnp.sum(rows * factors, axis=1)


def _for_chunks(pixels: int, body: Any) -> None:
    chunk = _chunk(pixels)

    def step(i: jax.Array, carry: Any) -> Any:
        first = pl.multiple_of(i * chunk, chunk)
        body(first, pl.ds(first, chunk))
        return carry

    jax.lax.fori_loop(0, pixels // chunk, step, 0)


def _interpolation_kernel(height: int, width: int, image_ref: Any, flow_ref: Any, out_ref: Any) -> None:
    def read(first: jax.Array, pixels: Any) -> None:
        x, y = _axes(flow_ref[:, pixels], first, height, width)
        values = _summed_over_rows(_product(image_ref[...], x.weights(), 0), y.weights())
        # What is no number finds no pixel, and shall give none either.
        out_ref[:, pixels] = values + 0 * (x.fraction + y.fraction)

    _for_chunks(height * width, read)


def _image_gradient_kernel(
    dtype: Any, height: int, width: int, cotangent_ref: Any, flow_ref: Any, out_ref: Any
) -> None:
    out_ref[...] = jnp.zeros_like(out_ref)

    def add(first: jax.Array, pixels: Any) -> None:
        x, y = _axes(flow_ref[:, pixels], first, height, width)
        weighted = cotangent_ref[:, pixels][:, None, :] * y.weights()
        out_ref[...] += _product(weighted.reshape(out_ref.shape[0], -1).astype(dtype), x.weights(), 1)

    _for_chunks(height * width, add)


def _flow_gradient_kernel(
    height: int, width: int, image_ref: Any, flow_ref: Any, cotangent_ref: Any, out_ref: Any
) -> None:
    def differentiate(first: jax.Array, pixels: Any) -> None:
        x, y = _axes(flow_ref[:, pixels], first, height, width)
        along_x = _summed_over_rows(_product(image_ref[...], x.slopes(), 0), y.weights())
        along_y = _summed_over_rows(_product(image_ref[...], x.weights(), 0), y.slopes())
        cotangent = cotangent_ref[:, pixels]
        sums = [jnp.sum(cotangent * along, axis=0, keepdims=True) for along in (along_x, along_y)]
        out_ref[:, pixels] = jnp.concatenate(sums)

    _for_chunks(height * width, differentiate)
