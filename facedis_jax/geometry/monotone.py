"""Flows that read columns and rows in their order: running sums of positive steps, and an affine map on top."""

import jax
import jax.numpy as jnp

from facedis_jax.geometry.warp import canonical_grid


def monotone_flow(steps: jax.Array) -> jax.Array:
    """The flow whose places are running sums of steps, so that columns and rows are read in their order.

    A pixel's x is its left neighbour's and its own step, its y that of the pixel above and its own step. The mean of
    each row's x, and of each column's y, is the middle of the image; steps of 1 are no flow. With positive steps, x
    grows along every row and y along every column, which rules out all folds but those by a strong shear
    (`metrics.fold_share` counts them).

    Args:
      steps: [..., height, width, 2] in pixels, along x and along y.

    Returns:
      [..., height, width, 2] in pixels, (dx, dy), as `warp` takes it.

    Raises:
      ValueError: for another shape.

    References:
      Shu et al., "Deforming Autoencoders", 2018. There, each row begins at a fixed place left of the image.

    Example:
      >>> flow = monotone_flow(jnp.ones([3, 5, 2]).at[:, 4, 0].set(6.0))
      >>> flow[0, :, 0].tolist()  # the last column is read from five pixels farther right, the mean is kept
      [-1.0, -1.0, -1.0, -1.0, 4.0]
    """
    steps = jnp.asarray(steps)
    if steps.ndim < 3 or steps.shape[-1] != 2:
        raise ValueError(f"steps must be [..., height, width, 2], got shape {steps.shape}")
    off = steps - 1  # what is summed is the flow itself: whole places would lose digits
    x, y = jnp.cumsum(off[..., 0], axis=-1), jnp.cumsum(off[..., 1], axis=-2)
    return jnp.stack([x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-2, keepdims=True)], axis=-1)


def affine_flow(flow: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
    """The flow that reads where an affine map about the image's middle brings the places of a flow.

    Args:
      flow: [..., height, width, 2] in pixels, (dx, dy).
      matrix: [..., 2, 2], of (x, y); with a positive determinant it adds no folds.
      shift: [..., 2] in pixels, of (x, y).

    Example:
      >>> still = jnp.zeros([1, 3, 2])
      >>> affine_flow(still, 2 * jnp.eye(2), jnp.array([0.5, 0.0]))[0, :, 0].tolist()
      [-0.5, 0.5, 1.5]
    """
    height, width = flow.shape[-3:-1]
    grid = canonical_grid(height, width)
    middle = jnp.array([(width - 1) / 2, (height - 1) / 2], flow.dtype)
    places = jnp.einsum("...ij,...hwj->...hwi", matrix, flow + grid - middle, precision=jax.lax.Precision.HIGHEST)
    return places + shift[..., None, None, :] + middle - grid
