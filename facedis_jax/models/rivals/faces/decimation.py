"""Coarser meshes by collapsing edges, and the way back by barycentric weights. Works on the host, in float64.

Garland and Heckbert's quadrics, as in the public code of convolutional mesh autoencoders: an edge is collapsed into the
end that costs less, which stays where it is. What differs from that code: its heap is out of order once costs change,
so that its meshes are not those of the method; it takes a collapse however it folds the surface; and its way up solves
least squares whose weights do not sum to one and depend on where the origin lies.
"""

import heapq
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from facedis_jax.models.rivals.faces.topology import border_edges

# Symmetric 4 x 4 matrices by their upper triangle: xx, xy, xz, xw, yy, yz, yw, zz, zw, ww.
_Quadric = tuple[float, ...]
_NOTHING: _Quadric = (0.0,) * 10
# Of the angle by which a collapse may turn a triangle, as usual.
_LEAST_COSINE = 0.2


class CoarseMesh(NamedTuple):
    """A mesh of some of another's vertices.

    Attributes:
      kept: [coarse vertices] indices of vertices of the finer mesh, ascending.
      triangles: [coarse triangles, 3] indices into `kept`.
    """

    kept: np.ndarray
    triangles: np.ndarray


def decimated(vertices: np.ndarray, triangles: np.ndarray, target: int) -> CoarseMesh:
    """The mesh with edges collapsed until it has so many vertices, in O(E log E).

    No edge is collapsed that would tear the surface, close a hole, or turn a triangle over; where only such edges are
    left, it ends with more vertices than asked for.

    Args:
      vertices: [vertices, 3].
      triangles: [triangles, 3], of a surface.
      target: how many vertices to end with.

    References:
      Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics", 1997.

    Example:
      >>> grid = np.array([[x, y, 0.0] for y in range(4) for x in range(4)])
      >>> corners = [(y * 4 + x, y * 4 + x + 1, y * 4 + x + 4) for y in range(3) for x in range(3)]
      >>> others = [(a + 1, c + 1, c) for a, b, c in corners]
      >>> coarse = decimated(grid, np.array(corners + others), 4)
      >>> coarse.kept.tolist()
      [0, 3, 12, 15]
    """
    surface = _Surface(vertices, triangles)
    heap: list[tuple[float, float, int, int, int]] = []
    for a, b in surface.edges():
        heapq.heappush(heap, surface.entry(a, b))
    # Edges that could not be collapsed, by either end: what has changed near one may let it.
    refused: dict[int, set[int]] = {vertex: set() for vertex in range(len(vertices))}
    left = len(vertices)
    while left > target and heap:
        *_, age, gone, kept = heapq.heappop(heap)
        if age != surface.age(gone, kept):
            continue
        if not surface.can_collapse(gone, kept):
            refused[gone].add(kept)
            refused[kept].add(gone)
            continue
        surface.collapse(gone, kept)
        left -= 1
        for near in surface.neighbours(kept):
            heapq.heappush(heap, surface.entry(kept, near))
            for other in sorted(refused[near] - {kept, gone}):
                heapq.heappush(heap, surface.entry(near, other))
                refused[other].discard(near)
            refused[near].clear()
        refused[kept].clear()
    return surface.compact()


class _Surface:
    """A mesh whose edges can be collapsed."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.points = [tuple(point) for point in np.asarray(vertices, np.float64).tolist()]
        self.corners: list[tuple[int, int, int] | None] = [(a, b, c) for a, b, c in np.asarray(triangles).tolist()]
        self.around: list[set[int]] = [set() for _ in self.points]
        self.quadrics = [_NOTHING] * len(self.points)
        self.changes = [0] * len(self.points)
        for number, corners in enumerate(self.corners):
            assert corners is not None
            plane = _plane(*(self.points[i] for i in corners))
            for corner in corners:
                self.around[corner].add(number)
                if plane is not None:
                    self.quadrics[corner] = _sum(self.quadrics[corner], _square(plane))
        for a, b in border_edges(triangles).tolist():
            self._hold_border(a, b)

    def _hold_border(self, a: int, b: int) -> None:
        """A plane through a border's edge, upright on its triangle, so that borders stay in shape."""
        (number,) = self.around[a] & self.around[b]
        corners = self.corners[number]
        assert corners is not None
        plane = _plane(*(self.points[i] for i in corners))
        if plane is None:
            return
        first, second = self.points[a], self.points[b]
        above = tuple(x + n for x, n in zip(first, plane[:3], strict=True))
        upright = _plane(first, second, above)
        if upright is not None:
            for end in (a, b):
                self.quadrics[end] = _sum(self.quadrics[end], _square(upright))

    def edges(self) -> list[tuple[int, int]]:
        pairs = set()
        for corners in self.corners:
            if corners is not None:
                a, b, c = sorted(corners)
                pairs |= {(a, b), (a, c), (b, c)}
        return sorted(pairs)

    def age(self, a: int, b: int) -> int:
        return self.changes[a] + self.changes[b]

    def entry(self, a: int, b: int) -> tuple[float, float, int, int, int]:
        """Cost, length, age, and the ends of an edge, of which the first is the one to go."""
        total = _sum(self.quadrics[a], self.quadrics[b])
        costs = [_value(total, self.points[end]) for end in (a, b)]
        length = sum((x - y) ** 2 for x, y in zip(self.points[a], self.points[b], strict=True))
        # In flat parts all costs are zero but for rounding: there, short edges go first.
        shown = [max(round(cost / max(length, 1e-300), 9), 0.0) * length for cost in costs]
        gone, kept = (a, b) if (shown[1], b) <= (shown[0], a) else (b, a)
        return min(shown), length, self.age(a, b), gone, kept

    def neighbours(self, vertex: int) -> list[int]:
        found = {corner for number in self.around[vertex] for corner in self.corners[number] or ()}
        return sorted(found - {vertex})

    def can_collapse(self, gone: int, kept: int) -> bool:
        shared = self.around[gone] & self.around[kept]
        near, far = set(self.neighbours(gone)), set(self.neighbours(kept))
        if not shared or len(near & far) != len(shared):
            return False
        if self._is_border(gone) and (not self._is_border(kept) or len(shared) != 1):
            # A border may only become shorter along itself.
            return False
        moved = [number for number in self.around[gone] if number not in shared]
        there = {frozenset(self.corners[number] or ()) for number in self.around[kept]}
        if not moved and self.around[kept] == shared:
            return False
        for number in moved:
            before = self.corners[number]
            assert before is not None
            after = [kept if corner == gone else corner for corner in before]
            if frozenset(after) in there:
                return False
            old, new = (_plane(*(self.points[i] for i in corners)) for corners in (before, after))
            if new is None:
                return False
            if old is not None and sum(x * y for x, y in zip(old[:3], new[:3], strict=True)) < _LEAST_COSINE:
                return False
        return True

    def _is_border(self, vertex: int) -> bool:
        return len(self.neighbours(vertex)) != len(self.around[vertex])

    def collapse(self, gone: int, kept: int) -> None:
        shared = self.around[gone] & self.around[kept]
        for number in shared:
            for corner in self.corners[number] or ():
                self.around[corner].discard(number)
            self.corners[number] = None
        for number in self.around[gone]:
            a, b, c = (kept if corner == gone else corner for corner in self.corners[number] or ())
            self.corners[number] = (a, b, c)
            self.around[kept].add(number)
        self.around[gone] = set()
        self.quadrics[kept] = _sum(self.quadrics[kept], self.quadrics[gone])
        self.changes[kept] += 1
        # Numbers that no edge of it had before.
        self.changes[gone] = 1 << 40

    def compact(self) -> CoarseMesh:
        kept = np.array([i for i, around in enumerate(self.around) if around])
        place = np.full(len(self.points), -1)
        place[kept] = np.arange(len(kept))
        left = [corners for corners in self.corners if corners is not None]
        return CoarseMesh(kept, place[np.array(left)].astype(np.int32))


def _plane(a: tuple, b: tuple, c: tuple) -> tuple[float, float, float, float] | None:
    """The unit normal of a triangle and the plane's offset; None without an area."""
    u, v = [y - x for x, y in zip(a, b, strict=True)], [y - x for x, y in zip(a, c, strict=True)]
    normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    length = (normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]) ** 0.5
    if not length:
        return None
    x, y, z = (part / length for part in normal)
    return x, y, z, -(x * a[0] + y * a[1] + z * a[2])


def _square(plane: tuple[float, float, float, float]) -> _Quadric:
    x, y, z, w = plane
    return x * x, x * y, x * z, x * w, y * y, y * z, y * w, z * z, z * w, w * w


def _sum(first: _Quadric, second: _Quadric) -> _Quadric:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def _value(quadric: _Quadric, point: tuple) -> float:
    """The sum of squared distances of a point to the planes."""
    xx, xy, xz, xw, yy, yz, yw, zz, zw, ww = quadric
    x, y, z = point
    return (
        x * x * xx
        + y * y * yy
        + z * z * zz
        + 2 * (x * y * xy + x * z * xz + y * z * yz + x * xw + y * yw + z * zw)
        + ww
    )


def barycentric(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> sparse.csr_array:
    """The matrix [points, vertices] whose rows make the closest place on a mesh to each point of its vertices.

    Rows are of three weights at most, none of them negative, which sum to one.

    Args:
      points: [points, 3].
      vertices: [vertices, 3], all of which are corners of triangles.
      triangles: [triangles, 3].

    Example:
      >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
      >>> barycentric(np.array([[0.25, 0.25, 3.0]]), square, np.array([[0, 1, 2]])).toarray().tolist()
      [[0.5, 0.25, 0.25]]
    """
    points, corners = np.asarray(points, np.float64), np.asarray(vertices, np.float64)[triangles]
    # No triangle further away than the nearest vertex can hold the closest place.
    centres = corners.mean(1)
    radius = np.sqrt(((corners - centres[:, None]) ** 2).sum(-1).max())
    reach = cKDTree(np.asarray(vertices, np.float64)).query(points)[0]
    lists = cKDTree(centres).query_ball_point(points, (reach + radius) * (1 + 1e-9) + 1e-12, return_sorted=True)
    point = np.repeat(np.arange(len(points)), [len(each) for each in lists])
    triangle = np.concatenate([np.asarray(each, int) for each in lists])
    weights, squares = _closest(points[point], corners[triangle])
    order = np.lexsort((triangle, squares, point))
    best = order[np.unique(point[order], return_index=True)[1]]
    rows = np.repeat(np.arange(len(points)), 3)
    entries = (weights[best].ravel(), (rows, np.asarray(triangles)[triangle[best]].ravel()))
    found = sparse.csr_array(entries, shape=(len(points), len(vertices)))
    found.eliminate_zeros()
    return found


def _closest(points: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [points, 3] of the corners [points, 3, 3] at the closest places, and squared distances [points]."""
    a, b, c = (corners[:, i] for i in range(3))
    choices = []
    for start, end, first, second in ((a, b, 0, 1), (b, c, 1, 2), (c, a, 2, 0)):
        edge = end - start
        square = (edge**2).sum(-1)
        along = np.clip(((points - start) * edge).sum(-1) / np.where(square > 0, square, 1), 0, 1)
        weights = np.zeros((len(points), 3))
        weights[:, first], weights[:, second] = 1 - along, along
        choices.append(weights)
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11, d20, d21 = ((x * y).sum(-1) for x, y in ((ab, ab), (ab, ac), (ac, ac), (ap, ab), (ap, ac)))
    area = d00 * d11 - d01 * d01
    safe = np.where(area > 0, area, 1)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = (area > 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    choices.append(np.where(inside[:, None], np.stack([1 - v - w, v, w], -1), choices[0]))
    all_weights = np.stack(choices)
    places = (all_weights[..., None] * corners).sum(-2)
    squares = ((points - places) ** 2).sum(-1)
    # Where the foot of the point lies inside, that is the closest, whatever rounding makes of a corner's distance.
    squares[-1] = np.where(inside, squares[-1] * (1 - 1e-12), np.inf)
    best = squares.argmin(0)
    row = np.arange(len(points))
    return all_weights[best, row], squares[best, row]
