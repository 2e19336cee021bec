"""Mesh files: PLY, OBJ and WRL are read, PLY, OBJ and GLB written; and checks of face meshes."""

import codecs
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import list_files, natural_key, read_bytes
from facedis_jax.formats.obj import parse_obj
from facedis_jax.formats.packed import unpack
from facedis_jax.formats.ply import parse_ply
from facedis_jax.formats.polygons import (
    MOST_VERTICES_TO_COMPARE,
    check_polygons,
    cut_into_triangles,
    make_up,
    oriented_faces,
)
from facedis_jax.formats.whole import write_whole
from facedis_jax.formats.wrl import parse_wrl

# Each takes the path (for errors) and the bytes, and returns vertices [vertices, 3], the corners of all polygons one
# after another, and the number of corners of each polygon.
_PARSERS: dict[str, Callable[[Path, bytes], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    ".ply": parse_ply,
    ".obj": parse_obj,
    ".wrl": parse_wrl,
}
_ENDINGS = {suffix + end: suffix for end in ("", ".gz") for suffix in _PARSERS} | {".wrz": ".wrl"}

MESH_SUFFIXES = tuple(_ENDINGS)
"""How the names of files that `read_mesh` reads end, in small letters."""

WRITABLE_SUFFIXES = (".ply", ".obj", ".glb")
"""Endings of the files that `write_mesh` writes."""

UNITS = {"m": 1000.0, "dm": 100.0, "cm": 10.0, "mm": 1.0}
"""Millimetres in each unit of length."""

# In mm, from a child's face without ears to a whole head with its neck. The range spans less than a factor of ten, so
# that at most one unit fits.
_FACE_DIAGONAL = (120.0, 600.0)
# Offsets in what is made of a larger file would not fit into 32 bits.
_LARGEST = 1 << 30
# Readable files of a set among which the most common topology is looked for.
_PROBED = 10
# Frames of a sequence, which are in memory together.
_MOST_FRAMES = 20_000


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
      vertices: [vertices, 3] float32 or float64, in the unit of its file.
      triangles: [triangles, 3] int32.
      polygons: where the file has other polygons than triangles, the corners of all of them one after another and the
        number of corners of each; the triangles are their fans.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    polygons: tuple[np.ndarray, np.ndarray] | None = None


def read_mesh(path: str | Path) -> Mesh:
    """Reads a `.ply` (ASCII or binary), `.obj` or `.wrl` (VRML97) file; polygons become triangle fans.

    Each may be compressed with gzip, as `.wrz` is, and a text may begin with a byte order mark. Only the file itself is
    read, never a material or texture that it names. Memory stays within a small multiple of the file's size, whatever
    the file promises.

    Raises:
      InputError: where the file is missing, truncated, of another format, without vertices or faces, with NaN or
        infinite coordinates, or with corners that name no vertex.
    """
    return parse_mesh(path, read_mesh_bytes(path))


def read_mesh_bytes(path: str | Path) -> bytes:
    """The bytes of a mesh file, for `parse_mesh` and for hashing; raises an InputError as `read_mesh`."""
    return read_bytes(Path(path), "a mesh file that can be read")


def parse_mesh(path: str | Path, data: bytes, *, faces_needed: bool = True) -> Mesh:
    """As `read_mesh`, from the bytes of the file.

    Args:
      path: gives the format, and is named in errors.
      data: what stands in the file.
      faces_needed: refuse a PLY or OBJ file without faces; else its mesh has no triangles.
    """
    path = Path(path)
    ending = mesh_ending(path)
    if ending is None:
        raise InputError(path, f"a mesh file ({', '.join(_PARSERS)})", f"the ending {path.suffix!r}")
    data = unpack(path, data).removeprefix(codecs.BOM_UTF8)
    if not data:
        raise InputError(path, "a mesh", "an empty file")
    if len(data) > _LARGEST:
        raise InputError(path, f"a mesh file of at most {_LARGEST >> 20} MiB", f"{len(data) >> 20} MiB")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(path, "a mesh in ASCII or UTF-8", "text in UTF-16")
    parse = _PARSERS[_ENDINGS[ending]]
    if parse is parse_ply and not faces_needed:
        parse = partial(parse_ply, faces_needed=False)
    vertices, corners, lengths = parse(path, data)
    if not len(vertices):
        raise InputError(path, "a mesh", "no vertices")
    if not np.isfinite(vertices).all():
        bad = int(np.flatnonzero(~np.isfinite(vertices).all(1))[0])
        raise InputError(path, "finite coordinates", f"{vertices[bad].tolist()} at vertex {bad}")
    if not faces_needed and not len(lengths):
        return Mesh(vertices.copy(), np.empty((0, 3), np.int32))
    # The parsers may return views of a buffer as large as the file; these are copies, so that it can be freed.
    sizes = {"num_vertices": len(vertices), "num_bytes": len(data)}
    corners, lengths = check_polygons(path, corners, lengths, **sizes)
    polygons = None if (lengths == 3).all() else (corners, lengths)
    return Mesh(vertices, cut_into_triangles(corners, lengths), polygons)


def mesh_ending(path: str | Path) -> str | None:
    """Which of `MESH_SUFFIXES` a file's name ends in, whatever its capitals; the longest, or None."""
    # Not by Path, which takes several times as long, and sets have thousands of files.
    name = os.path.basename(path).lower()
    if not name.endswith(MESH_SUFFIXES):
        return None
    ending = name[name.rfind(".") :]
    return ending if ending in _ENDINGS else name[name.rfind(".", 0, -len(ending)) :]


def mesh_stem(path: str | Path) -> str:
    """A file's name without its `mesh_ending`.

    Example:
      >>> mesh_stem("S1/smile/smile.000001.ply.gz")
      'smile.000001'
    """
    name = os.path.basename(path)
    return name[: len(name) - len(mesh_ending(path) or "")]


def frame_paths(folder: str | Path) -> list[Path]:
    """The meshes in a folder, in the order of the numbers in their names; of a frame in several formats the first.

    Raises:
      InputError: there is no such folder, or there are none in it, or too many.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "a folder of meshes", "a file" if folder.exists() else "nothing there")
    ranked = sorted(
        list_files(folder, MESH_SUFFIXES, depth=0), key=lambda path: MESH_SUFFIXES.index(mesh_ending(path) or "")
    )
    frames: dict[str, Path] = {}
    for path in ranked:
        frames.setdefault(mesh_stem(path), path)
    if not 1 <= len(frames) <= _MOST_FRAMES:
        raise InputError(folder, f"1 to {_MOST_FRAMES} meshes in it", str(len(frames)))
    return [frames[stem] for stem in sorted(frames, key=natural_key)]


def write_mesh(path: str | Path, mesh: Mesh, *, unit: str = "mm") -> None:
    """Writes a mesh as `.ply` (little endian), `.obj` or `.glb`, whole or not at all.

    Args:
      path: where to; the ending names the format.
      mesh: what to write.
      unit: unit of the mesh's coordinates. PLY and OBJ keep it; GLB is in metres by its standard.

    Raises:
      InputError: where the ending is another one, or nothing can be written there.
    """
    content = encode_mesh(path, mesh, unit=unit)
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(path, "a place to write a mesh", reason(error)) from None


def encode_mesh(path: str | Path, mesh: Mesh, *, unit: str = "mm") -> bytes:
    """What `write_mesh` writes; raises an InputError where the ending of `path` names no format."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise InputError(path, f"a mesh file to write ({', '.join(WRITABLE_SUFFIXES)})", f"the ending {path.suffix!r}")
    # Most programs that read meshes write none, and this takes longer to import than all else here.
    import trimesh

    scale = UNITS[unit] / UNITS["m"] if suffix == ".glb" else 1.0
    surface = trimesh.Trimesh(mesh.vertices * scale, mesh.triangles, process=False, validate=False)
    content: Any = surface.export(file_type=suffix[1:])
    return content.encode() if isinstance(content, str) else content


def most_common_topology(paths: Sequence[Path]) -> Mesh:
    """The first mesh of the topology that most of the first ten readable ones of several files have.

    Raises:
      InputError: that of the first file, where none can be read.
    """
    problem: InputError | None = None
    first: dict[tuple[int, bytes], Mesh] = {}
    counts: Counter[tuple[int, bytes]] = Counter()
    for path in paths:
        try:
            mesh = read_mesh(path)
        except InputError as error:
            problem = problem or error
            continue
        num_vertices = len(mesh.vertices)
        faces = mesh.triangles
        if num_vertices <= MOST_VERTICES_TO_COMPARE:
            faces = np.sort(oriented_faces(mesh.triangles, num_vertices))
        key = (num_vertices, hashlib.sha256(faces.tobytes()).digest())
        first.setdefault(key, mesh)
        counts[key] += 1
        if counts.total() == _PROBED:
            break
    if not counts:
        assert problem is not None
        raise problem
    return first[counts.most_common(1)[0][0]]


def check_topology(where: object, mesh: Mesh, num_vertices: int, triangles: np.ndarray) -> None:
    """Raises an InputError unless the mesh has this many vertices and the same faces as triangles [triangles, 3].

    Faces are the same whatever their order and the corner at which each begins. Polygons match triangles into which
    they can be cut as a fan from one of their corners. Faces in the opposite winding are others, for nothing else tells
    a face that was mirrored or turned inside out.
    """
    if len(mesh.vertices) != num_vertices:
        raise InputError(where, f"a mesh of {num_vertices} vertices", f"{len(mesh.vertices)}")
    if len(mesh.triangles) != len(triangles):
        raise InputError(where, f"a mesh of {len(triangles)} triangles", f"{len(mesh.triangles)}")
    if np.array_equal(mesh.triangles, triangles):
        return
    odd = (mesh.triangles != triangles).any(1)
    if num_vertices <= MOST_VERTICES_TO_COMPARE:
        wanted, found = (oriented_faces(faces, num_vertices) for faces in (triangles, mesh.triangles))
        ordered = np.sort(wanted)
        if np.array_equal(ordered, np.sort(found)):
            return
        if mesh.polygons is not None and make_up(ordered, *mesh.polygons, num_vertices=num_vertices):
            return
        if np.array_equal(ordered, np.sort(oriented_faces(mesh.triangles[:, ::-1], num_vertices))):
            raise InputError(where, "the topology of the other meshes", "all faces wound the other way round")
        unknown = ~np.isin(found, ordered)
        odd = unknown if unknown.any() else odd
    first = int(np.flatnonzero(odd)[0])
    line = f"{mesh.triangles[first].tolist()} as triangle {first}"
    raise InputError(where, f"the topology of the other meshes ({triangles[first].tolist()})", line)


def likely_unit(where: object, vertices: np.ndarray) -> str:
    """The only unit of `UNITS` in which vertices [vertices, 3] have the size of a face; an InputError if there is none.

    Example:
      >>> likely_unit("face.ply", np.array([[-0.08, -0.1, 0.0], [0.08, 0.1, 0.1]]))
      'm'
    """
    diagonal = _diagonal(vertices)
    fitting = [unit for unit in UNITS if _is_a_face(diagonal, unit)]
    if not fitting:
        low, high = _FACE_DIAGONAL
        expected = f"a face (diagonal {low:g} to {high:g} mm) in {', '.join(UNITS)}"
        raise InputError(where, expected, f"a diagonal of {diagonal:.4g}")
    return fitting[0]


def check_unit(where: object, vertices: np.ndarray, expected_unit: str = "mm", *, setting: str | None = None) -> None:
    """Raises an InputError unless vertices [vertices, 3] have the size of a face in the expected unit.

    A face's bounding box measures 120 to 600 mm along its diagonal. The error says in which unit the mesh seems to be,
    and names the `setting` by which that one is expected, if there is one.
    """
    diagonal = _diagonal(vertices)
    if _is_a_face(diagonal, expected_unit):
        return
    likely = [unit for unit in UNITS if _is_a_face(diagonal, unit)]
    low, high = (limit / UNITS[expected_unit] for limit in _FACE_DIAGONAL)
    found = f"a diagonal of {diagonal:.4g}"
    if likely:
        found += f" (looks like {likely[0]})" + (f", where {setting}={likely[0]} reads it" if setting else "")
    raise InputError(where, f"a face in {expected_unit} (diagonal {low:g} to {high:g})", found)


def _diagonal(vertices: np.ndarray) -> float:
    # Along rows of many vertices: ten times as fast as down columns of three.
    return float(np.linalg.norm(np.ptp(np.ascontiguousarray(vertices.T, np.float64), axis=1)))


def _is_a_face(diagonal: float, unit: str) -> bool:
    return _FACE_DIAGONAL[0] <= diagonal * UNITS[unit] <= _FACE_DIAGONAL[1]
