"""Wavefront OBJ files: vertices and faces in the file's order; other lines and other files are not read.

Loaders for rendering split and reorder vertices by their texture coordinates; here vertex i of one mesh must stay
vertex i of every other mesh that is registered with it.
"""

import io
from array import array
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError

# Splitting a longer line would take too much memory.
_LONGEST_LINE = 1 << 16
_CONTINUED = (b"\\\n", b"\\\r\n")


def parse_obj(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] float64, corners and polygon lengths."""
    coordinates, corners, lengths = array("d"), array("i"), array("i")
    if data.count(b"\r") > data.count(b"\r\n"):
        # Lines of old Macs end in a carriage return alone.
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = io.BytesIO(data)
    number = 0
    while line := lines.readline():
        number += 1
        if line.endswith(_CONTINUED):
            line, more = _continued(line, lines)
            number += more
        start = line[:2] if line[:1] in (b"v", b"f") else line.lstrip()[:2]
        if start[:1] not in (b"v", b"f") or not start[1:].isspace():
            continue
        if len(line) > _LONGEST_LINE:
            raise InputError(path, f"lines below {_LONGEST_LINE} bytes", f"{len(line)} bytes in line {number}")
        words = line.split(b"#", 1)[0].split()
        try:
            if words[0] == b"v":
                x, y, z = words[1:4]
                coordinates.extend((float(x), float(y), float(z)))
            else:
                corners.extend(_corner(word, len(coordinates) // 3) for word in words[1:])
                lengths.append(len(words) - 1)
        except (ValueError, OverflowError):
            shown = line.strip()[:48].decode("ascii", "replace")
            raise InputError(path, "a vertex or face of an OBJ file", f"{shown!r} in line {number}") from None
    vertices = np.frombuffer(coordinates, np.float64).reshape(-1, 3)
    return vertices, np.frombuffer(corners, np.int32), np.frombuffer(lengths, np.int32)


def _continued(line: bytes, lines: io.BytesIO) -> tuple[bytes, int]:
    """A line with those in which it goes on, and how many these are; a backslash in a comment is part of a name."""
    parts, length = [line], len(line)
    while parts[-1].endswith(_CONTINUED) and b"#" not in parts[-1] and length <= _LONGEST_LINE:
        parts.append(lines.readline())
        length += len(parts[-1])
    return b" ".join(part.rstrip(b"\r\n").removesuffix(b"\\") for part in parts), len(parts) - 1


def _corner(word: bytes, vertices_so_far: int) -> int:
    """The vertex index, from 0, in `v`, `v/vt`, `v//vn` or `v/vt/vn`; negative numbers count back from the last."""
    index = int(word.split(b"/", 1)[0])
    if index == 0 or index < -vertices_so_far:
        raise ValueError("vertices count from 1")
    return index - 1 if index > 0 else vertices_so_far + index
