"""Optical flow by least squares in windows, without learning: how one image is warped into another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry.warp import warp


def optical_flow(
    source: jax.Array,
    target: jax.Array,
    *,
    windows: tuple[float, ...] = (4.0, 2.0, 1.5),
    steps: int = 4,
    damping: float = 1e-3,
) -> jax.Array:
    """The flow by which `warp` makes one image like another, [height, width, 2] in pixels, (dx, dy).

    Lucas and Kanade's least squares around each pixel, weighted by a Gaussian window, of all channels together; again
    and again of the image as it is warped by then, in windows from wide to narrow. Where a window shows nothing, the
    damping keeps the flow as it was.

    Args:
      source: [height, width, channels], floating.
      target: of the same shape.
      windows: standard deviations of the Gaussian windows in pixels, one after the other.
      steps: of each window.
      damping: added to the squared slopes of a pixel, in squared units of the images' values; fits values in [0, 1].

    Returns:
      [height, width, 2], as `warp` takes it with the source.

    Raises:
      ValueError: where the shapes do not fit, or an image is not floating.

    References:
      Lucas and Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision", 1981.

    Example:
      >>> x, y = jnp.meshgrid(jnp.arange(24.0), jnp.arange(24.0))
      >>> blob = lambda middle: jnp.exp(-((x - middle) ** 2 + (y - 12) ** 2) / 20)[..., None]
      >>> flow = jax.jit(optical_flow)(blob(12), blob(13))
      >>> print(flow[12, 13].round(1) + 0)  # the target's blob is read a pixel to the left
      [-1.  0.]
    """
    source, target = jnp.asarray(source), jnp.asarray(target)
    if source.ndim != 3 or source.shape != target.shape:
        raise ValueError(
            f"source and target must be [height, width, channels], got shapes {source.shape} and {target.shape}"
        )
    if not (jnp.issubdtype(source.dtype, jnp.floating) and jnp.issubdtype(target.dtype, jnp.floating)):
        raise ValueError(f"images must be of floating dtype, got {source.dtype} and {target.dtype}")
    flow = jnp.zeros((*source.shape[:2], 2), source.dtype)
    for window in windows:
        rows, columns = (_window_matrix(size, window).astype(source.dtype) for size in source.shape[:2])
        step = partial(_step, source=source, target=target, rows=rows, columns=columns, damping=damping)
        flow = jax.lax.fori_loop(0, steps, lambda _, flow, step=step: step(flow), flow)
    return flow


def _step(
    flow: jax.Array, *, source: jax.Array, target: jax.Array, rows: np.ndarray, columns: np.ndarray, damping: float
) -> jax.Array:
    """The flow after one step of least squares in every window."""
    warped = warp(source, flow)
    # Slopes of both images: errors of either cancel.
    down, right = (jnp.asarray(jnp.gradient((warped + target) / 2, axis=axis)) for axis in (0, 1))
    missing = target - warped
    products = [right * right, right * down, down * down, right * missing, down * missing]
    sums = jnp.stack([product.sum(-1) for product in products])
    xx, xy, yy, x, y = jnp.einsum("rs,nsc,dc->nrd", rows, sums, columns, precision=jax.lax.Precision.HIGHEST)
    xx, yy = xx + damping, yy + damping
    determinant = xx * yy - xy * xy
    return flow + jnp.stack([yy * x - xy * y, xx * y - xy * x], -1) / determinant[..., None]


def _window_matrix(size: int, deviation: float) -> np.ndarray:
    """[size, size]: Gaussian weights of the pixels of a line around each of them, which sum to 1."""
    place = np.arange(size)
    weights = np.exp(-(((place[:, None] - place) / deviation) ** 2) / 2)
    return weights / weights.sum(1, keepdims=True)
