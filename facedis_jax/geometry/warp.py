"""Warping an image along a field of displacements, with a gradient that is of use everywhere."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


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
      ValueError: where the shapes do not fit or the image is not floating.

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
    """Where one axis is read, [height, width] each: the two neighbours, their weights, and how to differentiate.

    The derivative is (image[upper] - image[below]) * slope: the difference of the neighbours, except at integer
    coordinates, where `below` is the pixel before `lower` and `slope` is 1/2.
    """

    lower: jax.Array
    upper: jax.Array
    below: jax.Array
    lower_weight: jax.Array
    upper_weight: jax.Array
    slope: jax.Array


def _axis(position: jax.Array, displacement: jax.Array, size: int) -> _Axis:
    # Taking floors of the displacement, not of the coordinate, loses no digits however large the image. Clipped
    # one pixel past the farthest border, where all is constant, it fits an integer whatever it is.
    displacement = jnp.clip(
        displacement.astype(jnp.promote_types(displacement.dtype, jnp.float32)), -size - 1, size + 1
    )
    floor, ceil = jnp.floor(displacement), jnp.ceil(displacement)
    lower, ceiling = position + floor.astype(jnp.int32), position + ceil.astype(jnp.int32)
    fraction = displacement - floor
    return _Axis(
        lower=jnp.clip(lower, 0, size - 1),
        upper=jnp.clip(lower + 1, 0, size - 1),
        below=jnp.clip(ceiling - 1, 0, size - 1),
        lower_weight=1 - fraction,
        upper_weight=fraction,
        slope=jnp.where(floor == ceil, 0.5, 1.0).astype(fraction.dtype),
    )


def _axes(flow: jax.Array) -> tuple[_Axis, _Axis]:
    height, width = flow.shape[:2]
    x = _axis(jnp.arange(width, dtype=jnp.int32)[None, :], flow[..., 0], width)
    y = _axis(jnp.arange(height, dtype=jnp.int32)[:, None], flow[..., 1], height)
    return x, y


def _corners(x: _Axis, y: _Axis) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    return [
        (y.lower, x.lower, y.lower_weight * x.lower_weight),
        (y.lower, x.upper, y.lower_weight * x.upper_weight),
        (y.upper, x.lower, y.upper_weight * x.lower_weight),
        (y.upper, x.upper, y.upper_weight * x.upper_weight),
    ]


def _gather(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    return image.at[y, x].get(mode="promise_in_bounds")


@jax.custom_vjp
def _warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    terms = [_gather(image, y, x) * weight[..., None].astype(image.dtype) for y, x, weight in _corners(*_axes(flow))]
    return (terms[0] + terms[1]) + (terms[2] + terms[3])


def _forward(image: jax.Array, flow: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _warp(image, flow), (image, flow)


def _backward(residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    image, flow = residuals
    x, y = _axes(flow)
    return _image_gradient(image, x, y, cotangent), _flow_gradient(image, x, y, cotangent).astype(flow.dtype)


def _image_gradient(image: jax.Array, x: _Axis, y: _Axis, cotangent: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    # One after another into one flat image: on a CPU three to five times as fast as one scatter of all four, as a
    # scatter by row and column, and as what transposing the gathers gives.
    gradient = jnp.zeros((height * width, channels), image.dtype)
    for row, column, weight in _corners(x, y):
        update = weight[..., None].astype(image.dtype) * cotangent
        gradient = gradient.at[row * width + column].add(update, mode="promise_in_bounds")
    return gradient.reshape(image.shape)


def _flow_gradient(image: jax.Array, x: _Axis, y: _Axis, cotangent: jax.Array) -> jax.Array:
    def difference(
        upper: tuple[jax.Array, jax.Array], lower: tuple[jax.Array, jax.Array], weight: jax.Array
    ) -> jax.Array:
        return (_gather(image, *upper) - _gather(image, *lower)) * weight[..., None].astype(image.dtype)

    along_x = difference((y.lower, x.upper), (y.lower, x.below), y.lower_weight * x.slope) + difference(
        (y.upper, x.upper), (y.upper, x.below), y.upper_weight * x.slope
    )
    along_y = difference((y.upper, x.lower), (y.below, x.lower), x.lower_weight * y.slope) + difference(
        (y.upper, x.upper), (y.below, x.upper), x.upper_weight * y.slope
    )
    # Fused with the gathers, the short sum over the channels is what takes the time on a CPU: behind a barrier and
    # as a product with ones it takes a tenth.
    products = jax.lax.optimization_barrier((along_x * cotangent, along_y * cotangent))
    ones = jnp.ones(image.shape[-1], image.dtype)
    return jnp.stack([jnp.matmul(p, ones, precision=jax.lax.Precision.HIGHEST) for p in products], axis=-1)


_warp.defvjp(_forward, _backward)
