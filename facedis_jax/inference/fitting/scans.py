"""Scans of any mesh or bare points: checked, and drawn anew as a fixed number of points with normals."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS

FEWEST_POINTS = 100
"""Of a scan; with fewer, a face cannot be told from anything else."""

# Diagonals in mm between which a scan may hold a face: from a part of one to a person's upper body.
_DIAGONAL = (60.0, 2500.0)
# Those that are tried first: no two units bring a scan there.
_LIKELY = (130.0, 1300.0)
_NEIGHBOURS, _SPACED = 16, 5
# Bare points are thinned to as many at first: a tree of millions takes long.
_MOST_POINTS = 200_000


class Samples(NamedTuple):
    """A fixed number of points on a surface.

    Attributes:
      points: [points, 3] float32, mm.
      normals: [points, 3] float32, unit: to the side that triangles face, and of bare points to either side.
      spacing: median distance between neighbours, mm.
    """

    points: np.ndarray
    normals: np.ndarray
    spacing: float


@dataclass(frozen=True)
class Scan:
    """A scan in the unit of its file.

    Attributes:
      points: [points, 3] float64.
      triangles: [triangles, 3] integers; None for bare points.
      where: what errors call it.
    """

    points: np.ndarray
    triangles: np.ndarray | None = None
    where: object = "points"

    @classmethod
    def of(cls, points: np.ndarray, triangles: np.ndarray | None = None, where: object = "points") -> "Scan":
        """A scan that was checked.

        Raises:
          InputError: for another shape, numbers that are not finite, too few points, or points all in one place.
        """
        found = np.asarray(points)
        if found.ndim != 2 or found.shape[1] != 3 or found.dtype.kind not in "fiu":
            raise InputError(where, "points [points, 3]", f"{found.dtype} of shape {list(found.shape)}")
        found = found.astype(np.float64)
        finite = np.isfinite(found).all(1)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            raise InputError(where, "finite coordinates", f"{found[bad].tolist()} at point {bad}")
        faces = None
        if triangles is not None:
            faces = np.asarray(triangles)
            if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
                raise InputError(where, "triangles [triangles, 3]", f"{faces.dtype} of shape {list(faces.shape)}")
            if len(faces) and not 0 <= faces.min() <= faces.max() < len(found):
                raise InputError(where, f"triangles of {len(found)} points", f"{faces.min()} to {faces.max()}")
            faces = faces if len(faces) else None
        if len(found) < FEWEST_POINTS:
            raise InputError(where, f"{FEWEST_POINTS} points of a face or more", str(len(found)))
        scan = cls(found, faces, where)
        if not scan.diagonal > 0:
            raise InputError(where, "points of a surface", "all points in one place")
        if faces is not None and not _areas(found, faces).sum() > 0:
            raise InputError(where, "triangles of a surface", "none that has an area")
        return scan

    @property
    def used(self) -> np.ndarray:
        """[used] the points that belong to the surface: corners of triangles, or all of bare points."""
        return self.points if self.triangles is None else self.points[np.unique(self.triangles)]

    @property
    def diagonal(self) -> float:
        """Of the box around the points."""
        return float(np.linalg.norm(np.ptp(self.used, axis=0)))

    def units(self, named: str | None) -> list[str]:
        """The units in which the scan may hold a face, the most likely first.

        Args:
          named: the unit where it is known.

        Raises:
          InputError: for a unit that does not exist, or none in which a face would fit.
        """
        if named is not None and named not in UNITS:
            raise InputError("unit", f"one of {', '.join(UNITS)}", str(named))
        sizes = {unit: self.diagonal * UNITS[unit] for unit in (UNITS if named is None else (named,))}
        possible = [unit for unit, size in sizes.items() if _DIAGONAL[0] <= size <= _DIAGONAL[1]]
        if not possible:
            low, high = _DIAGONAL
            what = f"in {named}" if named else "in mm, cm, dm or m"
            raise InputError(
                self.where, f"a scan {low:g} to {high:g} mm in size {what}", f"a diagonal of {self.diagonal:.4g}"
            )
        return sorted(possible, key=lambda unit: not _LIKELY[0] <= sizes[unit] < _LIKELY[1])


def draw_samples(
    scan: Scan,
    scale: float,
    count: int,
    *,
    centre: np.ndarray | None = None,
    radius: float | None = None,
    seed: int = 0,
) -> Samples:
    """Points on a scan's surface, evenly by area as far as that is known, with normals.

    Args:
      scan: in its unit.
      scale: millimetres in that unit.
      count: how many; of fewer bare points each comes several times.
      centre, radius: of a ball in mm from which alone points are taken; everywhere without.
      seed: of what is drawn.

    Returns:
      In mm, not moved, in no order.
    """
    rng = np.random.default_rng(seed)
    if scan.triangles is None:
        points = scan.points * scale
        if radius is not None:
            points = points[_within(points, centre, radius)]
        points, facing = _thinned(points, count, rng), None
    else:
        vertices, triangles = scan.points * scale, scan.triangles
        if radius is not None:
            triangles = triangles[_within(vertices, centre, radius)[triangles].any(1)]
        points, facing = _on_triangles(vertices, triangles, count, rng)
    normals, spacing = _normals(points)
    if facing is not None:
        normals = np.where((normals * facing).sum(1, keepdims=True) < 0, -normals, normals)
    return Samples(points.astype(np.float32), normals.astype(np.float32), spacing)


def _within(points: np.ndarray, centre: np.ndarray | None, radius: float) -> np.ndarray:
    near = ((points - centre) ** 2).sum(1) <= radius**2
    # Never none: what is fitted to them will be refused.
    return near if near.sum() >= FEWEST_POINTS else np.ones(len(points), bool)


def _areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _on_triangles(
    vertices: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points [count, 3], one in each of as many parts of equal area, in no order, and normals of their triangles."""
    total = np.cumsum(_areas(vertices, triangles))
    draws = (np.arange(count) + rng.random(count)) / count * total[-1]
    draws = rng.permutation(draws)
    chosen = triangles[np.minimum(np.searchsorted(total, draws, side="right"), len(total) - 1)]
    place = rng.random((count, 2))
    place = np.where(place.sum(1, keepdims=True) > 1, 1 - place, place)
    first = vertices[chosen[:, 0]]
    sides = [vertices[chosen[:, i]] - first for i in (1, 2)]
    return first + place[:, :1] * sides[0] + place[:, 1:] * sides[1], np.cross(*sides)


def _thinned(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points [count, 3], from as many cells of a grid where there are enough."""
    if len(points) > _MOST_POINTS:
        points = points[rng.choice(len(points), _MOST_POINTS, replace=False)]
    points = points[rng.permutation(len(points))]
    if len(points) > count:
        low, size = points.min(0), np.ptp(points, axis=0).max()
        small, large = size / 2000, size / 4
        for _ in range(8):
            middle = np.sqrt(small * large)
            cells = np.floor((points - low) / middle).astype(np.int64)
            kept = np.unique(cells @ np.array([1 << 24, 1 << 12, 1]), return_index=True)[1]
            small, large = (middle, large) if len(kept) > count else (small, middle)
            if count <= len(kept) <= 1.3 * count:
                break
        if len(kept) < count:
            # Sorted, so that nothing depends on a set's order; the rest comes from anywhere.
            rest = np.setdiff1d(np.arange(len(points)), kept)
            kept = np.concatenate([kept, rest[: count - len(kept)]])
        return points[rng.permutation(kept)[:count]]
    return points[np.arange(count) % len(points)]


def _normals(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Unit normals [points, 3] of the planes through each point's neighbours, of either side, and the spacing."""
    unique = points if len(np.unique(points[:, 0])) == len(points) else np.unique(points, axis=0)
    distances, found = cKDTree(unique).query(points, min(_NEIGHBOURS, len(unique)))
    near = unique[found.reshape(len(points), -1)]
    away = near - near.mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", away, away))[1][:, :, 0]
    # Of points in a square grid, the fifth nearest is the point itself and its four neighbours.
    return normals, float(np.median(distances.reshape(len(points), -1)[:, :_SPACED].max(1)))
