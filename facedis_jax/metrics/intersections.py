"""Triangles of a mesh that cut through each other. Works on the host, in float64 NumPy."""

from collections.abc import Iterator

import numpy as np

_PAIRS_AT_A_TIME = 1 << 19
_TESTS_AT_A_TIME = 1 << 13


def self_intersections(vertices: np.ndarray, triangles: np.ndarray) -> int:
    """Number of triangles that share a point with another triangle of the mesh that is not their neighbour.

    Section 4.4 of the information-bottlenecked VAE gives their mean and does not say how they are counted.

    Neighbours are triangles with a vertex in common; vertices at exactly one place count as one, so that the
    seams of a texture are no intersections. Pairs of neighbours are not tested. Touching
    and overlapping in one plane count as intersecting. Triangles with two corners in one place are ignored.

    Every pair whose bounding boxes meet is decided by the separating axis theorem, in float64 and to within
    1e-12 of the mesh's size.

    Args:
      vertices: [vertices, 3].
      triangles: [triangles, 3] indices of vertices.

    Returns:
      The number of triangles with at least one intersection.

    Raises:
      ValueError: for coordinates that are not finite.

    Example:
      >>> flat = np.array([[0.0, 0, 0], [4, 0, 0], [0, 4, 0]])
      >>> upright = np.array([[1.0, 1, -1], [1, 1, 1], [9, 9, 0]])
      >>> triangles = np.arange(6).reshape(2, 3)
      >>> self_intersections(np.concatenate([flat, upright]), triangles)
      2
      >>> self_intersections(np.concatenate([flat, upright + 9]), triangles)
      0
    """
    vertices = np.asarray(vertices, np.float64)
    if not np.isfinite(vertices).all():
        raise ValueError("vertices must be finite")
    places, place = np.unique(vertices, axis=0, return_inverse=True)
    corners = np.sort(place.reshape(-1)[np.asarray(triangles)], axis=1)
    corners = corners[(np.diff(corners, axis=1) > 0).all(axis=1)]
    if not len(corners):
        return 0
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    points = (places - centre)[corners]
    size = np.abs(points).max()
    hit = np.zeros(len(corners), bool)
    for first, second in _near_pairs(points):
        neighbours = (corners[first][:, :, None] == corners[second][:, None]).any(axis=(1, 2))
        first, second = first[~neighbours], second[~neighbours]
        for begin in range(0, len(first), _TESTS_AT_A_TIME):
            part = slice(begin, begin + _TESTS_AT_A_TIME)
            meet = _intersect(points[first[part]] / size, points[second[part]] / size)
            hit[first[part][meet]] = hit[second[part][meet]] = True
    return int(hit.sum())


def _near_pairs(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the pairs of triangles whose bounding boxes meet, each pair once, in chunks; sweeps one axis."""
    low, high = points.min(axis=1), points.max(axis=1)
    axis = int(np.argmax(np.ptp(low, axis=0)))
    order = np.argsort(low[:, axis], kind="stable")
    low, high = low[order], high[order]
    # Along the sweep, row i overlaps the rows from i + 1 up to the last one that begins before i ends.
    counts = np.searchsorted(low[:, axis], high[:, axis], side="right") - np.arange(len(order)) - 1
    total = np.cumsum(counts)
    begin = 0
    while begin < len(order):
        before = total[begin] - counts[begin]
        end = max(begin + 1, int(np.searchsorted(total, before + _PAIRS_AT_A_TIME, side="right")))
        rows = np.repeat(np.arange(begin, end), counts[begin:end])
        row_starts = np.repeat(total[begin:end] - counts[begin:end] - before, counts[begin:end])
        others = rows + 1 + np.arange(len(rows)) - row_starts
        for other_axis in {0, 1, 2} - {axis}:
            meet = low[others, other_axis] <= high[rows, other_axis]
            meet &= low[rows, other_axis] <= high[others, other_axis]
            rows, others = rows[meet], others[meet]
        yield order[rows], order[others]
        begin = end


def _intersect(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which of the pairs of triangles [pairs, 3, 3], within [-1, 1]^3, have no separating axis."""
    edges_1 = np.roll(first, -1, axis=1) - first
    edges_2 = np.roll(second, -1, axis=1) - second
    normal_1 = np.cross(edges_1[:, 0], edges_1[:, 1])[:, None]
    normal_2 = np.cross(edges_2[:, 0], edges_2[:, 1])[:, None]
    meet = ~_separated(first, second, np.concatenate([normal_1, normal_2], axis=1))
    left = np.flatnonzero(meet)
    edges_1, edges_2 = edges_1[left], edges_2[left]
    across = np.cross(edges_1[:, :, None], edges_2[:, None]).reshape(-1, 9, 3)
    # For triangles in one plane all nine are normal to it; these lie in it.
    within_1, within_2 = np.cross(normal_1[left], edges_1), np.cross(normal_2[left], edges_2)
    axes = np.concatenate([across, within_1, within_2], axis=1)
    meet[left] = ~_separated(first[left], second[left], axes)
    return meet


def _separated(first: np.ndarray, second: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Whether the shadows of each pair on any of its `axes` [pairs, axes, 3] are apart."""
    length = np.linalg.norm(axes, axis=2, keepdims=True)
    axes = np.divide(axes, length, out=np.zeros_like(axes), where=length > 1e-30)
    shadow_1, shadow_2 = axes @ first.transpose(0, 2, 1), axes @ second.transpose(0, 2, 1)
    gap_1 = shadow_2.min(axis=2) - shadow_1.max(axis=2)
    gap_2 = shadow_1.min(axis=2) - shadow_2.max(axis=2)
    return (np.maximum(gap_1, gap_2) > 1e-12).any(axis=1)
