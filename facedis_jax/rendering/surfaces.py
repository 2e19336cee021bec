"""Normals and holes of a triangle mesh, and the triangles that cover the pixels of an image."""

from dataclasses import dataclass

import numpy as np

# Tolerance of barycentric weights in single precision, without which an edge between two triangles has gaps.
_ROUNDING = 1e-5


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] scaled to length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [vertices, 3], each the area-weighted mean over the triangles [triangles, 3] at the vertex."""
    a, b, c = points[triangles].swapaxes(0, 1)
    # Without np.cross, which is three times slower.
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    weighted = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    normals = [np.bincount(triangles.ravel(), np.repeat(component, 3), len(points)) for component in weighted]
    return unit(np.stack(normals, -1))


def faces_away(corners: np.ndarray) -> np.ndarray:
    """[triangles] bool, whether each triangle [triangles, 3, 2], y up, is clockwise, so that its back is seen."""
    a, b = (corners[:, 1:] - corners[:, :1]).swapaxes(0, 1)
    return a[:, 0] * b[:, 1] < a[:, 1] * b[:, 0]


def boundary_loops(triangles: np.ndarray, num_vertices: int) -> list[np.ndarray]:
    """Closed boundary loops of a mesh, each as indices of vertices, shortest first: the holes, then the outline."""
    edges = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).astype(np.int64)
    lone = ~np.isin(edges[:, 0] * num_vertices + edges[:, 1], edges[:, 1] * num_vertices + edges[:, 0])
    following: dict[int, list[int]] = {}
    for a, b in edges[lone].tolist():
        following.setdefault(b, []).append(a)
    loops = []
    while following:
        start = vertex = next(iter(following))
        loop = []
        while vertex in following:
            loop.append(vertex)
            vertex = following[vertex].pop()
            if not following[loop[-1]]:
                del following[loop[-1]]
        if vertex == start:
            loops.append(np.array(loop))
    return sorted(loops, key=len)


@dataclass(frozen=True)
class Fragments:
    """The triangles that are seen at the covered pixels of an image.

    Attributes:
      pixel: [fragments], ascending, row * width + column.
      triangle: [fragments], index of the triangle that is seen there.
      weights: [fragments, 3] float32, barycentric, of the triangle's corners at the pixel's centre.
    """

    pixel: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray


def visible_fragments(corners: np.ndarray, size: tuple[int, int]) -> Fragments:
    """The triangles that cover the pixels' centres; where several do, the last.

    Every triangle is compared with the pixels of its bounding box, all triangles at once, which is fast for the many
    triangles of one to ten pixels that a face is made of.

    Args:
      corners: [triangles, 3, 2] as (x, y) in pixels, y down, from back to front; pixel (0, 0) has its centre at
        (0, 0). Of either orientation; triangles without area cover nothing.
      size: width and height of the image.

    Example:
      >>> seen = visible_fragments(np.array([[[0, 0], [2, 0], [0, 2]]]), (4, 4))
      >>> seen.pixel
      array([0, 1, 2, 4, 5, 8])
    """
    width, height = size
    x, y = np.ascontiguousarray(np.asarray(corners, np.float32).T)
    edge_x, edge_y = x[1:] - x[0], y[1:] - y[0]
    twice_area = edge_x[0] * edge_y[1] - edge_x[1] * edge_y[0]
    (left, columns), (top, lines) = _span(x, width), _span(y, height)
    count = np.where(twice_area == 0, 0, columns * lines)

    triangle = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(triangle), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    row = step // columns[triangle]
    column = step - row * columns[triangle] + left[triangle]
    row += top[triangle]
    # Barycentric weights are linear over the image: a slope in x, one in y, and a value at the origin.
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / twice_area
        slopes = (edge_y[1] * inverse, -edge_x[1] * inverse), (-edge_y[0] * inverse, edge_x[0] * inverse)
    dx, dy = column - x[0][triangle], row - y[0][triangle]
    second, third = (in_x[triangle] * dx + in_y[triangle] * dy for in_x, in_y in slopes)

    inside = np.flatnonzero((second >= -_ROUNDING) & (third >= -_ROUNDING) & (second + third <= 1 + _ROUNDING))
    front = np.full(width * height, -1)
    np.maximum.at(front, row[inside] * width + column[inside], inside)
    pixel = np.flatnonzero(front >= 0)
    seen = front[pixel]
    second, third = second[seen], third[seen]
    return Fragments(pixel, triangle[seen], np.stack([1 - second - third, second, third], -1))


def _span(corners: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel centre that each triangle reaches, from its corners [3, triangles], and how many it spans."""
    low, high = np.minimum(*corners[:2]), np.maximum(*corners[:2])
    first = np.clip(np.ceil(np.minimum(low, corners[2])), 0, length).astype(np.int32)
    last = np.clip(np.floor(np.maximum(high, corners[2])) + 1, 0, length).astype(np.int32)
    return first, np.maximum(last - first, 0)
