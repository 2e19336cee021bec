"""The surface that a cloud of points lies on, as it is seen from fixed places, however dense the points lie."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.geometry import farthest_point_sample, k_nearest, sample_surface
from facedis_jax.geometry.batches import batch_under_vmap, one_by_one_on_cpu


@dataclass(frozen=True)
class SurfaceConfig:
    """From where a surface is seen, and how much of it.

    Attributes:
      anchors: places on the mean face, spread evenly; 0 to see the points themselves, as the paper.
      widths: standard deviations, in mm, of the windows around each anchor's normal. A narrow one sees details, a wide
        one is steady where points are few.
      depth: that of the windows along the normal, in mm: an eyelid is not to see the eye behind it, and a mouth that
        opens has to stay in sight.
      looks: 1 to see it from the mean face's anchors; 2 to look again from those of the linear model's face that the
        first look gives, where heights are small and windows lie where they belong.

    Raises:
      InputError: for fewer than no anchors, no widths, or lengths that are not positive.
    """

    anchors: int = 0
    widths: tuple[float, ...] = (4.0, 10.0)
    depth: float = 15.0
    looks: int = 1

    def __post_init__(self) -> None:
        check_least(self, anchors=0)
        if self.looks not in (1, 2):
            raise InputError("looks", "1 or 2", str(self.looks))
        if not self.widths or min(*self.widths, self.depth) <= 0:
            raise InputError("widths", "one positive length or more, and a positive depth", f"{self.widths}")


class Anchors(NamedTuple):
    """Places from which a surface is seen.

    Attributes:
      places: [anchors, 3], mm.
      frames: [anchors, 3, 3], orthonormal rows: two tangents and the normal.
    """

    places: jax.Array | np.ndarray
    frames: jax.Array | np.ndarray


class SeenSurface(NamedTuple):
    """A surface as it is seen from the anchors.

    Attributes:
      points: [anchors, 3], where each anchor's normal meets the surface, mm; the anchor itself where nothing is seen.
      relief: [anchors, 3 * widths + 1]: of each window the surface's height over the anchor and how much it rises along
        either tangent over the window's width, mm; at last how much of the surface is seen, from 0 to 1.
    """

    points: jax.Array
    relief: jax.Array


def anchors_on(vertices: np.ndarray, triangles: np.ndarray, count: int) -> Anchors:
    """Anchors on a mesh, vertices of it that lie far from each other.

    Args:
      vertices: [vertices, 3], mm.
      triangles: [triangles, 3].
      count: how many, at most as many as there are vertices.

    Raises:
      ValueError: there are fewer vertices.
    """
    chosen = np.asarray(farthest_point_sample(jnp.asarray(vertices, jnp.float32), count))
    corners = np.asarray(vertices, np.float64)[triangles]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros(np.shape(vertices))
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], crossed)
    normal = normals[chosen]
    # Vertices of no triangle look along z, as the face does.
    normal[np.linalg.norm(normal, axis=1) == 0] = (0, 0, 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # The axis to which the normal is the least parallel.
    aside = np.eye(3)[np.abs(normal).argmin(axis=1)]
    first = np.cross(normal, aside)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    frames = np.stack([first, np.cross(normal, first), normal], axis=1)
    return Anchors(np.asarray(vertices, np.float32)[chosen], frames.astype(np.float32))


_PRECISE = jax.lax.Precision.HIGHEST


class Rig(NamedTuple):
    """Anchors that move with a linear model of faces.

    Attributes:
      mean: [anchors, 5, 3] mm, of each anchor its place on the mean face and those of four vertices around it, at the
        ends of two lines that cross in it.
      basis: [codes, anchors, 5, 3] mm, what a code of 1 adds.
      side: [anchors], 1 or -1, to which side of both lines the face looks.
    """

    mean: jax.Array | np.ndarray
    basis: jax.Array | np.ndarray
    side: jax.Array | np.ndarray


def rig_of(anchors: Anchors, vertices: np.ndarray, basis: np.ndarray, *, reach: float = 6.0) -> Rig:
    """The rig of anchors on a mean face.

    Args:
      anchors: on the mean face, each at a vertex of it.
      vertices: [vertices, 3] mm, the mean face.
      basis: [codes, vertices, 3] mm, what a code of 1 adds to it.
      reach: distance in mm at which vertices are looked for along an anchor's tangents.
    """
    places, frames = (np.asarray(part, np.float64) for part in anchors)
    ends = [np.zeros_like(places), *(sign * reach * frames[:, axis] for axis in (0, 1) for sign in (1, -1))]
    wanted = jnp.asarray((places[:, None] + np.stack(ends, axis=1)).reshape(-1, 3), jnp.float32)
    nearest = np.asarray(k_nearest(wanted, jnp.asarray(vertices, jnp.float32), 1))[:, 0]
    mean, moves = (np.asarray(array, np.float32)[..., nearest, :] for array in (vertices, basis))
    rig = Rig(mean.reshape(-1, 5, 3), moves.reshape(len(basis), -1, 5, 3), np.ones(len(places), np.float32))
    side = np.sign(np.sum(np.asarray(anchors_of(rig, jnp.zeros(len(basis))).frames)[:, 2] * frames[:, 2], axis=1))
    return rig._replace(side=np.where(side < 0, -1, 1).astype(np.float32))


def anchors_of(rig: Rig, codes: jax.Array) -> Anchors:
    """The anchors on the face of some codes [codes]."""
    moved = jnp.tensordot(codes, jnp.asarray(rig.basis), 1, precision=_PRECISE)
    spots = jnp.asarray(rig.mean) + moved
    along, across = spots[:, 1] - spots[:, 2], spots[:, 3] - spots[:, 4]
    normal = _unit(jnp.cross(along, across) * jnp.asarray(rig.side)[:, None], jnp.array([0.0, 0, 1]))
    first = _unit(along - (along * normal).sum(1, keepdims=True) * normal, jnp.array([1.0, 0, 0]))
    return Anchors(spots[:, 0], jnp.stack([first, jnp.cross(normal, first), normal], axis=1))


def _unit(vectors: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Vectors [..., 3] of length 1, and another one where they have none."""
    length = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return jnp.where(length > 1e-6, vectors / jnp.maximum(length, 1e-6), otherwise)


# Beside the sums over a window: what a window without points is taken to show, the mean face, at the weight of so many
# points in its middle, and slopes at that of so large a part of its points.
_NO_POINTS = 0.1
_FLAT = 0.05


def see_surface(
    points: jax.Array | np.ndarray, weights: jax.Array | np.ndarray, anchors: Anchors, config: SurfaceConfig
) -> SeenSurface:
    """The surface under a cloud of points, seen from anchors.

    In each window, a biweight of the distances, a plane is fitted to the points by weighted least squares, as height
    over two tangents. Unlike a mean over the points, such a plane does not follow where they lie denser (Fan,
    "Design-adaptive nonparametric regression", 1992), and scanning noise cancels in it. There are no gradients.

    Args:
      points: [points, 3], mm, brought to the place of the anchors.
      weights: [points], 0 for points that are not there, else the area that each stands for, in any unit.
      anchors: from where.
      config: the windows.

    Example:
      >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(-30.0, 30), jnp.arange(-30.0, 30)), -1).reshape(-1, 2)
      >>> plane = jnp.concatenate([grid, 2 + 0.1 * grid[:, :1]], axis=1)
      >>> anchors = Anchors(jnp.zeros((1, 3)), jnp.eye(3)[None])
      >>> seen = see_surface(plane, jnp.ones(len(plane)), anchors, SurfaceConfig(1, (6.0,)))
      >>> print([f"{abs(x):.2f}" for x in seen.relief[0]], seen.points.round(1))
      ['2.00', '0.57', '0.00', '1.00'] [[0. 0. 2.]]
    """
    given = [jnp.asarray(array, jnp.result_type(points)) for array in (points, weights, *anchors)]
    each = batch_under_vmap(one_by_one_on_cpu(partial(_relief, config)))
    relief = each(*jax.lax.stop_gradient(given))
    places, frames = given[2:]
    return SeenSurface(places + relief[:, :1] * frames[:, 2], relief)


def _relief(
    config: SurfaceConfig, points: jax.Array, weights: jax.Array, places: jax.Array, frames: jax.Array
) -> jax.Array:
    """`SeenSurface.relief` of one cloud."""
    normals = frames[:, 2]
    distance = (places**2).sum(1)[:, None] - 2 * jnp.matmul(places, points.T, precision=_PRECISE) + (points**2).sum(1)
    height = jnp.matmul(normals, points.T, precision=_PRECISE) - (normals * places).sum(1)[:, None]
    aside = jnp.maximum(distance - height**2, 0)
    squares = (points[:, :, None] * points[:, None, :]).reshape(len(points), 9)
    sums = weights[:, None] * jnp.concatenate([jnp.ones_like(points[:, :1]), points, squares], axis=1)
    # Of weights of any unit: so that a window of the usual number of points has a weight of that number.
    sums = sums * ((weights > 0).sum() / jnp.maximum(weights.sum(), jnp.finfo(weights.dtype).tiny))
    columns = []
    # A biweight has the variance of a normal distribution where it reaches to the root of 7 of its deviations.
    deep = jnp.maximum(1 - height**2 / (7 * config.depth**2), 0)
    for width in config.widths:
        window = jnp.square(jnp.maximum(1 - aside / (7 * width**2), 0) * deep)
        plane, mass = _plane(jnp.matmul(window, sums, precision=_PRECISE), places, frames, width)
        columns.append(plane)
    return jnp.concatenate([*columns, (mass / (mass + 1))[:, None]], axis=1)


def _plane(sums: jax.Array, places: jax.Array, frames: jax.Array, width: float) -> tuple[jax.Array, jax.Array]:
    """Height and both slopes times the width, [anchors, 3], of the planes in windows of such sums [anchors, 13]."""
    mass, first, second = sums[:, 0], sums[:, 1:4], sums[:, 4:].reshape(-1, 3, 3)
    # About the anchors, in their frames.
    outer = places[:, :, None] * first[:, None, :]
    second = second - outer - outer.swapaxes(1, 2) + mass[:, None, None] * places[:, :, None] * places[:, None, :]
    first = jnp.einsum("aij,aj->ai", frames, first - mass[:, None] * places)
    second = jnp.einsum("aij,ajk,alk->ail", frames, second, frames)
    # Normal equations of height = c0 + c1 u / width + c2 v / width, with weak pulls to height 0 and slopes 0.
    design = jnp.concatenate([mass[:, None], first[:, :2] / width], axis=1)
    rows = jnp.concatenate([first[:, :2, None] / width, second[:, :2, :2] / width**2], axis=2)
    matrix = jnp.concatenate([design[:, None], rows], axis=1)
    pull = jnp.stack([jnp.full_like(mass, _NO_POINTS), *2 * [_NO_POINTS + _FLAT * mass]], axis=1)
    right = jnp.concatenate([first[:, 2:], second[:, :2, 2] / width], axis=1)
    matrix = matrix + pull[:, :, None] * jnp.eye(3)
    return _solve_3(matrix, right), mass


def _solve_3(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solutions [batch, 3] of symmetric systems [batch, 3, 3], by Cramer's rule, which no back end loops over."""
    a, b, c = matrix[:, 0], matrix[:, 1], matrix[:, 2]
    cofactors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    determinant = (a * cofactors[:, 0]).sum(1)
    return jnp.einsum("bij,bi->bj", cofactors, right) / determinant[:, None]


@dataclass(frozen=True)
class CloudConfig:
    """Clouds of points as scanners give them, drawn anew from a mesh's surface whenever it is learned from.

    Attributes:
      points: that are drawn; 0 to learn from the vertices, as the paper.
      least: of these, how many are left at least; how many are is drawn evenly in its logarithm.
      noise: largest standard deviation of scanning noise, mm; that of a cloud is drawn evenly, as the sizes below.
      hole: largest radius of a hole, mm.
      border: largest part of the points that a cut across the face takes away.
      uneven: largest ratio between how dense the points lie at one end of the face and at the other.
      tilt: standard deviation of a rotation about each axis, degrees, by which the pose is wrong.
      shift: that of a displacement along each axis, mm.

    Raises:
      InputError: for numbers out of their range.
    """

    points: int = 0
    least: int = 700
    noise: float = 0.4
    hole: float = 15.0
    border: float = 0.1
    uneven: float = 3.0
    tilt: float = 0.5
    shift: float = 0.3

    def __post_init__(self) -> None:
        check_least(self, points=0, least=1, noise=0, hole=0, border=0, uneven=1, tilt=0, shift=0)
        if self.points and self.points < self.least:
            raise InputError("least", f"at most the {self.points} points that are drawn", str(self.least))
        if self.border >= 1:
            raise InputError("border", "less than 1", str(self.border))


class Cloud(NamedTuple):
    """Points on a surface.

    Attributes:
      points: [points, 3]; where one is missing stands another one.
      weights: [points], 0 where one is missing and 1 elsewhere.
    """

    points: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray


def draw_cloud(key: jax.Array, vertices: jax.Array, triangles: jax.Array, config: CloudConfig) -> Cloud:
    """A cloud from a mesh's surface.

    Args:
      key: typed PRNG key.
      vertices: [vertices, 3], mm.
      triangles: [triangles, 3].
      config: what the clouds are like, `points` not 0.

    Example:
      >>> square = jnp.array([[0.0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0]])
      >>> cloud = draw_cloud(jax.random.key(0), square, jnp.array([[0, 1, 2], [0, 2, 3]]), CloudConfig(points=1000))
      >>> cloud.points.shape, bool(cloud.weights.sum() < 1000)
      ((1000, 3), True)
    """
    keys = jax.random.split(key, 5)
    points = sample_surface(keys[0], vertices, triangles, config.points)
    size = jax.random.uniform(keys[1], (5,))
    order = jnp.arange(config.points)
    left = order < config.least * (config.points / config.least) ** size[0]
    left &= jnp.square(points - points[0]).sum(1) > (config.hole * size[1]) ** 2
    # Along two directions: where the points begin, as parts of the way over the face, and how dense they lie.
    directions = jax.random.normal(keys[2], (2, 3))
    along = jnp.matmul(points, directions.T, precision=_PRECISE)
    along = (along - along.min(0)) / jnp.maximum(along.max(0) - along.min(0), jnp.finfo(along.dtype).tiny)
    left &= along[:, 0] >= config.border * size[2]
    ratio = config.uneven ** size[3]
    left &= jax.random.uniform(keys[3], (config.points,)) * ratio < 1 + (ratio - 1) * along[:, 1]
    # Never none: the first points stay, whatever is cut.
    left |= order < _LEFT_ALWAYS
    moves = jax.random.normal(keys[4], (config.points + 2, 3))
    noise = config.noise * size[4] * moves[2:]
    turn, shift = jnp.deg2rad(config.tilt) * moves[0], config.shift * moves[1]
    points = points + noise + jnp.cross(turn, points) + shift
    return Cloud(jnp.where(left[:, None], points, points[order % _LEFT_ALWAYS]), left.astype(points.dtype))


# Of the points that are drawn, which are in random order.
_LEFT_ALWAYS = 32
