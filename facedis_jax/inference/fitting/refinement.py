"""Codes and pose of a face that is about in its place: Gauss-Newton on robust distances between both surfaces."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from facedis_jax.geometry import (
    closest_on_surface,
    farthest_point_sample,
    nearest_both_ways,
    rotation_matrix,
    triangle_rings,
    vertex_normals,
)
from facedis_jax.inference.fitting.placement import Pose

_PRECISE = jax.lax.Precision.HIGHEST


class Template(NamedTuple):
    """What a model's topology is, for all scans.

    Attributes:
      triangles: [triangles, 3].
      rings: [vertices, ring] triangles around each vertex.
      border: [vertices] 1 on the rim of the mesh and of its holes, 0 elsewhere.
      looking: [looking] vertices that look for the scan, spread evenly.
      around: [looking, near] vertices, those to which each of these is the nearest that looks, and their neighbours.
    """

    triangles: jax.Array | np.ndarray
    rings: jax.Array | np.ndarray
    border: jax.Array | np.ndarray
    looking: jax.Array | np.ndarray
    around: jax.Array | np.ndarray


_MOST_AROUND = 40


def template_of(vertices: np.ndarray, triangles: np.ndarray, looking: int) -> Template:
    """The template of a mesh [vertices, 3], of whose vertices so many look for the scan, or as many as there are."""
    count = len(vertices)
    rings = triangle_rings(triangles, count)
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    border = np.zeros(count, np.float32)
    border[unique[times == 1].ravel()] = 1
    used = np.unique(triangles)
    places = jnp.asarray(vertices[used], jnp.float32)
    chosen = used if looking >= len(used) else used[np.asarray(farthest_point_sample(places, looking))]
    owner = np.full(count, 0)
    owner[used] = cKDTree(vertices[chosen]).query(vertices[used])[1]
    pairs = np.stack([owner[used], used], 1)
    if len(chosen) < len(used):
        both = np.concatenate([edges, edges[:, ::-1]])
        pairs = np.unique(np.concatenate([pairs, np.stack([owner[both[:, 0]], both[:, 1]], 1)]), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(chosen))
    starts = np.cumsum(counts) - counts
    width = min(int(counts.max()), _MOST_AROUND)
    place = np.arange(width)[None]
    around = pairs[starts[:, None] + np.where(place < counts[:, None], place, 0), 1]
    return Template(triangles.astype(np.int32), rings, border, chosen.astype(np.int32), around.astype(np.int32))


class Prior(NamedTuple):
    """The normal distribution of codes, that of the training faces.

    Attributes:
      mean: [codes].
      precision: [codes, codes].
    """

    mean: jax.Array | np.ndarray
    precision: jax.Array | np.ndarray


class Surface(NamedTuple):
    """Points of a scan, mm, near the origin.

    Attributes:
      points, normals: [points, 3].
      spacing: distance between neighbours.
    """

    points: jax.Array | np.ndarray
    normals: jax.Array | np.ndarray
    spacing: jax.Array | np.floating


class Estimate(NamedTuple):
    """A face in a scan.

    Attributes:
      codes: [codes].
      pose: from the model's place to the scan's.
    """

    codes: jax.Array
    pose: Pose


class Misfit(NamedTuple):
    """How far a scan may lie from the model.

    Attributes:
      least_mm, most_mm: bounds of the standard deviation of distances along normals, which is estimated.
      independent: as how many independent measurements a whole face counts: a model's misfit goes on along the surface,
        so that it is far fewer than there are points.
      off_model, usual_mm: true vertices lie about those of the model with a standard deviation along each axis of
        off_model * d * min(1, d / usual_mm), where d is the deviation of distances along normals as it is found. Of
        faces such as the model learned from, little of a small misfit lies aside or under holes; of others much does.
    """

    least_mm: float = 0.3
    most_mm: float = 3.0
    independent: float = 400.0
    off_model: float = 3.0
    usual_mm: float = 0.5


class Pairs(NamedTuple):
    """Planes that the face should lie on, or points on it: rows of a least-squares problem.

    Attributes:
      points: [rows, 3] points of the scan, in the model's place.
      normals: [rows, 3].
      triangle: [rows] which triangle of the face each is compared with.
      weights: [rows, 3] where in it.
      counted: [rows] weight of each row; sums to the number of independent measurements that were made.
      distance: [rows] along the normal, mm.
    """

    points: jax.Array
    normals: jax.Array
    triangle: jax.Array
    weights: jax.Array
    counted: jax.Array
    distance: jax.Array


Face = Callable[[jax.Array], jax.Array]


class Nearest(NamedTuple):
    """What lies nearest to what, of a face and a scan in the model's place.

    Attributes:
      points, normals: [points, 3] of the scan.
      triangle, weights: of each point, which triangle of the face is nearest, and [points, 3] where in it.
      gap: [points, 3] from there to the point.
      facing: [points, 3] the face's normal there.
      beyond: [points] whether the nearest place is on the rim.
      found: [looking] which point is nearest to each of the looking vertices.
      along, aside: [looking] how far it is along the scan's normal, and the square of how far aside.
      facing_vertices: [looking, 3] normals.
    """

    points: jax.Array
    normals: jax.Array
    triangle: jax.Array
    weights: jax.Array
    gap: jax.Array
    facing: jax.Array
    beyond: jax.Array
    found: jax.Array
    along: jax.Array
    aside: jax.Array
    facing_vertices: jax.Array


def nearest_of(template: Template, vertices: jax.Array, scan: Surface, pose: Pose) -> Nearest:
    """What is nearest to what, both ways, of a face [vertices, 3] and a scan."""
    triangles, rings, border, looking, around = (jnp.asarray(part) for part in template)
    points = pose.to_model(jnp.asarray(scan.points))
    turned = jnp.matmul(scan.normals, pose.rotation, precision=_PRECISE)
    own = vertices[looking]
    near, found = nearest_both_ways(points, own)
    normals = vertex_normals(vertices, triangles, rings)
    if around.shape[1] > 1:
        candidates = around[near]
        squares = sum(jnp.square(points[:, None, axis] - vertices[:, axis][candidates]) for axis in range(3))
        near_vertex = jnp.take_along_axis(candidates, jnp.argmin(squares, 1)[:, None], axis=1)[:, 0]
    else:
        near_vertex = around[near, 0]
    triangle, weights = closest_on_surface(points, vertices, triangles, rings[near_vertex])
    corners = triangles[triangle]
    reach = points[found] - own
    along = jnp.sum(reach * turned[found], 1)
    return Nearest(
        points=points,
        normals=turned,
        triangle=triangle,
        weights=weights,
        gap=points - jnp.sum(weights[..., None] * vertices[corners], 1),
        facing=_unit(jnp.sum(weights[..., None] * normals[corners], 1)),
        beyond=jnp.sum(weights * border[corners], 1) > 0.999,
        found=found,
        along=along,
        aside=jnp.maximum(jnp.square(reach).sum(1) - along**2, 0),
        facing_vertices=normals[looking],
    )


def pairs_of(
    template: Template, vertices: jax.Array, scan: Surface, pose: Pose, scale: jax.Array, misfit: Misfit
) -> Pairs:
    """What of a scan and of a face [vertices, 3] belong together, both ways.

    Args:
      scale: of the robust weights, mm: pairs much further from each other count little.
    """
    near = nearest_of(template, vertices, scan, pose)
    # From the scan to the face. A point beyond the rim is none of the face's.
    onto_face = _agreement(near.facing, near.normals) * _robust(jnp.square(near.gap).sum(1), scale)
    onto_face = jnp.where(near.beyond, 0, onto_face)
    # From the face to the scan. A vertex over a hole meets its edge aside.
    over = jnp.exp(-near.aside / jnp.square(1.5 * scan.spacing + 0.25 * scale))
    normals = near.normals[near.found]
    onto_scan = over * _agreement(near.facing_vertices, normals) * _robust(near.along**2, scale)
    # As much of the face as was seen, once either way.
    seen = (over * (near.along**2 < scale**2)).mean()
    half = 0.5 * misfit.independent
    counted = jnp.concatenate(
        [half * seen * onto_face / jnp.maximum(onto_face.sum(), 1e-6), half * onto_scan / len(onto_scan)]
    )
    triangles, looking = jnp.asarray(template.triangles), jnp.asarray(template.looking)
    own = jnp.asarray(template.rings)[looking, 0]
    corner = (triangles[own] == looking[:, None]).astype(vertices.dtype)
    return Pairs(
        jnp.concatenate([near.points, near.points[near.found]]),
        jnp.concatenate([near.facing, normals]),
        jnp.concatenate([near.triangle, own]),
        jnp.concatenate([near.weights, corner]),
        counted,
        jnp.concatenate([jnp.sum(near.gap * near.facing, 1), near.along]),
    )


def _robust(square: jax.Array, scale: jax.Array) -> jax.Array:
    """Weights of Geman and McClure's error."""
    return jnp.square(scale**2 / (scale**2 + square))


def _agreement(one: jax.Array, other: jax.Array) -> jax.Array:
    """1 for normals along one line, down to 0 at 60 degrees."""
    return jnp.clip(2 * jnp.abs(jnp.sum(one * other, -1)) - 1, 0, 1)


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def deviation_mm(pairs: Pairs) -> jax.Array:
    """The standard deviation of the distances along normals."""
    return jnp.sqrt(jnp.sum(pairs.counted * pairs.distance**2) / jnp.maximum(pairs.counted.sum(), 1e-6))


def misfit_mm(pairs: Pairs, misfit: Misfit) -> jax.Array:
    """The same within its bounds."""
    return jnp.clip(deviation_mm(pairs), misfit.least_mm, misfit.most_mm)


def refine(
    face: Face, template: Template, prior: Prior, scan: Surface, start: Estimate, misfit: Misfit, scales: Any
) -> tuple[Estimate, jax.Array]:
    """Where Gauss-Newton leads from a start, and the covariance of that.

    The covariance [6 + codes, 6 + codes], of a turn in radians, a shift in mm and the codes, is that of the normal
    distribution about the last estimate but one: the inverse of the last step's matrix.

    Args:
      face: codes [codes] -> vertices [vertices, 3], mm.
      scan: in its place.
      scales: [steps] of the robust weights, mm, one for each step.
    """

    def step(carry: tuple[Estimate, jax.Array], scale: jax.Array) -> tuple[tuple[Estimate, jax.Array], None]:
        estimate, _ = carry
        codes, pose = estimate
        vertices = face(codes)
        pairs = pairs_of(template, vertices, scan, pose, scale, misfit)
        matrix, right = normal_equations(face, template, prior, pairs, codes, misfit_mm(pairs, misfit))
        weak = jnp.concatenate([jnp.array(WEAK_PULLS), jnp.zeros(len(codes))])
        matrix = matrix + jnp.diag(1e-4 * jnp.diag(matrix) + weak)
        move = jax.scipy.linalg.solve(matrix, right, assume_a="pos")
        moved = Estimate(codes + move[6:], moved_pose(pose, move[:3], move[3:6], vertices.mean(0)))
        return (moved, matrix), None

    none = jnp.eye(6 + len(start.codes))
    (estimate, matrix), _ = jax.lax.scan(step, (start, none), jnp.asarray(scales, jnp.float32))
    covariance = jnp.linalg.inv(matrix)
    return estimate, (covariance + covariance.T) / 2


WEAK_PULLS = (1.0, 1.0, 1.0, 1e-3, 1e-3, 1e-3)
"""Precisions of the pose's turn in radians and of its shift in mm, where nothing is seen that would hold it."""


def normal_equations(
    face: Face, template: Template, prior: Prior, pairs: Pairs, codes: jax.Array, deviation: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The matrix [6 + codes, 6 + codes] and right side of a step from codes, of a turn, a shift and codes.

    Args:
      deviation: of the distances along normals, mm.
    """
    vertices, basis = face(codes), jax.jacfwd(face)(codes)
    corners = jnp.asarray(template.triangles)[pairs.triangle]
    moved = jnp.einsum("rk,rkxc->rxc", pairs.weights, basis[corners])
    place = jnp.sum(pairs.weights[..., None] * vertices[corners], 1)
    # normal . (point + turn x (point - pivot) + shift - place - moved codes) -> 0
    columns = [
        jnp.cross(pairs.points - vertices.mean(0), pairs.normals),
        pairs.normals,
        -jnp.einsum("rx,rxc->rc", pairs.normals, moved),
    ]
    rows = jnp.concatenate(columns, axis=1)
    gap = jnp.sum(pairs.normals * (pairs.points - place), 1)
    weights = pairs.counted / deviation**2
    matrix = jnp.matmul(rows.T * weights, rows, precision=_PRECISE)
    right = -jnp.matmul(rows.T, weights * gap, precision=_PRECISE)
    precision = jnp.asarray(prior.precision)
    pull = jnp.matmul(precision, codes - prior.mean, precision=_PRECISE)
    return matrix.at[6:, 6:].add(precision), right.at[6:].add(-pull)


def moved_pose(pose: Pose, turn: jax.Array, shift: jax.Array, pivot: jax.Array) -> Pose:
    """The pose after which points of the scan, in the model's place, are turned about a pivot and shifted."""
    matrix = rotation_matrix(turn)
    # x' = matrix (x - pivot) + pivot + shift, and x = rotation.T (p - translation).
    rotation = jnp.matmul(pose.rotation, matrix.T, precision=_PRECISE)
    origin = pivot + shift - jnp.matmul(matrix, pivot, precision=_PRECISE)
    return Pose(rotation, pose.translation - jnp.matmul(rotation, origin, precision=_PRECISE))


class Agreement(NamedTuple):
    """How well a face and a scan agree, all lengths in mm.

    Attributes:
      covered: share of the face that lies over the scan and near it.
      face_to_scan: [looking] distances along the scan's normals, of the vertices that look for it; infinite beyond it.
      scan_to_face: [points] distances; infinite beyond the face's rim.
      same_side: mean product of normals of what lies together, -1 to 1.
      relief: correlation between the relief of the face and that of the scan, -1 to 1, where relief is what a surface
        of fourth degree leaves. Any smooth lump lies within some mm of a face, but has no nose.
      unlikely: mean square of the codes in their deviations from the training faces; 1 on average for these.
      score: of several estimates of one scan, the largest is best.
    """

    covered: jax.Array
    face_to_scan: jax.Array
    scan_to_face: jax.Array
    same_side: jax.Array
    relief: jax.Array
    unlikely: jax.Array
    score: jax.Array


_NEAR_MM = 5.0


def agreement(face: Face, template: Template, prior: Prior, scan: Surface, estimate: Estimate) -> Agreement:
    """How well an estimate agrees with a scan."""
    vertices = face(estimate.codes)
    near = nearest_of(template, vertices, scan, estimate.pose)
    # A point far away in the direction of its own normal is none of what lies under a vertex either.
    is_over = (near.aside < jnp.square(2 * scan.spacing + 2)) & (jnp.abs(near.along) < 3 * _NEAR_MM)
    face_to_scan = jnp.where(is_over, jnp.abs(near.along), jnp.inf)
    gap = jnp.sqrt(jnp.square(near.gap).sum(1))
    half = (_NEAR_MM / 2) ** 2
    together = (1 / (1 + face_to_scan**2 / half)).mean() + (1 / (1 + gap**2 / half)).mean()
    away = estimate.codes - prior.mean
    unlikely = away @ jnp.asarray(prior.precision) @ away / len(away)
    sides = jnp.sum(near.facing * near.normals, 1)
    is_near = (gap < _NEAR_MM) & ~near.beyond
    return Agreement(
        covered=(face_to_scan < _NEAR_MM).mean(),
        face_to_scan=face_to_scan,
        scan_to_face=jnp.where(near.beyond & (gap > _NEAR_MM), jnp.inf, gap),
        same_side=jnp.sum(jnp.where(is_near, sides, 0)) / jnp.maximum(is_near.sum(), 1),
        relief=_relief(vertices[jnp.asarray(template.looking)], near, is_over),
        unlikely=unlikely,
        score=together - 0.01 * unlikely,
    )


def _relief(places: jax.Array, near: Nearest, counted: jax.Array) -> jax.Array:
    """`Agreement.relief` of the vertices [looking, 3] that count."""
    front = near.facing_vertices[:, 2]
    weights = jnp.where(counted & (front > 0.3), front, 0)
    x, y, z = ((places - places.mean(0)) / 100).T
    columns = jnp.stack([x**i * y**j for i in range(5) for j in range(5 - i)], 1)
    other = z + near.along * near.normals[near.found, 2] / 100
    heights = jnp.stack([z, other], 1)
    matrix = jnp.matmul(columns.T * weights, columns, precision=_PRECISE) + 1e-4 * jnp.eye(columns.shape[1])
    right = jnp.matmul(columns.T * weights, heights, precision=_PRECISE)
    left = heights - jnp.matmul(columns, jnp.linalg.solve(matrix, right), precision=_PRECISE)
    square = jnp.matmul(left.T * weights, left, precision=_PRECISE)
    return square[0, 1] / jnp.sqrt(jnp.maximum(square[0, 0] * square[1, 1], 1e-12))
