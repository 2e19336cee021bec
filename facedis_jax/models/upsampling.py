"""The upsampling network of all generators: from a code to an image or a flow, by transposed convolutions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError

# Weights and biases alike begin at a normal distribution of this deviation, truncated at two deviations, as in the
# authors' code.
INITIAL_DEVIATION = 0.1

# What follows was measured on XLA:CPU.
# From so many channels on, its convolution is fast as it is; with fewer, pixels are grouped.
MANY_CHANNELS = 16
# With fewer than MANY_CHANNELS, it takes as long for fewer filters as for so many.
ENOUGH_FILTERS = 20
# From so many channels and filters on, one convolution per phase costs less than one for all phases, of whose taps some
# are zero; on a TPU both cost the same.
SEPARATE_CHANNELS = 16
# Up to this size a kernel stays in a core's cache, and the strided convolution is the fastest gradient of the images;
# with larger ones it is up to twice as slow as the convolutions of the phases.
LARGEST_STRIDED_KERNEL = 100_000


def transposed_convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Images enlarged by a plain transposed convolution with "SAME" padding, the reference of `subpixel_convolution`.

    Args:
      images: [batch, height, width, channels].
      kernel: [taps, taps, channels, filters].
      stride: by which height and width grow.

    Returns:
      [batch, height * stride, width * stride, filters].
    """
    return jax.lax.conv_transpose(images, kernel, (stride, stride), "SAME")


def subpixel_convolution(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Images enlarged as by `transposed_convolution`, by convolutions for which XLA's CPU backend has a fast path.

    Pixel `stride * p + r` of the output sums tap t of the kernel over input pixel p + o wherever
    `t = stride * o + before - r`. Every phase r is therefore a small convolution of its own; all of them are one
    convolution to more filters and depth-to-space.

    With many channels, each phase runs by itself, with the taps that it has: at stride 2, a kernel of 3 x 3 has
    phases of 1, 2, 2 and 4 taps, where one convolution for all has 4 for each.

    Args:
      images, kernel, stride: as of `transposed_convolution`.

    Example:
      >>> images, kernel = jnp.ones([1, 2, 2, 1]), jnp.ones([3, 3, 1, 1])
      >>> subpixel_convolution(images, kernel, 2)[0, :, :, 0].tolist()
      [[1.0, 1.0, 2.0, 1.0], [1.0, 1.0, 2.0, 1.0], [2.0, 2.0, 4.0, 2.0], [1.0, 1.0, 2.0, 1.0]]
    """
    return _space_to_depth_convolution(images, kernel) if stride == 1 else _subpixel(images, kernel, stride)


def _by_phases(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`subpixel_convolution` for strides above 1."""
    taps, _, channels, filters = kernel.shape
    if stride <= taps and min(channels, filters) >= SEPARATE_CHANNELS:
        return _phase_by_phase(images, kernel, stride)
    dense, above = _kernel_of_phases(kernel, stride)
    small = _convolution(images, dense, (above, above))
    return _depth_to_space(small, stride, stride)


def _space_to_depth_convolution(images: jax.Array, kernel: jax.Array) -> jax.Array:
    """`subpixel_convolution` for stride 1.

    With few channels, by 2 x 2 space-to-depth: 1.5 times the operations, still faster on XLA:CPU.
    """
    taps, _, channels, filters = kernel.shape
    batch, height, width, _ = images.shape
    before = _padding_before(taps, 1)
    if min(channels, filters) >= MANY_CHANNELS or height % 2 or width % 2:
        return _convolution(images, kernel, (before, before))
    dense, above = _kernel_of_squares(kernel)
    squares = images.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    squares = squares.reshape(batch, height // 2, width // 2, 4 * channels)
    return _depth_to_space(_convolution(squares, dense, (above, above)), 2, 2)


def _kernel_of_phases(kernel: jax.Array, stride: int) -> tuple[jax.Array, int]:
    """The kernel to `stride * stride * filters` of one convolution that makes all phases, and its padding before."""
    taps, _, channels, filters = kernel.shape
    before = _padding_before(taps, stride)
    # Offsets of input pixels from the one at the output's position, and phases.
    first, last = -(before // stride), (stride - 1 + taps - 1 - before) // stride
    offset, r = np.meshgrid(np.arange(first, last + 1), np.arange(stride), indexing="ij")
    tap = stride * offset + before - r
    tap = np.where((tap >= 0) & (tap < taps), tap, taps)  # the last one is a zero
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    dense = padded[tap[..., None, None], tap]  # [rows, row out, columns, column out, in, out]
    dense = dense.transpose(0, 2, 4, 1, 3, 5).reshape(*[len(tap)] * 2, channels, stride * stride * filters)
    return dense, -first


def _kernel_of_squares(kernel: jax.Array) -> tuple[jax.Array, int]:
    """The kernel from and to squares of 2 x 2 pixels, of a convolution of stride 1, and its padding before."""
    taps, _, channels, filters = kernel.shape
    before = _padding_before(taps, 1)
    # Offsets of 2 x 2 blocks of input pixels from that of the output, and positions within both.
    first, last = -((before + 1) // 2), (taps - before) // 2
    offset, q, r = np.meshgrid(np.arange(first, last + 1), np.arange(2), np.arange(2), indexing="ij")
    tap = 2 * offset + q - r + before
    tap = np.where((tap >= 0) & (tap < taps), tap, taps)  # the last one is a zero
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    dense = padded[tap[..., None, None, None], tap]  # [rows, row in, row out, columns, column in, column out, in, out]
    dense = dense.transpose(0, 3, 1, 4, 6, 2, 5, 7).reshape(*[len(tap)] * 2, 4 * channels, 4 * filters)
    return dense, -first


def _phase_by_phase(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`subpixel_convolution`, one phase after the other."""
    taps, before = kernel.shape[0], _padding_before(kernel.shape[0], stride)
    batch, height, width, _ = images.shape

    def phase_taps(phase: int) -> tuple[int, list[int]]:
        """How far above its pixel the convolution of a phase begins, and its taps of the kernel."""
        offsets = [o for o in range(-taps, taps + 1) if 0 <= stride * o + before - phase < taps]
        return -offsets[0], [stride * o + before - phase for o in offsets]

    def pixels(row: int, column: int) -> jax.Array:
        (above, rows), (left, columns) = phase_taps(row), phase_taps(column)
        return _convolution(images, kernel[np.ix_(rows, columns)], (above, left))

    small = [jnp.stack([pixels(row, column) for column in range(stride)], axis=3) for row in range(stride)]
    return jnp.stack(small, axis=2).reshape(batch, height * stride, width * stride, kernel.shape[-1])


def _padding_before(taps: int, stride: int) -> int:
    """Rows that lax.conv_transpose adds above an image for "SAME"."""
    return taps - 1 if stride > taps - 1 else -(-(taps + stride - 2) // 2)


Padding = tuple[int, int]


def _plain_convolution(images: jax.Array, kernel: jax.Array, before: Padding) -> jax.Array:
    """Images of the same size by a convolution of stride 1, padded by `before` pixels above and to the left."""
    return _strided_convolution(images, kernel, before, (1, 1))


def _in_blocks(
    images: jax.Array, kernel: jax.Array, before: Padding, rows: int, columns: int, stride: int
) -> jax.Array:
    """A convolution of any stride that makes blocks of `rows` x `columns` output pixels, each by filters of its own.

    The window of a block is the kernel's and (block - 1) * stride pixels more: the larger the block, the more
    multiplications with zeros.
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
    # After the last pixel, as much is padded as the kernel reaches beyond one stride, less the padding before.
    padding = [
        (first, size - stride - first) for first, size, stride in zip(before, kernel.shape, strides, strict=False)
    ]
    return jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _block(height: int, width: int, channels: int, filters: int) -> tuple[int, int]:
    """Rows and columns of the smallest block with enough filters, if an image is a multiple of such blocks."""
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
    """Images of 1 / `stride` of the size by a convolution, in blocks where it has few channels and filters."""
    _, height, width, _ = images.shape
    block = _block(height // stride, width // stride, *kernel.shape[2:])
    return _in_blocks(images, kernel, before, *block, stride)


def _adjoint_kernel(kernel: jax.Array) -> jax.Array:
    """The kernel of the images' gradient: flipped, with channels and filters swapped, behind an optimisation barrier.

    Without the barrier XLA makes the flip a part of the convolution, for which its CPU backend has a slow loop alone;
    Langevin steps then take 3.6 times as long.
    """
    return jax.lax.optimization_barrier(kernel[::-1, ::-1].transpose(0, 1, 3, 2))


def _with_gradients(
    convolution: Callable[[jax.Array, jax.Array, Any], jax.Array],
    gradients: Callable[[Any, tuple[jax.Array, jax.Array], jax.Array], tuple[jax.Array, jax.Array]],
) -> Callable[[jax.Array, jax.Array, Any], jax.Array]:
    """The convolution (images, kernel, setting) with gradients (setting, (images, kernel), cotangent) -> both."""
    own = jax.custom_vjp(convolution, nondiff_argnums=(2,))
    own.defvjp(lambda images, kernel, setting: (convolution(images, kernel, setting), (images, kernel)), gradients)
    return own


def _convolution_gradients(
    before: Padding, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    after = (kernel.shape[0] - 1 - before[0], kernel.shape[1] - 1 - before[1])
    grad_images = _fast_convolution(cotangent, _adjoint_kernel(kernel), after)
    (grad_kernel,) = jax.linear_transpose(lambda k: _plain_convolution(images, k, before), kernel)(cotangent)
    return grad_images, grad_kernel


# The gradients are JAX's own, but for the kernel's barrier.
_convolution = _with_gradients(partial(_fast_convolution, stride=1), _convolution_gradients)


def _subpixel_gradients(
    stride: int, kept: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = kept
    taps, filters = kernel.shape[0], kernel.shape[-1]
    # XLA:CPU's strided convolution of three or five channels takes up to ten times as long as of two or four.
    if filters % 2 or kernel.size > LARGEST_STRIDED_KERNEL:
        return jax.vjp(lambda x, k: _by_phases(x, k, stride), images, kernel)[1](cotangent)
    (grad_kernel,) = jax.vjp(lambda k: _by_phases(images, k, stride), kernel)[1](cotangent)
    before = (taps - 1 - _padding_before(taps, stride),) * 2
    return _fast_convolution(cotangent, _adjoint_kernel(kernel), before, stride), grad_kernel


# The gradient of the images needs no phases: it is a strided convolution of the cotangent, without zeros and without
# depth-to-space. Where that is slow, it goes back through the phases.
_subpixel = _with_gradients(_by_phases, _subpixel_gradients)


def enlarge(maps: jax.Array, scale: int) -> jax.Array:
    """Maps [..., height, width, channels] enlarged `scale` times by linear interpolation."""
    if scale == 1:
        return maps
    height, width, channels = maps.shape[-3:]
    return jax.image.resize(maps, (*maps.shape[:-3], scale * height, scale * width, channels), "linear")


class _Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array
    stride: int


def folded_layers(images: jax.Array, layers: Sequence[_Layer]) -> jax.Array:
    """What transposed convolutions with rectifiers between them make of images [batch, height, width, channels].

    For accelerators. The pixels that a layer makes of one of its own stay in the channels until its rectifier is
    done, and squares of 2 x 2 pixels until the end where a layer of stride 1 follows: more channels fill the lanes,
    and the largest maps are neither put in another order nor kept twice. One convolution makes all phases, with
    multiplications by zero.

    Args:
      images: of the type in which all is convolved; the result is of the biases' type.
      layers: the kernel and the stride as of `transposed_convolution`, and the bias.
    """
    maps, side = images, 1  # of the squares in the channels
    for i, (kernel, bias, stride) in enumerate(layers):
        last = i == len(layers) - 1
        if stride > 1:
            dense, above = _kernel_of_phases(kernel.astype(images.dtype), stride)
            side = stride
        elif side > 1:
            # A tap stands in several places, whose gradients are summed in the kernel's type.
            dense, above = _kernel_of_squares(kernel)
        else:
            dense, above = kernel, _padding_before(len(kernel), 1)
        sums = _plain_convolution(maps, dense.astype(images.dtype), (above, above))
        biases = jnp.tile(bias, side * side)
        maps = sums.astype(bias.dtype) + biases if last else _biased_relu(sums, biases)
        kept = 2 if not last and layers[i + 1].stride == 1 and side % 2 == 0 else 1
        maps, side = _unfolded(maps, side, kept), kept
    return maps


@jax.custom_vjp
def _biased_relu(sums: jax.Array, bias: jax.Array) -> jax.Array:
    """`relu(sums + bias)` in the type of the sums, whose gradient needs this result alone."""
    return nn.relu(sums.astype(bias.dtype) + bias).astype(sums.dtype)


def _biased_relu_forward(sums: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    result = _biased_relu(sums, bias)
    return result, (result, bias)


def _biased_relu_backward(kept: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    result, bias = kept
    gradient = jnp.where(result > 0, cotangent, 0)
    return gradient, gradient.astype(bias.dtype).reshape(-1, bias.size).sum(axis=0)


_biased_relu.defvjp(_biased_relu_forward, _biased_relu_backward)


def _unfolded(maps: jax.Array, side: int, kept: int) -> jax.Array:
    """Maps whose channels hold squares of `kept` pixels a side, of maps whose channels hold squares of `side`."""
    if side == kept:
        return maps
    batch, height, width, depth = maps.shape
    out, filters = side // kept, depth // side**2
    squares = maps.reshape(batch, height, width, out, kept, out, kept, filters).transpose(0, 1, 3, 2, 5, 4, 6, 7)
    return squares.reshape(batch, height * out, width * out, kept * kept * filters)


FanIn = Literal["kernel", "pixel"]
Compute = Literal["float32", "bfloat16"]


def check_compute(compute: str) -> None:
    """Raises an `InputError` for a type that the generators do not compute in."""
    if compute not in get_args(Compute):
        raise InputError("model.compute", " or ".join(get_args(Compute)), repr(compute))


def narrowed(array: jax.Array, compute: Compute) -> jax.Array:
    """The array in bfloat16 where that is what is computed in, or as it is."""
    return array.astype(jnp.bfloat16) if compute == "bfloat16" else array


class UpsamplingNetwork(nn.Module):
    """Codes [..., latents] to maps [..., size, size, channels], before any activation of the last layer.

    Attributes:
      first_filters: channels of the 4 x 4 map that the fully connected layer makes.
      filters: of the transposed convolutions, the last one's being the output's channels.
      kernels, strides: taps along either axis, and strides, of the transposed convolutions.
      weight_balance: None draws weights with a deviation of 0.1 and uses them as they are. A number (beta of section
        5.7 of the deformable generator, 1 for the appearance generator) draws them with a deviation of 1 and
        multiplies them at run time by He's constant of their layer, sqrt(2 / fan-in), times that number.
      he_fan_in: what the fan-in of a transposed convolution counts where weights are balanced. "kernel" as the authors'
        code: all taps x taps x channels; biases begin as theirs, with a deviation of 0.1. "pixel", ours: those that a
        pixel of the output sums, one in stride x stride of them; biases begin at 0, and maps keep their scale from
        layer to layer. A layer of stride 4 is then 4 times, one of stride 2 twice as large as the authors'.
      initial_output: multiplies the last layer's first weights and biases.
      compute: type of what flows from layer to layer and of what is convolved; sums, biases and the maps that come out
        are float32, and so is the fully connected layer.

    Example:
      >>> network = UpsamplingNetwork(first_filters=16, filters=(8, 3), kernels=(3, 5), strides=(2, 2))
      >>> jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros([2, 6]))[0].shape
      (2, 16, 16, 3)
    """

    first_filters: int
    filters: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    weight_balance: float | None = None
    he_fan_in: FanIn = "pixel"
    initial_output: float = 1.0
    compute: Compute = "float32"

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        leading = codes.shape[:-1]
        x = codes.reshape(-1, codes.shape[-1])
        weights, biases = self._layer("dense", (x.shape[-1], 16 * self.first_filters), x.shape[-1])
        # One bias for each channel of each of the 16 pixels.
        x = narrowed(nn.relu(x @ weights + biases).reshape(-1, 4, 4, self.first_filters), self.compute)
        layers = self._layers()
        if self.compute != "float32":
            x = folded_layers(x, layers)
            return x.reshape(*leading, *x.shape[1:])
        for i, (kernel, bias, stride) in enumerate(layers):
            x = subpixel_convolution(x, kernel, stride) + bias
            if i < len(layers) - 1:
                x = nn.relu(x)
        return x.reshape(*leading, *x.shape[1:])

    def _layers(self) -> list[_Layer]:
        layers, channels = [], self.first_filters
        for i, (filters, taps, stride) in enumerate(zip(self.filters, self.kernels, self.strides, strict=True)):
            # Of the kernel's taps, a pixel of the output sums one in `stride` along either axis.
            fan_in = channels * taps**2 / (stride**2 if self.he_fan_in == "pixel" else 1)
            scale = self.initial_output if i == len(self.filters) - 1 else 1.0
            weights = self._layer(f"upsample_{i}", (taps, taps, channels, filters), fan_in, scale)
            layers.append(_Layer(*weights, stride))
            channels = filters
        return layers

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
