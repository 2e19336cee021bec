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

_LARGEST = 1 << 30
# x, y, z, and then normals, colours, intensities and what else scanners write.
_MOST_COLUMNS = 32
_COMMAS = bytes.maketrans(b",;", b"  ")
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
    """Reads a mesh as `read_mesh` does, or bare points.

    PLY and OBJ files may have no faces. In text (`.xyz`, `.txt`, `.pts`, `.asc`, `.csv`) each line is a point, and what
    comes after x, y and z is not looked at; a first line of other words or of one number, and lines that begin with
    `#` or `//`, are skipped. In `.npy` stands an array [points, 3 or more].

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
    if suffix not in POINT_SUFFIXES:
        expected = f"a scan ({', '.join((*MESH_SUFFIXES, *POINT_SUFFIXES))})"
        raise InputError(path, expected, f"the ending {path.suffix!r}")
    if not data:
        raise InputError(path, "points", "an empty file")
    if len(data) > _LARGEST:
        raise InputError(path, f"a scan of at most {_LARGEST >> 20} MiB", f"{len(data) >> 20} MiB")
    points = _array(path, data) if suffix == ".npy" else _rows(path, data)
    if not len(points):
        raise InputError(path, "points", "none")
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise InputError(path, "finite coordinates", f"{points[bad].tolist()} at point {bad}")
    return ScanFile(points, None)


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
