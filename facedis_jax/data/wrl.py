"""VRML97 files that hold one indexed face set, as BU-3DFE's."""

import re
from pathlib import Path

import numpy as np

from facedis_jax.data.ascii_numbers import parse_numbers
from facedis_jax.errors import InputError

# Strings first, since a texture's name may hold a number sign; the optional ends make every match succeed
# where it starts, so that the time stays linear in the file.
_STRING_OR_COMMENT = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|#[^\r\n]*', re.DOTALL)
_POINT = re.compile(rb"\bCoordinate\s*\{\s*point\s*\[")
_COORD_INDEX = re.compile(rb"\bcoordIndex\s*\[")


def parse_wrl(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] float64, corners and polygon lengths."""
    if not data.startswith(b"#VRML"):
        raise InputError(path, "a VRML97 file", f"a file that starts with {data[:8]!r}")
    text = _STRING_OR_COMMENT.sub(b" ", data)
    coordinates = _numbers(path, text, _POINT, "Coordinate { point [...] }")
    if len(coordinates) % 3:
        raise InputError(path, "three coordinates of each point", f"{len(coordinates)} numbers")
    index = _numbers(path, text, _COORD_INDEX, "coordIndex [...]")
    is_end = index == -1
    # The -1 after the last polygon may be left out.
    ends = np.append(np.flatnonzero(is_end), len(index) if len(index) and not is_end[-1] else [])
    lengths = np.diff(ends, prepend=-1).astype(np.int64) - 1
    return coordinates.reshape(-1, 3), index[~is_end], lengths


def _numbers(path: Path, text: bytes, opening: re.Pattern[bytes], what: str) -> np.ndarray:
    found = [match.end() for match in opening.finditer(text)]
    if len(found) != 1:
        raise InputError(path, f"one {what}", f"{len(found)}")
    end = text.find(b"]", found[0])
    if end < 0:
        raise InputError(path, f"{what} with its closing bracket", "a file that ends before it")
    return parse_numbers(path, text[found[0] : end].replace(b",", b" "))
