"""Polygons as they were read from files: checked and cut into triangles, in memory in proportion to the file."""

import numpy as np

from facedis_jax.errors import InputError

# Corners or triangles that are worked on at a time.
_CHUNK = 1 << 18
# A file with one byte for each corner of its polygons would take twelve times its size as triangles. As its indices fit
# into a byte it has at most 256 vertices, so that no real mesh is refused by these limits.
_MOST_TIMES_THE_FILE = 4
_ALWAYS_ALLOWED = 1 << 25
_BYTES_PER_STRIP_CORNER = 20
# Polygons of more corners are cut into the fan from their first one alone, for all fans would take quadratic time.
_MOST_CORNERS_TURNED = 16

MOST_VERTICES_TO_COMPARE = 1 << 21
"""Of a mesh whose triangles `oriented_faces` can number in 63 bits."""


def check_polygons(
    where: object, corners: np.ndarray, lengths: np.ndarray, *, num_vertices: int, num_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The polygons as arrays of their own, once they are known to be valid.

    Args:
      where: the file, for errors.
      corners: vertex indices of all polygons one after another, in any shape and of any type of number.
      lengths: [polygons] integers of any type, how many corners each has.
      num_vertices: of the mesh.
      num_bytes: of the file.

    Returns:
      Corners [corners] and lengths [polygons], both int32.

    Raises:
      InputError: where there are no polygons, one has less than three corners, a corner names no vertex, or they make
        far more triangles than the file could hold.
    """
    if not len(lengths):
        raise InputError(where, "a mesh with faces", "no faces")
    if lengths.min() < 3:
        raise InputError(where, "faces of three or more corners", f"one of {int(lengths.min())}")
    num_triangles = corners.size - 2 * len(lengths)
    if 12 * num_triangles > _MOST_TIMES_THE_FILE * num_bytes + _ALWAYS_ALLOWED:
        raise InputError(where, "polygons of a surface", f"{num_triangles} triangles in {num_bytes} bytes")
    return _indices(where, corners, num_vertices), lengths.astype(np.int32)


def cut_into_triangles(corners: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Triangles [triangles, 3] int32 of polygons from `check_polygons`: each polygon becomes a fan."""
    return corners.reshape(-1, 3) if (lengths == 3).all() else _fans(corners, lengths)


def cut_strips(where: object, corners: np.ndarray, lengths: np.ndarray, *, num_bytes: int) -> np.ndarray:
    """Triangles [triangles, 3] int32 of triangle strips, all wound as the first of their strip.

    Triangles with a corner twice, by which writers join strips, are left out.

    Args:
      where: the file, for errors.
      corners: vertex indices of all strips one after another, in any shape and of any type of number; -1 ends a strip.
      lengths: [strips] integers, how many corners each has.
      num_bytes: of the file.

    Raises:
      InputError: where they make far more triangles than the file could hold.

    Example:
      >>> cut_strips("a.ply", np.array([0, 1, 2, 3, -1, 4, 5, 6]), np.array([8]), num_bytes=100).tolist()
      [[0, 1, 2], [2, 1, 3], [4, 5, 6]]
    """
    if _BYTES_PER_STRIP_CORNER * corners.size > _MOST_TIMES_THE_FILE * num_bytes + _ALWAYS_ALLOWED:
        raise InputError(where, "triangle strips of a surface", f"{corners.size} corners in {num_bytes} bytes")
    flat = corners.reshape(-1)
    # Where strips begin: after the end of a list, and after a separator.
    begins = np.zeros(len(flat) + 1, bool)
    begins[np.cumsum(lengths, dtype=np.int64)] = True
    begins[1:] |= _ends_strip(flat)
    begin, pieces = 0, [np.empty((0, 3), np.int32)]
    for low in range(0, len(flat) - 2, _CHUNK):
        some = flat[low : low + _CHUNK + 2]
        is_end = _ends_strip(some)
        valid = is_end | ((some >= 0) & (some < 1 << 31) & (some == np.floor(some)))
        if not valid.all():
            raise InputError(where, "corners of triangle strips", f"{some[~valid][0]}")
        some = np.where(is_end, 0, some).astype(np.int32)
        number = np.arange(low, low + len(some))
        start = np.maximum.accumulate(np.where(begins[low : low + len(some)], number, begin))
        begin = int(start[-2])
        within = (start[2:] == start[:-2]) & ~(is_end[2:] | is_end[1:-1] | is_end[:-2])
        first = np.flatnonzero(within)
        odd = (low + first - start[first]) % 2 == 1
        a, b, c = some[first + odd], some[first + ~odd], some[first + 2]
        pieces.append(np.stack([a, b, c], axis=1)[(a != b) & (b != c) & (a != c)])
    return np.concatenate(pieces)


def _ends_strip(corners: np.ndarray) -> np.ndarray:
    """Where there is a -1, which is the largest number of unsigned integers of 32 bits."""
    return (corners == -1) | (corners == (1 << 32) - 1)


def oriented_faces(triangles: np.ndarray, num_vertices: int) -> np.ndarray:
    """A number [...] int64 for each triangle [..., 3], the same for the three corners at which it may begin.

    Args:
      triangles: vertex indices.
      num_vertices: of the mesh, at most `MOST_VERTICES_TO_COMPARE`.

    Example:
      >>> oriented_faces(np.array([[0, 1, 2], [2, 0, 1], [0, 2, 1]]), 10)
      array([12, 12, 21])
    """
    a, b, c = np.moveaxis(triangles.astype(np.int64), -1, 0)
    numbers = [
        (first * num_vertices + second) * num_vertices + third
        for first, second, third in ((a, b, c), (b, c, a), (c, a, b))
    ]
    return np.minimum(np.minimum(numbers[0], numbers[1]), numbers[2])


def make_up(faces: np.ndarray, corners: np.ndarray, lengths: np.ndarray, *, num_vertices: int) -> bool:
    """Whether polygons, each cut into a fan from one of its corners, are just these triangles.

    Args:
      faces: sorted `oriented_faces`.
      corners, lengths: of the polygons, as from `check_polygons`.
      num_vertices: of the mesh.

    Example:
      >>> quad = np.array([1, 2, 3, 0]), np.array([4])
      >>> triangles = np.array([[0, 1, 2], [0, 2, 3]])
      >>> make_up(np.sort(oriented_faces(triangles, 4)), *quad, num_vertices=4)
      True
    """
    begins = np.cumsum(lengths) - lengths
    used = []
    for length in np.unique(lengths).tolist():
        open_polygons = corners[begins[lengths == length][:, None] + np.arange(length)]
        for turn in range(length if length <= _MOST_CORNERS_TURNED else 1):
            turned = np.roll(open_polygons, -turn, axis=1)
            firsts = np.broadcast_to(turned[:, :1], turned[:, 2:].shape)
            fans = oriented_faces(np.stack([firsts, turned[:, 1:-1], turned[:, 2:]], axis=-1), num_vertices)
            fits = np.isin(fans, faces).all(axis=1)
            used.append(fans[fits].ravel())
            open_polygons = open_polygons[~fits]
        if len(open_polygons):
            return False
    return np.array_equal(np.sort(np.concatenate(used)), faces)


def _indices(where: object, corners: np.ndarray, num_vertices: int) -> np.ndarray:
    indices = np.empty(corners.size, np.int32)
    for start in range(0, corners.size, _CHUNK):
        some = corners.reshape(-1) if corners.size <= _CHUNK else corners.flat[start : start + _CHUNK]
        valid = (some >= 0) & (some < num_vertices)
        if some.dtype.kind == "f":
            valid &= some == np.floor(some)
        if not valid.all():
            raise InputError(where, f"corners from 0 to {num_vertices - 1}", f"{some[~valid][0]}")
        indices[start : start + _CHUNK] = some
    return indices


def _fans(corners: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    counts = lengths - 2
    ends = np.cumsum(counts, dtype=np.int32)
    triangles = np.empty((ends[-1], 3), np.int32)
    for start in range(0, len(triangles), _CHUNK):
        stop = min(start + _CHUNK, len(triangles))
        low, high = np.searchsorted(ends, [start, stop - 1], side="right")
        begins = ends[low : high + 1] - counts[low : high + 1]
        inside = np.minimum(ends[low : high + 1], stop) - np.maximum(begins, start)
        number = np.arange(start, stop)
        # Each polygon has two corners more than triangles, and so begins two later for each one before it.
        before = 2 * np.repeat(np.arange(low, high + 1), inside)
        triangles[start:stop, 0] = corners[np.repeat(begins, inside) + before]
        triangles[start:stop, 1] = corners[number + before + 1]
        triangles[start:stop, 2] = corners[number + before + 2]
    return triangles
