"""Warping an image along a field of displacements, with a gradient that is of use everywhere."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.geometry.batches import in_one_batch


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
    """Reads an image at displaced coordinates, Eq. 2 to 4 of the deformable generator.

    The output at (x, y) is the image at (x + dx, y + dy), interpolated between its four neighbours; beyond the
    border lies the border's value. No displacement, no change: the output is then the image itself, bit for bit.

    The derivative with respect to the displacement is the mean of the derivatives from either side, so that it
    agrees with central differences at every point. The sides differ at integer coordinates, where the usual
    interpolators return one side or zero; a generator whose flow starts at zero learns nothing from the latter.
    At the border the outer side counts as zero, beyond it both do.

    Reverse mode only: the derivative is a `jax.custom_vjp`. What is not asked for, the gradient of the image or
    that of the flow, is not computed under `jax.jit`.

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


class _Axis(NamedTuple):
    """Where one axis is read, [height, width] each: the two neighbours, the pixel that a derivative begins at, and how
    far it is from the lower neighbour to the place that is read.

    The derivative is (image[upper] - image[below]) * slope: the difference of the neighbours, except at integer
    coordinates, where `below` is the pixel before `lower` and `slope` is 1/2.

    A sampler carries these from step to step, so they are few and short.
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


# Above it, rows of products would take more memory than an accelerator has to spare, and more time than gathers.
_LARGEST_FOR_PRODUCTS = 128


def _on_its_platform(
    by_places: Callable[..., jax.Array], by_products: Callable[..., jax.Array]
) -> Callable[..., jax.Array]:
    """Makes of two ways to compute one thing of images [images, height, width, channels], both axes and perhaps more
    like them one function of a single image: a TPU multiplies faster than it gathers.

    All images of a batch are read at once, from rows of their pixels by one index each, where `jax.vmap` would gather
    by two or three. On a CPU, places are looked up in a branch that is always taken: what surrounds a branch, XLA
    does not fuse with what is in it. In the loop of a sampler it computed a cotangent anew for each of its readers.
    """

    def in_a_branch(images: jax.Array, x: _Axis, *others: Any) -> jax.Array:
        result = jax.eval_shape(by_places, images, x, *others)
        always = x.lower[0, 0, 0] >= 0
        return jax.lax.cond(always, by_places, lambda *_: jnp.zeros(result.shape, result.dtype), images, x, *others)

    def chosen(images: jax.Array, x: _Axis, *others: Any) -> jax.Array:
        if not images.size:
            return by_places(images, x, *others)
        small = max(images.shape[1:3]) <= _LARGEST_FOR_PRODUCTS
        return jax.lax.platform_dependent(
            images, x, *others, cpu=in_a_branch, tpu=by_products if small else by_places, default=by_places
        )

    return in_one_batch(chosen)


def _rows(images: jax.Array) -> jax.Array:
    """Pixels of all images, one below the other: [images * height * width, channels]."""
    return images.reshape(math.prod(images.shape[:-1]), images.shape[-1])


def _places(shape: tuple[int, ...], y: jax.Array, x: jax.Array) -> jax.Array:
    """Of pixels in the rows of images of a shape."""
    count, height, width = shape[:3]
    if count * height * width > jnp.iinfo(jnp.int32).max:
        raise ValueError(f"at most 2^31 - 1 pixels can be warped at once, got {count} images of {height} x {width}")
    first = height * jnp.arange(count, dtype=jnp.int32)[:, None, None]
    return ((first + y.astype(jnp.int32)) * width + x.astype(jnp.int32)).ravel()


def _column(weight: jax.Array, like: jax.Array) -> jax.Array:
    return weight.ravel()[:, None].astype(like.dtype)


def _corners(shape: tuple[int, ...], x: _Axis, y: _Axis) -> list[tuple[jax.Array, jax.Array]]:
    """Places of the four neighbours, and their weights."""
    return [
        (_places(shape, y.lower, x.lower), y.lower_weight * x.lower_weight),
        (_places(shape, y.lower, x.upper), y.lower_weight * x.upper_weight),
        (_places(shape, y.upper, x.lower), y.upper_weight * x.lower_weight),
        (_places(shape, y.upper, x.upper), y.upper_weight * x.upper_weight),
    ]


def _read(rows: jax.Array, places: jax.Array) -> jax.Array:
    return rows.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _interpolation_by_places(images: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    rows = _rows(images)
    terms = [_read(rows, places) * _column(weight, rows) for places, weight in _corners(images.shape, x, y)]
    return ((terms[0] + terms[1]) + (terms[2] + terms[3])).reshape(images.shape)


def _image_gradient_by_places(cotangents: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    rows = _rows(cotangents)
    gradient = jnp.zeros_like(rows)
    # One after another: on a CPU three to five times as fast as one scatter of all four, as a scatter by row and
    # column, and as what transposing the gathers gives.
    for places, weight in _corners(cotangents.shape, x, y):
        update = _column(weight, rows) * rows
        gradient = gradient.at[places].add(update, mode="promise_in_bounds", wrap_negative_indices=False)
    return gradient.reshape(cotangents.shape)


def _flow_gradient_by_places(images: jax.Array, x: _Axis, y: _Axis, cotangents: jax.Array) -> jax.Array:
    rows = _rows(images)

    def difference(
        upper: tuple[jax.Array, jax.Array], lower: tuple[jax.Array, jax.Array], weight: jax.Array
    ) -> jax.Array:
        upper_value, lower_value = (_read(rows, _places(images.shape, *place)) for place in (upper, lower))
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


def _hats(axis: _Axis, size: int) -> jax.Array:
    """What each of `size` pixels weighs in what is read, the second factor of Eq. 4: [..., size]."""
    return _at(axis.lower, axis.lower_weight, size) + _at(axis.upper, axis.upper_weight, size)


def _slopes(axis: _Axis, size: int) -> jax.Array:
    """The derivative of `_hats` with respect to the displacement."""
    return _at(axis.upper, axis.slope, size) - _at(axis.below, axis.slope, size)


def _at(place: jax.Array, value: jax.Array, size: int) -> jax.Array:
    return jnp.where(place[..., None] == jnp.arange(size, dtype=place.dtype), value[..., None], 0)


def _product(formula: str, *arrays: jax.Array) -> jax.Array:
    # Pixels are to come through unchanged, where the default of a TPU rounds them to bfloat16.
    return jnp.einsum(formula, *arrays, precision=jax.lax.Precision.HIGHEST)


def _read_along_x(images: jax.Array, weights: jax.Array) -> jax.Array:
    """[images, height, width, channels, height]: for each pixel what it reads of every row of its image."""
    return _product("nhwx,nycx->nhwcy", weights.astype(images.dtype), jnp.swapaxes(images, 2, 3))


def _interpolation_by_products(images: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    height, width = images.shape[1:3]
    weights = _hats(y, height).astype(images.dtype)
    return jnp.sum(weights[..., None, :] * _read_along_x(images, _hats(x, width)), axis=-1)


def _image_gradient_by_products(cotangents: jax.Array, x: _Axis, y: _Axis) -> jax.Array:
    height, width = cotangents.shape[1:3]
    spread = _hats(x, width).astype(cotangents.dtype)[..., None, :] * cotangents[..., None]
    return _product("nhwcx,nhwy->nyxc", spread, _hats(y, height).astype(cotangents.dtype))


def _flow_gradient_by_products(images: jax.Array, x: _Axis, y: _Axis, cotangents: jax.Array) -> jax.Array:
    height, width = images.shape[1:3]

    def along(of_x: jax.Array, of_y: jax.Array) -> jax.Array:
        weights = of_y.astype(images.dtype)[..., None, :] * cotangents[..., None]
        return jnp.sum(weights * _read_along_x(images, of_x), axis=(-2, -1))

    return jnp.stack([along(_slopes(x, width), _hats(y, height)), along(_hats(x, width), _slopes(y, height))], axis=-1)


_interpolation = _on_its_platform(_interpolation_by_places, _interpolation_by_products)
_image_gradient = _on_its_platform(_image_gradient_by_places, _image_gradient_by_products)
_flow_gradient = _on_its_platform(_flow_gradient_by_places, _flow_gradient_by_products)


@jax.custom_vjp
def _warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    return _interpolation(image, *_axes(flow))


def _forward(image: jax.Array, flow: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _warp(image, flow), (image, flow)


def _backward(residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    image, flow = residuals
    x, y = _axes(flow)
    return _image_gradient(cotangent, x, y), _flow_gradient(image, x, y, cotangent).astype(flow.dtype)


_warp.defvjp(_forward, _backward)
