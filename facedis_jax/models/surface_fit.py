"""A linear model of faces, fitted to points on a surface: what an encoder sees that depends on no topology."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import farthest_point_sample, k_nearest
from facedis_jax.geometry.batches import batch_under_vmap, one_by_one_on_cpu
from facedis_jax.models.surfaces import Cloud


class LinearSurface(NamedTuple):
    """A linear model of faces, as a surface on which the nearest place is found fast.

    Attributes:
      mean: [vertices, 3], mm.
      basis: [components, vertices, 3], mm, what a code of 1 adds; a code's variance over faces is 1.
      triangles: [triangles, 3].
      places: [places], triangles that lie spread over the mean face.
      near: [places, near], for each of them the triangles among which the nearest to a point is looked for.
    """

    mean: np.ndarray
    basis: np.ndarray
    triangles: np.ndarray
    places: np.ndarray
    near: np.ndarray


class SurfaceFit(NamedTuple):
    """A linear model's face that lies on the points of a cloud.

    Attributes:
      codes: [components], the mode of their posterior.
      pose: [6], rotation vector (radians) and shift (mm) by which the points are displaced from the face.
      spread: standard deviation of the points' distances to the face, mm, as their median tells it.
    """

    codes: jax.Array
    pose: jax.Array
    spread: jax.Array


_PRECISE = jax.lax.Precision.HIGHEST
# In how many neighbourhoods a triangle is, about.
_OVERLAP = 4


def linear_surface(mean: np.ndarray, basis: np.ndarray, triangles: np.ndarray, places: int) -> LinearSurface:
    """The surface of a linear model.

    Args:
      mean: [vertices, 3], mm.
      basis: [components, vertices, 3], mm.
      triangles: [triangles, 3].
      places: how many; at most one on each triangle.
    """
    mean, triangles = np.asarray(mean, np.float32), np.asarray(triangles, np.int32)
    centres = jnp.asarray(mean[triangles].mean(1))
    chosen = farthest_point_sample(centres, min(places, len(triangles)))
    near = k_nearest(centres[chosen], centres, min(-(-_OVERLAP * len(triangles) // len(chosen)), len(triangles)))
    return LinearSurface(
        mean, np.asarray(basis, np.float32), triangles, np.asarray(chosen, np.int32), np.asarray(near, np.int32)
    )


def face_of(codes: jax.Array, surface: LinearSurface) -> jax.Array:
    """The face [vertices, 3] of codes [components], mm."""
    return jnp.asarray(surface.mean) + jnp.tensordot(codes, jnp.asarray(surface.basis), 1, precision=_PRECISE)


def codes_of(face: jax.Array, surface: LinearSurface, *, noise: float = 0.3) -> jax.Array:
    """The codes [components] of a face of the model's topology, the mode of their posterior.

    Args:
      face: [vertices, 3], mm.
      surface: of the model.
      noise: standard deviation of each coordinate, mm.

    Example:
      >>> mean, triangles = np.eye(3), np.array([[0, 1, 2]])
      >>> model = linear_surface(mean, 5 * np.eye(3)[None], triangles, 1)
      >>> print(codes_of(jnp.asarray(mean + 10 * np.eye(3)), model).round(1))
      [2.]
    """
    basis = surface.basis.reshape(len(surface.basis), -1)
    gram = basis.astype(np.float64) @ basis.T.astype(np.float64)
    inverse = jnp.asarray(np.linalg.inv(gram + noise**2 * np.eye(len(basis))), jnp.float32)
    onto = jnp.matmul(jnp.asarray(basis), (face - jnp.asarray(surface.mean)).reshape(-1), precision=_PRECISE)
    return jnp.matmul(inverse, onto, precision=_PRECISE)


# The smallest spread, mm, that is believed at the first step, by what it falls with each, and the smallest of all: a
# face that is bent at once to the places that are nearest at the start would stay there.
_FIRST_SPREAD, _FALL, _LEAST_SPREAD = 8.0, 0.75, 0.1
# Standard deviations of what is left of the pose, radians and mm.
_POSE = np.array([np.deg2rad(0.5)] * 3 + [0.5] * 3, np.float32)
# Points count as independent measurements up to so many: the mesh that they lie on has errors of its own.
_INDEPENDENT = 2000
# Distances of more spreads than this count for little (Geman and McClure).
_FAR = 4.0
# Points that lie further aside of the nearest triangle than its longest edges and this, mm, have no place on the face.
_ASIDE = 8.0
# One in so many points will do for the first half of the steps.
_SOME, _MANY = 4, 1000


def fit_surface(cloud: Cloud, surface: LinearSurface, start: jax.Array | None = None, *, steps: int = 20) -> SurfaceFit:
    """The model's face that lies on the points of a cloud; no gradients.

    In each step the points are taken to lie on the planes of the triangles that are nearest to them, and codes and pose
    become the most probable ones: a Gauss-Newton step of a registration by distances from points to planes (Chen and
    Medioni, "Object Modelling by Registration of Multiple Range Images", 1992), with the model's distribution of faces
    as the prior. A point's distance tells nothing along the surface; what does is that few faces fit all distances.

    Args:
      cloud: that lies where the training faces do, to about half a degree and half a millimetre.
      surface: of the model.
      start: [components], codes of a face that is nearly right; one step or two will do from there. None for the mean
        face.
      steps: how many.
    """
    points, weights = (jnp.asarray(part, jnp.float32) for part in cloud)
    begun = jnp.zeros(len(surface.basis)) if start is None else start
    fit = batch_under_vmap(one_by_one_on_cpu(partial(_fit, surface, steps, start is None)))
    found = fit(*(jax.lax.stop_gradient(part) for part in (points, weights, begun)))
    return SurfaceFit(found[:-7], found[-7:-1], found[-1])


def _fit(
    surface: LinearSurface, steps: int, is_far: bool, points: jax.Array, weights: jax.Array, codes: jax.Array
) -> jax.Array:
    """Codes, pose and spread of one cloud, [components + 7]."""
    least = np.maximum(_FIRST_SPREAD * _FALL ** np.arange(steps), _LEAST_SPREAD)
    least = jnp.asarray(least if is_far else np.full(steps, _LEAST_SPREAD), jnp.float32)
    rough = steps // 2 if is_far and len(points) >= _MANY else 0
    # By rows of three numbers in a line, not of one number in three: rows are what is gathered.
    added = jnp.asarray(np.ascontiguousarray(surface.basis.transpose(1, 2, 0)))
    state = jnp.concatenate([codes, jnp.zeros(7)])

    def stepped(some: slice) -> Callable[[Any, jax.Array], jax.Array]:
        return lambda i, state: _step(surface, added, points[some], weights[some], state, least[i])

    state = jax.lax.fori_loop(0, rough, stepped(slice(None, None, _SOME)), state)
    return jax.lax.fori_loop(rough, steps, stepped(slice(None)), state)


# Compiled into what calls it, and traced once for all programs of a run that fit clouds of as many points.
@jax.jit
def _step(
    surface: LinearSurface,
    added: jax.Array,
    points: jax.Array,
    weights: jax.Array,
    state: jax.Array,
    least: jax.Array,
) -> jax.Array:
    """One step of `fit_surface`, from codes, pose and spread to better ones."""
    codes, pose = state[:-7], state[-7:-1]
    moved = points - jnp.cross(pose[:3], points) - pose[3:]
    nearest = _nearest(moved, face_of(codes, surface), surface)
    counts = jnp.where(nearest.aside < _ASIDE, weights, 0)
    number = jnp.maximum((counts > 0).sum(), 1)
    # Distances of the points that count come first.
    ordered = jnp.sort(jnp.where(counts > 0, jnp.abs(nearest.distance), jnp.inf))
    spread = jnp.maximum(_MEDIAN_TO_DEVIATION * ordered[number // 2], least)
    spread = jnp.where(jnp.isfinite(spread), spread, least)
    robust = 1 / jnp.square(1 + jnp.square(nearest.distance / (_FAR * spread)))
    precision = counts * robust * jnp.minimum(1, _INDEPENDENT / number) / spread**2
    # What a code adds at a point is what it adds at the corners, in the parts that these have in it.
    there = sum(nearest.parts[:, i, None, None] * added[nearest.corners[:, i]] for i in range(3))
    turned = jnp.concatenate([jnp.cross(moved, nearest.normal), nearest.normal], axis=1) * _POSE
    slopes = jnp.concatenate([(nearest.normal[:, :, None] * there).sum(1), turned], axis=1)
    before = jnp.concatenate([codes, pose / _POSE])
    wanted = nearest.distance + jnp.matmul(slopes, before, precision=_PRECISE)
    weighted = slopes * precision[:, None]
    matrix = jnp.matmul(weighted.T, slopes, precision=_PRECISE) + jnp.eye(slopes.shape[1])
    right = jnp.matmul(wanted, weighted, precision=_PRECISE)
    found = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix), right)
    return jnp.concatenate([found[:-6], found[-6:] * _POSE, spread[None]])


# Of a normal distribution.
_MEDIAN_TO_DEVIATION = 1.4826


class _Nearest(NamedTuple):
    """The places of a face on which points lie nearly.

    Attributes:
      corners: [points, 3], vertices of each point's triangle.
      parts: [points, 3], of which parts of them the place is made.
      normal: [points, 3].
      distance: [points] along the normal, mm.
      aside: [points], how much further the point lies from the triangle's centre along its plane than its edges, mm.
    """

    corners: jax.Array
    parts: jax.Array
    normal: jax.Array
    distance: jax.Array
    aside: jax.Array


def _nearest(points: jax.Array, face: jax.Array, surface: LinearSurface) -> _Nearest:
    """For points [points, 3] the triangles whose centres are nearest, among those around the nearest place."""
    triangles = jnp.asarray(surface.triangles)
    centres = face[triangles].mean(1)
    places = centres[jnp.asarray(surface.places)]
    squares = (places**2).sum(1) - 2 * jnp.matmul(points, places.T, precision=_PRECISE)
    candidates = jnp.asarray(surface.near)[_argmin(squares)]
    distances = jnp.square(points[:, None] - centres[candidates]).sum(-1)
    chosen = jnp.take_along_axis(candidates, _argmin(distances)[:, None], axis=1)[:, 0]
    corners = triangles[chosen]
    first, second, third = (face[corners[:, i]] for i in range(3))
    along, across, to_point = second - first, third - first, points - first
    crossed = jnp.cross(along, across)
    size = jnp.maximum(jnp.square(crossed).sum(1), 1e-12)
    normal = crossed / jnp.sqrt(size)[:, None]
    distance = (to_point * normal).sum(1)
    # Places beside the triangle are taken as on its edge, or what a code adds would be carried on without end.
    second_part = jnp.clip((jnp.cross(to_point, across) * crossed).sum(1) / size, 0, 1)
    third_part = jnp.clip((jnp.cross(along, to_point) * crossed).sum(1) / size, 0, 1)
    parts = jnp.stack([1 - second_part - third_part, second_part, third_part], axis=1)
    aside = jnp.sqrt(jnp.maximum(jnp.square(points - centres[chosen]).sum(1) - distance**2, 0))
    edge = jnp.sqrt(jnp.maximum(jnp.square(along).sum(1), jnp.square(across).sum(1)))
    return _Nearest(corners, parts, normal, distance, aside - edge)


def _argmin(rows: jax.Array) -> jax.Array:
    """Index of the smallest number of each row; on CPUs 3.5 times as fast as `jnp.argmin`, which carries indices."""
    return jnp.argmax(rows <= rows.min(axis=1, keepdims=True), axis=1)
