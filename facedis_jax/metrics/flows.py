"""How torn or bent flows are, and how near canonical images come to true ones up to one smooth warp of them all."""

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import canonical_grid, warp


def fold_share(flow: jax.Array) -> jax.Array:
    """Share of pixels where a flow folds: where the Jacobian determinant of the warp is 0 or less; ours.

    The determinant is that of differences between a pixel's place and those of the next pixels to the right and below.

    Args:
      flow: displacements in pixels, [..., height, width, 2], (dx, dy).

    Returns:
      [...], from 0 to 1.

    Raises:
      ValueError: for another shape, or fewer than two pixels along either axis.

    Example:
      The right half of a row is read backwards.

      >>> flow = jnp.zeros([2, 5, 2]).at[:, :, 0].set(jnp.array([0.0, 0.0, 0.0, -2.0, -4.0]))
      >>> print(fold_share(flow))
      0.5
    """
    places = _checked(flow, 2) + canonical_grid(*flow.shape[-3:-1])
    along_x = (places[..., 1:, :] - places[..., :-1, :])[..., :-1, :, :]
    along_y = (places[..., 1:, :, :] - places[..., :-1, :, :])[..., :-1, :]
    determinant = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    return jnp.mean(determinant <= 0, axis=(-2, -1))


def bending_energy(flow: jax.Array) -> jax.Array:
    """Bending energy of a flow: the mean over pixels of its squared second derivatives, in pixels^-2; ours.

    dxx^2 + 2 dxy^2 + dyy^2 of both components, by differences; 0 for a shift, a scaling, a shear or a rotation.

    Args:
      flow: as of `fold_share`, of three pixels or more along either axis.

    Returns:
      [...].

    Raises:
      ValueError: for another shape.

    Example:
      >>> x = jnp.arange(4.0)
      >>> parabola = jnp.zeros([4, 4, 2]).at[:, :, 0].set(0.5 * x**2)
      >>> print(bending_energy(parabola))
      1.0
    """
    flow = _checked(flow, 3)
    xx = flow[..., 1:-1, 2:, :] - 2 * flow[..., 1:-1, 1:-1, :] + flow[..., 1:-1, :-2, :]
    yy = flow[..., 2:, 1:-1, :] - 2 * flow[..., 1:-1, 1:-1, :] + flow[..., :-2, 1:-1, :]
    xy = (flow[..., 2:, 2:, :] - flow[..., 2:, :-2, :] - flow[..., :-2, 2:, :] + flow[..., :-2, :-2, :]) / 4
    squares = xx**2 + 2 * xy**2 + yy**2
    return jnp.mean(jnp.sum(squares, axis=-1), axis=(-2, -1))


def _checked(flow: jax.Array, least: int) -> jax.Array:
    flow = jnp.asarray(flow)
    if flow.ndim < 3 or flow.shape[-1] != 2 or min(flow.shape[-3:-1]) < least:
        raise ValueError(f"flow must be [..., height, width, 2] of {least} pixels or more, got shape {flow.shape}")
    return flow


def canonical_error(canonical: np.ndarray, truth: np.ndarray, *, points: int = 8) -> tuple[float, np.ndarray]:
    """How far canonical images are from true ones, as a share of the latter's variance, and the warp between them.

    Ours, for images whose truth is known. A model may draw its canonical images in any frame, so one smooth warp, the
    same for all images, is fitted first: a flow that is interpolated linearly between `points` x `points`
    displacements, by Gauss-Newton steps on the squared error. The variance is that over images, of each pixel: 1 is
    what the mean of the true images would have.

    Args:
      canonical, truth: [images, height, width, channels], in one range; image i of both shows the same.
      points: along either axis.

    Returns:
      The mean squared error over the variance, and the flow [height, width, 2].

    Raises:
      ValueError: where the shapes differ, or the true images do not.

    Example:
      >>> truth = np.random.default_rng(0).uniform(size=[3, 16, 16, 1]).astype(np.float32)
      >>> print(round(canonical_error(truth, truth)[0], 6))
      0.0
    """
    canonical, truth = np.asarray(canonical, np.float32), np.asarray(truth, np.float32)
    if canonical.shape != truth.shape or truth.ndim != 4:
        raise ValueError(
            f"canonical and truth must be [images, height, width, channels] alike, got shapes {canonical.shape} and "
            f"{truth.shape}"
        )
    variance = float(truth.var(axis=0, dtype=np.float64).mean())
    if not variance > 0:
        raise ValueError("true images must differ from each other")
    height, width = truth.shape[1:3]
    flow = np.zeros((height, width, 2))
    for number in (2, 4, points):  # coarse ones first, so that the whole is in place before its parts
        basis = _hats(height, number)[:, None, :, None] * _hats(width, number)[None, :, None, :]
        flow = _fitted_flow(canonical, truth, flow, basis.reshape(height * width, number * number))
    return _squared_difference(canonical, truth, flow) / variance, flow.astype(np.float32)


_STEPS = 12  # of Gauss-Newton at each number of points
_RIDGE = 1e-3  # of the mean curvature, so that points in plain background stay where they are


def _hats(size: int, number: int) -> np.ndarray:
    """Weights [size, number] of linear interpolation between evenly spaced points."""
    return np.maximum(0, 1 - np.abs(np.linspace(0, number - 1, size)[:, None] - np.arange(number)))


@jax.jit
def _warped(images: jax.Array, flow: jax.Array) -> jax.Array:
    return jax.vmap(warp, in_axes=(0, None))(images, flow)


def _squared_difference(canonical: np.ndarray, truth: np.ndarray, flow: np.ndarray) -> float:
    warped = np.asarray(_warped(canonical, jnp.asarray(flow, jnp.float32)))
    return float(np.mean(np.square(warped - truth), dtype=np.float64))


def _fitted_flow(canonical: np.ndarray, truth: np.ndarray, flow: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The flow after damped Gauss-Newton steps on the displacements of points whose weights are `basis`."""
    error, damping, number = _squared_difference(canonical, truth, flow), 1e-2, basis.shape[1]
    for _ in range(_STEPS):
        warped = np.asarray(_warped(canonical, jnp.asarray(flow, jnp.float32)))
        slopes = np.stack(np.gradient(warped, axis=(2, 1)), axis=-1).reshape(len(warped), -1, warped.shape[-1], 2)
        residual = (truth - warped).reshape(len(warped), -1, warped.shape[-1])
        curvature = np.einsum("npca,npcb->pab", slopes, slopes, dtype=np.float64)
        force = np.einsum("npca,npc->pa", slopes, residual, dtype=np.float64)
        normal = np.einsum("pi,pab,pj->iajb", basis, curvature, basis, optimize=True).reshape(2 * number, 2 * number)
        pull = np.einsum("pi,pa->ia", basis, force).reshape(-1)
        ridge = max(np.trace(normal) / len(normal), 1e-12)
        while damping < 1e6:
            system = normal + ridge * (_RIDGE + damping) * np.eye(len(normal))
            step = (basis @ np.linalg.solve(system, pull).reshape(number, 2)).reshape(flow.shape)
            tried = _squared_difference(canonical, truth, flow + step)
            if tried < error:
                break
            damping *= 4
        else:
            break
        gain, flow, error, damping = error - tried, flow + step, tried, damping / 4
        if gain < 1e-4 * error:
            break
    return flow
