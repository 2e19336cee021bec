"""VRML97 files that hold one indexed face set, as BU-3DFE's."""

import re
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.ascii_numbers import parse_numbers

# Strings first, since a texture's name may hold a number sign; the optional ends make every match succeed
# where it starts, so that the time stays linear in the file.
_STRING_OR_COMMENT = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|#[^\r\n]*', re.DOTALL)
_COMMAS = bytes.maketrans(b",", b" ")
_POINT = re.compile(rb"\bCoordinate\s*+\{\s*point\s*\[")
_COORD_INDEX = re.compile(rb"\bcoordIndex\s*\[")


def parse_wrl(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] float64, corners and polygon lengths."""
    if not data.startswith(b"#VRML"):
        raise InputError(path, "a VRML97 file", f"a file that starts with {data[:8]!r}")
    text = bytearray(data)
    for match in _STRING_OR_COMMENT.finditer(data):
        text[match.start() : match.end()] = bytes(match.end() - match.start()).replace(b"\0", b" ")
    # Commas are white space in VRML.
    text = text.translate(_COMMAS)
    points = _between_brackets(path, text, _POINT, "Coordinate { point [...] }")
    corners = _between_brackets(path, text, _COORD_INDEX, "coordIndex [...]")
    coordinates = parse_numbers(path, points)
    if len(coordinates) % 3:
        raise InputError(path, "three coordinates of each point", f"{len(coordinates)} numbers")
    return coordinates.reshape(-1, 3), *_polygons(path, parse_numbers(path, corners))


def _between_brackets(path: Path, text: bytearray, opening: re.Pattern[bytes], what: str) -> memoryview:
    found = [match.end() for match, _ in zip(opening.finditer(text), range(2), strict=False)]
    if len(found) != 1:
        raise InputError(path, f"one {what}", "more" if found else "none")
    end = text.find(b"]", found[0])
    if end < 0:
        raise InputError(path, f"{what} with its closing bracket", "a file that ends before it")
    return memoryview(text)[found[0] : end]


def _polygons(path: Path, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners and polygon lengths from corners with -1 after each polygon, which may be missing after the last."""
    is_end = index == -1
    # `check_polygons` would refuse this as well, but here the array of ends would already be large.
    if 4 * np.count_nonzero(is_end) > len(index) + 1:
        raise InputError(path, "faces of three or more corners", "shorter ones")
    ends = np.append(np.flatnonzero(is_end), len(index) if len(index) and not is_end[-1] else [])
    lengths = np.diff(ends, prepend=-1).astype(np.int64) - 1
    return index[~is_end], lengths
