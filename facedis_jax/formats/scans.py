"""Files of scans: any mesh, and points that belong to no faces."""

import codecs
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError, damage
from facedis_jax.formats.ascii_numbers import parse_numbers
from facedis_jax.formats.files import read_bytes
from facedis_jax.formats.meshes import MESH_SUFFIXES, mesh_ending, parse_mesh

POINT_SUFFIXES = (".xyz", ".txt", ".pts", ".asc", ".csv", ".npy")
"""Endings of files of bare points: rows of three numbers or more, separated by spaces or commas, or an array."""

SCAN_SUFFIXES = (*MESH_SUFFIXES, ".stl", *POINT_SUFFIXES)
"""Endings of the files that `read_scan` reads."""

_LARGEST = 1 << 30
# x, y, z, and then normals, colours, intensities and what else scanners write.
_MOST_COLUMNS = 32
_COMMAS = bytes.maketrans(b",;", b"  ")
# Of STL: a title and the number of triangles, then each one's normal, corners and two bytes of no meaning.
_TITLE = 80
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ScanFile:
    """What a file of a scan holds.

    Attributes:
      points: [points, 3] float32 or float64, in the unit of the file.
      triangles: [triangles, 3] int32; None for bare points.
    """

    points: np.ndarray
    triangles: np.ndarray | None


def read_scan(path: str | Path) -> ScanFile:
    """Reads a mesh as `read_mesh` does, STL, or bare points.

    PLY and OBJ files may have no faces. Triangles of STL, in text or binary, that meet at a place share a vertex. In
    text (`.xyz`, `.txt`, `.pts`, `.asc`, `.csv`) each line is a point, and what comes after x, y and z is not looked
    at; a first line of other words or of one number, and lines that begin with `#` or `//`, are skipped. In `.npy`
    stands an array [points, 3 or more].

    Raises:
      InputError: as `read_mesh`, and for lines or arrays of another kind.
    """
    return parse_scan(path, read_bytes(Path(path), "a scan that can be read"))


def parse_scan(path: str | Path, data: bytes) -> ScanFile:
    """As `read_scan`, from the bytes of the file; `path` gives the format and is named in errors."""
    path = Path(path)
    if mesh_ending(path) is not None:
        mesh = parse_mesh(path, data, faces_needed=False)
        return ScanFile(mesh.vertices, mesh.triangles if len(mesh.triangles) else None)
    suffix = path.suffix.lower()
    if suffix not in SCAN_SUFFIXES:
        expected = f"a scan ({', '.join(SCAN_SUFFIXES)})"
        raise InputError(path, expected, f"the ending {path.suffix!r}")
    if not data:
        raise InputError(path, "points", "an empty file")
    if len(data) > _LARGEST:
        raise InputError(path, f"a scan of at most {_LARGEST >> 20} MiB", f"{len(data) >> 20} MiB")
    points = {".npy": _array, ".stl": _corners}.get(suffix, _rows)(path, data)
    if not len(points):
        raise InputError(path, "points", "none")
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise InputError(path, "finite coordinates", f"{points[bad].tolist()} at point {bad}")
    return _with_shared_vertices(path, points) if suffix == ".stl" else ScanFile(points, None)


def _corners(path: Path, data: bytes) -> np.ndarray:
    """The corners of an STL file's triangles, [triangles * 3, 3] float32 or float64."""
    count = int.from_bytes(data[_TITLE : _TITLE + 4], "little")
    size = _TITLE + 4 + count * _STL_TRIANGLE.itemsize
    # Titles of binary files may begin with this word too.
    is_text = len(data) != size and data.lstrip()[:5].lower() == b"solid"
    if is_text:
        return _text_corners(path, data)
    if count < 1 or size > len(data):
        raise InputError(path, f"an STL file of {count} triangles, as it says", f"one of {len(data)} bytes")
    return np.frombuffer(data, _STL_TRIANGLE, count, _TITLE + 4)["corners"].reshape(-1, 3).copy()


def _text_corners(path: Path, data: bytes) -> np.ndarray:
    lines, kept, last = io.BytesIO(data.replace(b"\r", b"\n") if b"\r" in data else data), bytearray(), b""
    while line := lines.readline():
        words = line[:4096].split()
        last = words[0].lower() if words else last
        if last != b"vertex" or not words:
            continue
        if len(words) != 4:
            raise InputError(path, "three numbers of each vertex", f"{len(words) - 1}")
        kept += b" ".join(words[1:]) + b"\n"
    points = parse_numbers(path, bytes(kept)).reshape(-1, 3)
    if last != b"endsolid" or not len(points) or len(points) % 3:
        raise InputError(path, "a whole STL file", f"one that ends after {len(points)} vertices")
    return points


def _with_shared_vertices(path: Path, corners: np.ndarray) -> ScanFile:
    """The mesh of the corners of triangles, [triangles * 3, 3], without those that are a line or a point."""
    # A zero has a sign, which makes it another place.
    vertices, index = np.unique(corners + corners.dtype.type(0), axis=0, return_inverse=True)
    triangles = index.reshape(-1, 3).astype(np.int32)
    differ = (triangles != np.roll(triangles, 1, axis=1)).all(1)
    if not differ.any():
        raise InputError(path, "triangles", "none with three corners")
    return ScanFile(vertices, triangles[differ])


def _rows(path: Path, data: bytes) -> np.ndarray:
    """The first three columns of a text of numbers, [points, 3] float64."""
    data = data.removeprefix(codecs.BOM_UTF8).translate(_COMMAS)
    lines = io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data)
    kept, columns, number = bytearray(), 0, 0
    while line := lines.readline():
        number += 1
        words = line[:4096].split()
        if not words or words[0].startswith((b"#", b"//")):
            continue
        if not kept and not columns and (len(words) == 1 or not _is_number(words[0])):
            # Names of columns, or how many points there are.
            columns = -1
            continue
        if not 3 <= len(words) <= _MOST_COLUMNS:
            raise InputError(path, "three numbers or more in each line", f"{len(words)} in line {number}")
        kept += b" ".join(words[:3]) + b"\n"
        columns = len(words)
    return parse_numbers(path, bytes(kept)).reshape(-1, 3)


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _array(path: Path, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
    except Exception as error:
        # NumPy raises more kinds of errors for damaged files than it documents.
        raise InputError(path, "an array of points (.npy)", f"a damaged file ({damage(error)})") from error
    if dtype.kind not in "fiu" or len(shape) != 2 or not 3 <= shape[1] <= _MOST_COLUMNS:
        raise InputError(path, "an array [points, 3] of numbers", f"{dtype} of shape {list(shape)}"[:100])
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise InputError(path, f"{math.prod(shape)} numbers, as its header says", "another length")
    array = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    with np.errstate(over="ignore"):
        return array.reshape(shape, order="F" if fortran else "C")[:, :3].astype(np.float64)
