"""From a code to a picture: a fully connected layer and transposed convolutions, as both generators are made."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# The authors' code draws weights and biases alike from a normal distribution of this deviation, cut at two of them.
INITIAL_DEVIATION = 0.1

# From so many channels on, XLA:CPU's fast convolution is used for what it is.
MANY_CHANNELS = 16
# Of no more channels than that, it takes as long for fewer filters as for so many.
ENOUGH_FILTERS = 20
# From so many on, four convolutions cost XLA:CPU less than one that multiplies with zeros in between; a TPU as much.
SEPARATE_CHANNELS = 16
# Of a kernel of no more numbers than that, which then stays in a core's cache, XLA:CPU's strided convolution is faster
# than those of the remainders; of a larger one up to twice as slow.
LARGEST_STRIDED_KERNEL = 100_000


def transposed_convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The plain transposed convolution with "SAME" padding, `stride` times as large; see `subpixel_convolution`.

    Args:
      images: [batch, height, width, channels].
      kernel: [taps, taps, channels, filters].
      stride: by which height and width grow.

    Returns:
      [batch, height * stride, width * stride, filters].
    """
    return jax.lax.conv_transpose(images, kernel, (stride, stride), "SAME")


def subpixel_convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Equals `transposed_convolution`, by a dense convolution to more filters and depth-to-space.

    Pixel `stride * p + r` of the output sums tap t of the kernel over input pixel p + o wherever
    `t = stride * o + before - r`, so every remainder r is a small convolution of its own; they run as one. XLA's CPU
    backend has a fast path for this and none for the other.

    Where channels are not few, each remainder runs by itself, with the taps that it has: of a kernel of 3 x 3
    at stride 2 these are 1, 2, 2 and 4 of the 4 that all have as one.
    """
    return _convolution_of_squares(images, kernel) if stride == 1 else _subpixel(images, kernel, stride)


def _by_remainders(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`subpixel_convolution` where sizes grow."""
    taps, _, channels, filters = kernel.shape
    if stride <= taps and min(channels, filters) >= SEPARATE_CHANNELS:
        return _separate_convolutions(images, kernel, stride)
    before = _padding_before(taps, stride)
    # How far an input pixel is from the one at the output's place, and which pixel of those made there.
    first, last = -(before // stride), (stride - 1 + taps - 1 - before) // stride
    offset, r = np.meshgrid(np.arange(first, last + 1), np.arange(stride), indexing="ij")
    tap = stride * offset + before - r
    tap = np.where((tap >= 0) & (tap < taps), tap, taps)  # the last one is a zero
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    dense = padded[tap[..., None, None], tap]  # [rows, row out, columns, column out, in, out]
    dense = dense.transpose(0, 2, 4, 1, 3, 5).reshape(*[len(tap)] * 2, channels, stride * stride * filters)
    small = _convolution(images, dense, (-first, -first))
    return _depth_to_space(small, stride, stride)


def _convolution_of_squares(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """`subpixel_convolution` where both sizes are equal.

    With few channels, squares of two by two pixels are taken for one pixel of four times the channels, of which the
    fast path takes less time than its operations, half as many again, would let one think.
    """
    taps, _, channels, filters = kernel.shape
    batch, height, width, _ = images.shape
    before = _padding_before(taps, 1)
    if min(channels, filters) >= MANY_CHANNELS or height % 2 or width % 2:
        return _convolution(images, kernel, (before, before))
    # How far a square of input pixels is from that of output pixels, and which pixels of either.
    first, last = -((before + 1) // 2), (taps - before) // 2
    offset, q, r = np.meshgrid(np.arange(first, last + 1), np.arange(2), np.arange(2), indexing="ij")
    tap = 2 * offset + q - r + before
    tap = np.where((tap >= 0) & (tap < taps), tap, taps)  # the last one is a zero
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    dense = padded[tap[..., None, None, None], tap]  # [rows, row in, row out, columns, column in, column out, in, out]
    dense = dense.transpose(0, 3, 1, 4, 6, 2, 5, 7).reshape(*[len(tap)] * 2, 4 * channels, 4 * filters)
    squares = images.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(batch, height // 2, width // 2, 4 * channels)
    return _depth_to_space(_convolution(squares, dense, (-first, -first)), 2, 2)


def _separate_convolutions(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`subpixel_convolution`, one remainder after the other."""
    taps, before = kernel.shape[0], _padding_before(kernel.shape[0], stride)
    batch, height, width, _ = images.shape

    def of_remainder(remainder: int) -> tuple[int, list[int]]:
        """How far above its pixel a small convolution begins, and which taps of the kernel it has."""
        offsets = [o for o in range(-taps, taps + 1) if 0 <= stride * o + before - remainder < taps]
        return -offsets[0], [stride * o + before - remainder for o in offsets]

    def pixels(row: int, column: int) -> jax.Array:
        (above, rows), (left, columns) = of_remainder(row), of_remainder(column)
        return _convolution(images, kernel[np.ix_(rows, columns)], (above, left))

    small = [jnp.stack([pixels(row, column) for column in range(stride)], axis=3) for row in range(stride)]
    return jnp.stack(small, axis=2).reshape(batch, height * stride, width * stride, kernel.shape[-1])


def _padding_before(taps: int, stride: int) -> int:
    """How lax.conv_transpose pads for "SAME"."""
    return taps - 1 if stride > taps - 1 else -(-(taps + stride - 2) // 2)


Padding = tuple[int, int]


def _plain_convolution(images: jax.Array, kernel: jax.Array, before: Padding) -> jax.Array:
    """A convolution of stride 1 that keeps the size, padded by so many pixels above and to the left."""
    return _strided_convolution(images, kernel, before, (1, 1))


def _in_blocks(
    images: jax.Array, kernel: jax.Array, before: Padding, rows: int, columns: int, stride: int
) -> jax.Array:
    """One of any stride, of so many rows and columns of output pixels at once, each of which has filters of its own.

    Their window is larger than the kernel by the block less one pixel, times the stride: the more multiplications with
    zeros, the larger the block.
    """
    if rows == columns == 1:
        return _strided_convolution(images, kernel, before, (stride, stride))

    def at(row: int, column: int) -> jax.Array:
        above, left = stride * row, stride * column
        below, right = stride * (rows - 1) - above, stride * (columns - 1) - left
        return jnp.pad(kernel, ((above, below), (left, right), (0, 0), (0, 0)))

    kernels = jnp.concatenate([at(row, column) for row in range(rows) for column in range(columns)], axis=-1)
    # The window of a block's first pixel begins where that of the plain convolution does.
    small = _strided_convolution(images, kernels, before, (stride * rows, stride * columns))
    return _depth_to_space(small, rows, columns)


def _strided_convolution(images: jax.Array, kernel: jax.Array, before: Padding, strides: tuple[int, int]) -> jax.Array:
    # What a kernel reaches beyond its first `strides` pixels, less what lies before them, lies after the last.
    padding = [
        (first, size - stride - first) for first, size, stride in zip(before, kernel.shape, strides, strict=False)
    ]
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _block(height: int, width: int, channels: int, filters: int) -> tuple[int, int]:
    """Rows and columns of the smallest block that has filters enough, where such blocks fill the picture."""
    rows = columns = 1
    while rows * columns * filters < ENOUGH_FILTERS:
        rows, columns = (rows, 2 * columns) if columns == rows else (2 * rows, columns)
    return (1, 1) if channels > MANY_CHANNELS or height % rows or width % columns else (rows, columns)


def _depth_to_space(maps: jax.Array, rows: int, columns: int) -> jax.Array:
    """[batch, height, width, rows * columns * channels] -> [batch, height * rows, width * columns, channels]."""
    if rows == columns == 1:
        return maps
    batch, height, width, depth = maps.shape
    pixels = maps.reshape(batch, height, width, rows, columns, depth // (rows * columns)).transpose(0, 1, 3, 2, 4, 5)
    return pixels.reshape(batch, height * rows, width * columns, -1)


def _fast_convolution(images: jax.Array, kernel: jax.Array, before: Padding, stride: int = 1) -> jax.Array:
    """A convolution to one `stride`-th of the size, in blocks where it has few channels and filters."""
    _, height, width, _ = images.shape
    block = _block(height // stride, width // stride, *kernel.shape[2:])
    return _in_blocks(images, kernel, before, *block, stride)


def _turned(kernel: jax.Array) -> jax.Array:
    """The kernel of the images' gradient, turned around and transposed behind a barrier.

    XLA would else make both a part of the convolution, and for such ones its CPU backend has only a slow loop, which
    made Langevin steps 3.6 times as slow.
    """
    return jax.lax.optimization_barrier(kernel[::-1, ::-1].transpose(0, 1, 3, 2))


def _with_gradients(
    convolution: Callable[[jax.Array, jax.Array, Any], jax.Array],
    gradients: Callable[[Any, tuple[jax.Array, jax.Array], jax.Array], tuple[jax.Array, jax.Array]],
) -> Callable[[jax.Array, jax.Array, Any], jax.Array]:
    """A convolution of images, a kernel and a setting, with gradients of our own from setting, both and cotangent."""
    own = jax.custom_vjp(convolution, nondiff_argnums=(2,))
    own.defvjp(lambda images, kernel, setting: (convolution(images, kernel, setting), (images, kernel)), gradients)
    return own


def _convolution_gradients(
    before: Padding, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    after = (kernel.shape[0] - 1 - before[0], kernel.shape[1] - 1 - before[1])
    of_images = _fast_convolution(cotangent, _turned(kernel), after)
    (of_kernel,) = jax.linear_transpose(lambda k: _plain_convolution(images, k, before), kernel)(cotangent)
    return of_images, of_kernel


# What JAX would make of it, but for the turned kernel's barrier.
_convolution = _with_gradients(partial(_fast_convolution, stride=1), _convolution_gradients)


def _subpixel_gradients(
    stride: int, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    taps, filters = kernel.shape[0], kernel.shape[-1]
    # XLA:CPU's strided convolution of three or five channels takes up to ten times as long as of two or four.
    if filters % 2 or kernel.size > LARGEST_STRIDED_KERNEL:
        return jax.vjp(lambda x, k: _by_remainders(x, k, stride), images, kernel)[1](cotangent)
    (of_kernel,) = jax.vjp(lambda k: _by_remainders(images, k, stride), kernel)[1](cotangent)
    before = (taps - 1 - _padding_before(taps, stride),) * 2
    return _fast_convolution(cotangent, _turned(kernel), before, stride), of_kernel


# The gradient of the images needs none of the remainders: it is a strided convolution of the cotangent, without zeros
# and without pixels put in another order. Where that is slow, it is that of the remainders.
_subpixel = _with_gradients(_by_remainders, _subpixel_gradients)


def enlarge(maps: jax.Array, scale: int) -> jax.Array:
    """Maps [..., height, width, channels], `scale` times as large by linear interpolation."""
    if scale == 1:
        return maps
    height, width, channels = maps.shape[-3:]
    return jax.image.resize(maps, (*maps.shape[:-3], scale * height, scale * width, channels), "linear")


FanIn = Literal["kernel", "pixel"]


class UpsamplingNetwork(nn.Module):
    """Codes [..., latents] to maps [..., size, size, channels], before any activation of the last layer.

    Attributes:
      first_filters: channels of the 4 x 4 map that the fully connected layer makes.
      filters: of the transposed convolutions, the last one's being the output's channels.
      kernels, strides: of the same.
      weight_balance: None draws weights with a deviation of 0.1 and uses them as they are. A number (beta of section
        5.7, 1 for the appearance generator) draws them with a deviation of 1 and multiplies them at run time by He's
        constant of their layer, sqrt(2 / fan-in), times that number.
      he_fan_in: what the fan-in of a transposed convolution counts where weights are balanced. "kernel" as the authors'
        code: all taps x taps x channels; biases begin as theirs, with a deviation of 0.1. "pixel", ours: those that a
        pixel of the output sums, one in stride x stride of them; biases begin at 0, and maps keep their scale from
        layer to layer. A layer of stride 4 is then 4 times, one of stride 2 twice as large as the authors'.
      initial_output: multiplies the last layer's first weights and biases.
    """

    first_filters: int
    filters: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    weight_balance: float | None = None
    he_fan_in: FanIn = "pixel"
    initial_output: float = 1.0

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        leading = codes.shape[:-1]
        x = codes.reshape(-1, codes.shape[-1])
        weights, biases = self._layer("dense", (x.shape[-1], 16 * self.first_filters), x.shape[-1])
        # The bias belongs to the channels of each of the 16 pixels.
        x = nn.relu(x @ weights + biases).reshape(-1, 4, 4, self.first_filters)
        layers = list(zip(self.filters, self.kernels, self.strides, strict=True))
        for i, (filters, taps, stride) in enumerate(layers):
            channels = x.shape[-1]
            # Of the kernel's taps, a pixel of the output sums one in `stride` along either axis.
            fan_in = channels * taps**2 / (stride**2 if self.he_fan_in == "pixel" else 1)
            scale = self.initial_output if i == len(layers) - 1 else 1.0
            kernel, bias = self._layer(f"upsample_{i}", (taps, taps, channels, filters), fan_in, scale)
            x = subpixel_convolution(x, kernel, stride) + bias
            if i < len(layers) - 1:
                x = nn.relu(x)
        return x.reshape(*leading, *x.shape[1:])

    def _layer(
        self, name: str, shape: tuple[int, ...], fan_in: float, scale: float = 1.0
    ) -> tuple[jax.Array, jax.Array]:
        normal = nn.initializers.truncated_normal(INITIAL_DEVIATION * scale)
        if self.weight_balance is None:
            return self.param(f"{name}_kernel", normal, shape), self.param(f"{name}_bias", normal, shape[-1:])
        kernel = self.param(f"{name}_kernel", nn.initializers.normal(scale), shape)
        bias_start = nn.initializers.zeros if self.he_fan_in == "pixel" else normal
        bias = self.param(f"{name}_bias", bias_start, shape[-1:])
        return kernel * (self.weight_balance * np.sqrt(2 / fan_in)), bias
