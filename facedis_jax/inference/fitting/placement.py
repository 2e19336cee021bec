"""Where a face lies in a scan: many starts of a robust registration at once, by tables of nearest points."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import farthest_point_sample, k_nearest, nearest_both_ways, rotation_matrix, spread_rotations

_PRECISE = jax.lax.Precision.HIGHEST
# Cells of a table along each axis, and mm around the points that it covers.
_CELLS, _MARGIN = 32, 40.0
# Together a multiple of those that are registered at a time, or the rest would be compiled apart.
_ROTATIONS, _SEEDS, _ROLLS, _PATCH = 64, 40, 8, 96
# Of the weights, mm: from how far points pull, in each step of all starts, and of the best of these.
_FIRST_SCALES, _LAST_SCALES = (40.0, 35.0, 30.0, 25.0, 20.0), (16.0, 13.0, 10.0, 8.0, 7.0, 6.0, 6.0)
_SCALE = 6.0
# Of a correspondence's distance, how much counts beside that along its normal.
_ASIDE = 0.1
# Two starts that ended so near to each other are one: radians and mm.
_SAME_TURN, _SAME_PLACE = 0.35, 15.0
_COMPARED = 128
# Points of the scan that look for the face, beside those of the face that look for the scan.
_LOOKING = 256
# Starts that are registered at a time.
_TOGETHER = 64


class Pose(NamedTuple):
    """A rigid motion from the model's place to the scan's: `points @ rotation.T + translation`, mm.

    Attributes:
      rotation: [..., 3, 3].
      translation: [..., 3].
    """

    rotation: jax.Array
    translation: jax.Array

    def to_scan(self, points: jax.Array) -> jax.Array:
        """Points [..., points, 3] from the model's place."""
        moved = jnp.matmul(points, jnp.swapaxes(self.rotation, -1, -2), precision=_PRECISE)
        return moved + self.translation[..., None, :]

    def to_model(self, points: jax.Array) -> jax.Array:
        """Points [..., points, 3] from the scan's place."""
        return jnp.matmul(points - self.translation[..., None, :], self.rotation, precision=_PRECISE)


class Table(NamedTuple):
    """Points with normals, and of each cell of a grid around them which is nearest to its middle.

    Attributes:
      points, normals: [points, 3].
      low: [3], a corner of the grid.
      cell: length of a cell's edge.
      nearest: [cells**3] int32.
    """

    points: jax.Array
    normals: jax.Array
    low: jax.Array
    cell: jax.Array
    nearest: jax.Array


def table_of(points: jax.Array, normals: jax.Array) -> Table:
    """The table of points [points, 3] and their normals."""
    low = points.min(0) - _MARGIN
    cell = ((points.max(0) - low).max() + _MARGIN) / _CELLS
    steps = low + (jnp.arange(_CELLS)[:, None] + 0.5) * cell
    middle = points.mean(0)
    plane = jnp.stack(jnp.meshgrid(steps[:, 1], steps[:, 2], indexing="ij"), -1).reshape(-1, 2)

    def slab(x: jax.Array) -> jax.Array:
        places = jnp.concatenate([jnp.full((len(plane), 1), x), plane], axis=1)
        return nearest_both_ways(places - middle, points - middle)[0]

    return Table(points, normals, low, cell, jax.lax.map(slab, steps[:, 0]).reshape(-1))


def _look_up(table: Table, places: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The nearest points to places [places, 3] and their normals, to within a cell."""
    index = jnp.clip(jnp.floor((places - table.low) / table.cell), 0, _CELLS - 1).astype(jnp.int32)
    found = table.nearest[(index[:, 0] * _CELLS + index[:, 1]) * _CELLS + index[:, 2]]
    return table.points[found], table.normals[found]


class Placed(NamedTuple):
    """Places where a face may lie, best first.

    Attributes:
      pose: of each.
      score: how much of the face and of the scan lie together, 0 to 2.
    """

    pose: Pose
    score: jax.Array


def find_places(face: Table, scan: Table, count: int) -> Placed:
    """Distinct places of a face in a scan.

    Args:
      face: of the mean face, some hundred points.
      scan: of the scan in any pose, in no order: the first of its points look for the face.
      count: how many places.
    """
    starts = _starts(face, scan)
    for scales in (_FIRST_SCALES, _LAST_SCALES):
        pose, score = jax.lax.map(partial(_register, face, scan, scales), starts, batch_size=_TOGETHER)
        best = jax.lax.top_k(score, _COMPARED)[1]
        starts, score = jax.tree.map(partial(jnp.take, indices=best, axis=0), (pose, score))
    pose = starts
    centre = pose.to_scan(jnp.broadcast_to(face.points.mean(0), (_COMPARED, 1, 3)))[:, 0]
    near = jnp.linalg.norm(centre[:, None] - centre, axis=-1) < _SAME_PLACE
    cosine = (jnp.einsum("aij,bij->ab", pose.rotation, pose.rotation) - 1) / 2
    same = near & (cosine > np.cos(_SAME_TURN))

    def keep(i: jax.Array, kept: jax.Array) -> jax.Array:
        return kept.at[i].set(~(same[i] & kept & (jnp.arange(_COMPARED) < i)).any())

    kept = jax.lax.fori_loop(0, _COMPARED, keep, jnp.ones(_COMPARED, bool))
    chosen = jax.lax.top_k(jnp.where(kept, score, score - 10), count)[1]
    return jax.tree.map(lambda x: x[chosen], Placed(pose, score))


def _starts(face: Table, scan: Table) -> Pose:
    """Poses to begin with: all rotations about the middle, and the face on top of each stretch of the scan."""
    middle, centre = scan.points.mean(0), face.points.mean(0)
    turns = jnp.asarray(spread_rotations(_ROTATIONS), jnp.float32)
    shifts = middle - jnp.matmul(turns, centre, precision=_PRECISE)
    seeds = scan.points[farthest_point_sample(scan.points, _SEEDS)]
    patches = scan.points[k_nearest(seeds, scan.points, _PATCH)]
    away = patches - patches.mean(1, keepdims=True)
    normal = jnp.linalg.eigh(jnp.einsum("ski,skj->sij", away, away))[1][:, :, 0]
    outward = jnp.concatenate([normal, -normal])
    looks = face.normals.mean(0)
    own = _frame(looks / jnp.linalg.norm(looks))
    rolls = rotation_matrix(jnp.arange(_ROLLS)[:, None] * (2 * jnp.pi / _ROLLS) * jnp.array([0.0, 0, 1]))
    frames = jax.vmap(_frame)(outward)
    on_top = jnp.einsum("sij,rjk,lk->sril", frames.swapaxes(1, 2), rolls, own.T).reshape(-1, 3, 3)
    # The face's middle lies as deep below its front as the patch's below the seed, or nearly so.
    places = jnp.repeat(jnp.concatenate([patches.mean(1)] * 2), _ROLLS, axis=0)
    shifted = places - jnp.matmul(on_top, centre, precision=_PRECISE)
    return Pose(jnp.concatenate([turns, on_top]), jnp.concatenate([shifts, shifted]))


def _frame(normal: jax.Array) -> jax.Array:
    """Rows of a right-handed frame whose last is a unit vector."""
    aside = jnp.eye(3)[jnp.abs(normal).argmin()]
    first = jnp.cross(aside, normal)
    first = first / jnp.linalg.norm(first)
    return jnp.stack([first, jnp.cross(normal, first), normal])


def _register(face: Table, scan: Table, scales: tuple[float, ...], start: Pose) -> tuple[Pose, jax.Array]:
    """Where a start ends, and its score."""
    middle = face.points.mean(0)
    looking = scan.points[:_LOOKING]

    def pairs(pose: Pose) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Points of the face, those of the scan, and normals, in the scan's place: both ways."""
        moved = pose.to_scan(face.points)
        near, normals = _look_up(scan, moved)
        own, own_normals = _look_up(face, pose.to_model(looking))
        turned = jnp.matmul(own_normals, pose.rotation.T, precision=_PRECISE)
        return (
            jnp.concatenate([moved, pose.to_scan(own)]),
            jnp.concatenate([near, looking]),
            jnp.concatenate([normals, turned]),
        )

    # Either way counts as much, however many points there are.
    share = jnp.concatenate(
        [jnp.full(len(face.points), 1 / len(face.points)), jnp.full(len(looking), 1 / len(looking))]
    )

    def step(pose: Pose, scale: jax.Array) -> tuple[Pose, None]:
        on_face, on_scan, normals = pairs(pose)
        gap = on_scan - on_face
        weights = share * jnp.square(scale**2 / (scale**2 + jnp.square(gap).sum(1)))
        pivot = pose.to_scan(middle[None])[0]
        arm = on_face - pivot
        # Rows of "normal . (turn x arm + shift - gap)", and weak ones of all three coordinates.
        rows = jnp.concatenate([jnp.cross(arm, normals), normals], axis=1)
        matrix = jnp.einsum("p,pi,pj->ij", weights, rows, rows)
        right = jnp.einsum("p,pi->i", weights * (normals * gap).sum(1), rows)
        total, lever = weights.sum(), (weights[:, None] * arm).sum(0)
        inertia = jnp.einsum("p,pi,pj->ij", weights, arm, arm)
        turning = jnp.trace(inertia) * jnp.eye(3) - inertia
        x, y, z = lever
        cross = jnp.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        aside = jnp.block([[turning, cross], [cross.T, total * jnp.eye(3)]])
        pulled = jnp.concatenate([(weights[:, None] * jnp.cross(arm, gap)).sum(0), (weights[:, None] * gap).sum(0)])
        matrix = matrix + _ASIDE * aside
        damping = 1e-3 * jnp.diag(matrix) + 1e-9
        move = jnp.linalg.solve(matrix + jnp.diag(damping), right + _ASIDE * pulled)
        turn = rotation_matrix(move[:3])
        centre = pivot + jnp.matmul(turn, pose.translation - pivot, precision=_PRECISE) + move[3:]
        return Pose(jnp.matmul(turn, pose.rotation, precision=_PRECISE), centre), None

    pose, _ = jax.lax.scan(step, start, jnp.asarray(scales, jnp.float32))
    on_face, on_scan, _ = pairs(pose)
    together = 1 / (1 + jnp.square(on_face - on_scan).sum(1) / _SCALE**2)
    return pose, jnp.sum(share * together)
