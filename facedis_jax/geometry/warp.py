"""Warping an image by a flow, with a derivative that is useful at integer coordinates too."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.geometry.batches import batch_under_vmap
from facedis_jax.geometry.platforms import by_platform


def canonical_grid(height: int, width: int) -> jax.Array:
    """The coordinates of an image's pixels: [height, width, 2] float32, (x, y), the first pixel at (0, 0).

    `canonical_grid(height, width) + flow` is where `warp(image, flow)` reads.

    Example:
      >>> canonical_grid(2, 3)[1].tolist()
      [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    """
    x, y = jnp.meshgrid(jnp.arange(width, dtype=jnp.float32), jnp.arange(height, dtype=jnp.float32))
    return jnp.stack([x, y], axis=-1)


def warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    """The image read at displaced coordinates, Eq. 2 to 4 of the deformable generator.

    The output at (x, y) is the image at (x + dx, y + dy), interpolated between its four neighbours; pixels
    beyond the border have the border's value. A flow of zeros returns the image itself, bit for bit.

    The derivative with respect to the displacement is the mean of the derivatives from either side, so that it
    agrees with central differences at every point. The sides differ at integer coordinates, where the usual
    interpolators return one side or zero; from zeros, a generator whose flow starts at zero would learn nothing.
    At the border the outer side counts as zero, beyond it both do.

    Reverse mode only: the derivative is a `jax.custom_vjp`. Under `jax.jit`, the gradient of the image or of the flow
    is computed only where it is used.

    Args:
      image: [height, width, channels], floating, any size.
      flow: displacements in pixels, [height, width, 2], (dx, dy).

    Returns:
      [height, width, channels], of the image's dtype.

    Raises:
      ValueError: where the shapes do not fit, the image is not floating, or a batch has 2^31 pixels.

    Example:
      >>> row = jnp.array([[0.0, 1.0, 4.0]])[..., None]
      >>> warp(row, jnp.full([1, 3, 2], 0.5))[0, :, 0].tolist()
      [0.5, 2.5, 4.0]
    """
    image, flow = jnp.asarray(image), jnp.asarray(flow)
    if image.ndim != 3 or flow.shape != (*image.shape[:2], 2):
        raise ValueError(
            "image must be [height, width, channels] and flow [height, width, 2], "
            f"got shapes {image.shape} and {flow.shape}"
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be of floating dtype, got {image.dtype}")
    return _warp(image, flow)


def integrated_flow(velocity: jax.Array, squarings: int) -> jax.Array:
    """The flow of a stationary velocity field after unit time, by scaling and squaring; a small step does not fold.

    A first step of 1 / 2^squarings of the velocity is composed with itself `squarings` times: the flow phi becomes
    phi(x) + phi(x + phi(x)), interpolated between pixels, with the border's value beyond it.

    Args:
      velocity: [..., height, width, 2] in pixels, (dx, dy).
      squarings: how often; 0 returns the velocity itself.

    Returns:
      [..., height, width, 2] in pixels, as `warp` takes it.

    References:
      Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", 2006.

    Example:
      >>> jax.jit(integrated_flow, static_argnums=1)(jnp.full([4, 4, 2], 1.5), 3)[0, 0].tolist()
      [1.5, 1.5]
    """
    compose = warp
    for _ in range(velocity.ndim - 3):
        compose = jax.vmap(compose)
    flow = velocity / 2**squarings
    for _ in range(squarings):
        flow = flow + compose(flow, flow)
    return flow


class _Axis(NamedTuple):
    """Where each pixel of the output reads along one axis, [height, width] each.

    The derivative is (image[upper] - image[below]) * slope: the difference of the neighbours, except at integer
    coordinates, where `below` is the pixel before `lower` and `slope` is 1/2.

    A sampler carries these from step to step, so there are four arrays, and those of indices are int16 where they fit.

    Attributes:
      lower, upper: indices of the two neighbours of the coordinate that is read.
      below: index that the derivative's difference begins at.
      fraction: distance of the coordinate from the lower neighbour, from 0 to 1.
    """

    lower: jax.Array
    upper: jax.Array
    below: jax.Array
    fraction: jax.Array

    @property
    def lower_weight(self) -> jax.Array:
        return 1 - self.fraction

    @property
    def upper_weight(self) -> jax.Array:
        return self.fraction

    @property
    def slope(self) -> jax.Array:
        return jnp.where(self.fraction == 0, 0.5, 1.0).astype(self.fraction.dtype)


def _axis(position: jax.Array, displacement: jax.Array, size: int) -> _Axis:
    # Taking floors of the displacement, not of the coordinate, loses no digits however large the image. Clipped
    # one pixel past the farthest border, where all is constant, it fits an integer whatever it is.
    displacement = jnp.clip(
        displacement.astype(jnp.promote_types(displacement.dtype, jnp.float32)), -size - 1, size + 1
    )
    floor, ceil = jnp.floor(displacement), jnp.ceil(displacement)
    integer = jnp.int16 if size <= jnp.iinfo(jnp.int16).max else jnp.int32

    def place(coordinate: jax.Array) -> jax.Array:
        return jnp.clip(coordinate, 0, size - 1).astype(integer)

    lower, ceiling = position + floor.astype(jnp.int32), position + ceil.astype(jnp.int32)
    return _Axis(place(lower), place(lower + 1), place(ceiling - 1), fraction=displacement - floor)


def _axes(flow: jax.Array) -> tuple[_Axis, _Axis]:
    height, width = flow.shape[:2]
    x = _axis(jnp.arange(width, dtype=jnp.int32)[None, :], flow[..., 0], width)
    y = _axis(jnp.arange(height, dtype=jnp.int32)[:, None], flow[..., 1], height)
    return x, y


# Height or width above which the matrices of weights take too much memory, and more time than gathers.
_LARGEST_FOR_MATMUL = 128


def _on_its_platform(
    by_gather: Callable[..., jax.Array], by_matmul: Callable[..., jax.Array], in_kernels: str
) -> Callable[..., jax.Array]:
    """The function of one image that uses the fastest of its implementations: on a TPU, matrix products beat gathers.

    Under `jax.vmap` all images of a batch are read at once, by one flat index a pixel, where a batched gather would use
    two or three. On a CPU the gather stands in a branch that is always taken, because XLA does not fuse across the
    border of a branch: in the loop of a sampler it otherwise computed a cotangent again for each of its readers.

    Args:
      by_gather, by_matmul: the same function of images [images, height, width, channels], both axes and perhaps
        further arrays like the images.
      in_kernels: name in `warp_kernel` of the same of images, flows in place of the axes, and the further arrays, for
        images that it `fits`.

    Returns:
      The function of an image, a flow, its axes and the further arrays.
    """

    def in_a_branch(images: jax.Array, x: _Axis, *others: Any) -> jax.Array:
        result = jax.eval_shape(by_gather, images, x, *others)
        always = x.lower[0, 0, 0] >= 0
        return jax.lax.cond(always, by_gather, lambda *_: jnp.zeros(result.shape, result.dtype), images, x, *others)

    def chosen(images: jax.Array, flows: jax.Array, *axes_and_others: Any) -> jax.Array:
        if not images.size:
            return by_gather(images, *axes_and_others)
        # Imported here, since Pallas takes longer than all of this package's functions.
        from facedis_jax.geometry import warp_kernel

        by_kernel = getattr(warp_kernel, in_kernels)

        def in_kernel(images: jax.Array, flows: jax.Array, x: _Axis, y: _Axis, *others: jax.Array) -> jax.Array:
            return by_kernel(images, flows.astype(jnp.float32), *others)

        def without_flows(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            return lambda images, flows, *axes_and_others: function(images, *axes_and_others)

        small = max(images.shape[1:3]) <= _LARGEST_FOR_MATMUL
        on_tpu = in_kernel if warp_kernel.fits(images) else without_flows(by_matmul if small else by_gather)
        return by_platform(
            images,
            flows,
            *axes_and_others,
            cpu=without_flows(in_a_branch),
            tpu=on_tpu,
            default=without_flows(by_gather),
        )

    return batch_under_vmap(chosen)


def _rows(images: jax.Array) -> jax.Array:
    """Pixels of all images, one below the other: [images * height * width, channels]."""
    return images.reshape(math.prod(images.shape[:-1]), images.shape[-1])


def _flat_indices(shape: tuple[int, ...], y: jax.Array, x: jax.Array) -> jax.Array:
    """Indices into `_rows` of the pixels (y, x) of all images of a shape."""
    count, height, width = shape[:3]
    if count * height * width > jnp.iinfo(jnp.int32).max:
        raise ValueError(f"at most 2^31 - 1 pixels can be warped at once, got {count} images of {height} x {width}")
    first = height * jnp.arange(count, dtype=jnp.int32)[:, None, None]
    return ((first + y.astype(jnp.int32)) * width + x.astype(jnp.int32)).ravel()


def _column(weight: jax.Array, like: jax.Array) -> jax.Array:
    return weight.ravel()[:, None].astype(like.dtype)


def _corners(shape: tuple[int, ...], x: _Axis, y: _Axis) -> list[tuple[jax.Array, jax.Array]]:
    """Flat indices of the four neighbours, and their weights."""
    return [
        (_flat_indices(shape, y.lower, x.lower), y.lower_weight * x.lower_weight),
        (_flat_indices(shape, y.lower, x.upper), y.lower_weight * x.upper_weight),
        (_flat_indices(shape, y.upper, x.lower), y.upper_weight * x.lower_weight),
        (_flat_indices(shape, y.upper, x.upper), y.upper_weight * x.upper_weight),
    ]


def _read(rows: jax.Array, indices: jax.Array) -> jax.Array:
    return rows.at[indices].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _widened(images: jax.Array) -> jax.Array:
    """Images of 16-bit numbers in float32, so that weights and sums are not rounded to 16 bits; others as they are."""
    return images.astype(jnp.promote_types(images.dtype, jnp.float32))


def _interpolation_by_gather(images: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    rows = _rows(_widened(images))
    terms = [_read(rows, indices) * _column(weight, rows) for indices, weight in _corners(images.shape, x, y)]
    return ((terms[0] + terms[1]) + (terms[2] + terms[3])).reshape(images.shape).astype(images.dtype)


def _image_gradient_by_gather(cotangents: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    rows = _rows(_widened(cotangents))
    gradient = jnp.zeros_like(rows)
    # One after another: on a CPU three to five times as fast as one scatter of all four, as a scatter by row and
    # column, and as what transposing the gathers gives.
    for indices, weight in _corners(cotangents.shape, x, y):
        update = _column(weight, rows) * rows
        gradient = gradient.at[indices].add(update, mode="promise_in_bounds", wrap_negative_indices=False)
    return gradient.reshape(cotangents.shape).astype(cotangents.dtype)


def _flow_gradient_by_gather(images: jax.Array, x: _Axis, y: _Axis, cotangents: jax.Array) -> jax.Array:
    images, cotangents = _widened(images), _widened(cotangents)
    rows = _rows(images)

    def difference(
        upper: tuple[jax.Array, jax.Array], lower: tuple[jax.Array, jax.Array], weight: jax.Array
    ) -> jax.Array:
        upper_value, lower_value = (_read(rows, _flat_indices(images.shape, *place)) for place in (upper, lower))
        return (upper_value - lower_value) * _column(weight, rows)

    along_x = difference((y.lower, x.upper), (y.lower, x.below), y.lower_weight * x.slope) + difference(
        (y.upper, x.upper), (y.upper, x.below), y.upper_weight * x.slope
    )
    along_y = difference((y.upper, x.lower), (y.below, x.lower), x.lower_weight * y.slope) + difference(
        (y.upper, x.upper), (y.below, x.upper), x.upper_weight * y.slope
    )
    # Fused with the gathers, the short sum over the channels is what takes the time on a CPU: behind a barrier and
    # as a product with ones it takes a tenth.
    products = jax.lax.optimization_barrier((along_x * _rows(cotangents), along_y * _rows(cotangents)))
    ones = jnp.ones(images.shape[-1], images.dtype)
    sums = [jnp.matmul(product, ones, precision=jax.lax.Precision.HIGHEST) for product in products]
    return jnp.stack(sums, axis=-1).reshape(*images.shape[:3], 2)


def _bilinear_weights(axis: _Axis, size: int) -> jax.Array:
    """Weight of each of `size` pixels along one axis, a factor of Eq. 4: [..., size]."""
    return _one_hot_times(axis.lower, axis.lower_weight, size) + _one_hot_times(axis.upper, axis.upper_weight, size)


def _slopes(axis: _Axis, size: int) -> jax.Array:
    """The derivative of `_bilinear_weights` with respect to the displacement."""
    return _one_hot_times(axis.upper, axis.slope, size) - _one_hot_times(axis.below, axis.slope, size)


def _one_hot_times(place: jax.Array, value: jax.Array, size: int) -> jax.Array:
    return jnp.where(place[..., None] == jnp.arange(size, dtype=place.dtype), value[..., None], 0)


def _product(formula: str, *arrays: jax.Array) -> jax.Array:
    # A TPU's default precision rounds the pixels to bfloat16.
    return jnp.einsum(formula, *arrays, precision=jax.lax.Precision.HIGHEST)


def _read_along_x(images: jax.Array, weights: jax.Array) -> jax.Array:
    """Every row of the image read at each pixel's x: [images, height, width, channels, height]."""
    return _product("nhwx,nycx->nhwcy", weights.astype(images.dtype), jnp.swapaxes(images, 2, 3))


def _interpolation_by_matmul(images: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    height, width = images.shape[1:3]
    weights = _bilinear_weights(y, height).astype(images.dtype)
    return jnp.sum(weights[..., None, :] * _read_along_x(images, _bilinear_weights(x, width)), axis=-1)


def _image_gradient_by_matmul(cotangents: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    height, width = cotangents.shape[1:3]
    weighted = _bilinear_weights(x, width).astype(cotangents.dtype)[..., None, :] * cotangents[..., None]
    return _product("nhwcx,nhwy->nyxc", weighted, _bilinear_weights(y, height).astype(cotangents.dtype))


def _flow_gradient_by_matmul(images: jax.Array, x: _Axis, y: _Axis, cotangents: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]

    weights_x, weights_y = _bilinear_weights(x, width), _bilinear_weights(y, height)

    def gradient(factor_x: jax.Array, factor_y: jax.Array) -> jax.Array:
        weights = factor_y.astype(images.dtype)[..., None, :] * cotangents[..., None]
        return jnp.sum(weights * _read_along_x(images, factor_x), axis=(-2, -1))

    d_x, d_y = gradient(_slopes(x, width), weights_y), gradient(weights_x, _slopes(y, height))
    return _widened(jnp.stack([d_x, d_y], axis=-1))


_interpolation = _on_its_platform(_interpolation_by_gather, _interpolation_by_matmul, "interpolation")
_image_gradient = _on_its_platform(_image_gradient_by_gather, _image_gradient_by_matmul, "image_gradient")
_flow_gradient = _on_its_platform(_flow_gradient_by_gather, _flow_gradient_by_matmul, "flow_gradient")


@jax.custom_vjp
def _warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    return _interpolation(image, flow, *_axes(flow))


def _forward(image: jax.Array, flow: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _warp(image, flow), (image, flow)


def _backward(residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    image, flow = residuals
    x, y = _axes(flow)
    return _image_gradient(cotangent, flow, x, y), _flow_gradient(image, flow, x, y, cotangent).astype(flow.dtype)


_warp.defvjp(_forward, _backward)
