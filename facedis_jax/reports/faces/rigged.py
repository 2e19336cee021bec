"""Files of a person's rig: GLB with morph targets, or OBJ shapes; and a table of weights for each frame."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.glb import MorphMesh, Shape, encode_glb
from facedis_jax.formats.meshes import UNITS, Mesh, encode_mesh
from facedis_jax.formats.whole import write_together
from facedis_jax.inference.face_editor import Pose
from facedis_jax.inference.rig import FaceRig
from facedis_jax.rendering.surfaces import vertex_normals

RIG_SUFFIXES = (".glb", ".obj")
"""Endings of the files that `write_rig` writes."""

_LONGEST_NAME = 60


@dataclass(frozen=True)
class RiggedFaces:
    """A rig, and faces by their weights on it.

    Attributes:
      rig: of the person.
      triangles: [triangles, 3].
      frames: what the faces are called.
      weights: [frames, shapes].
      frames_per_second: of the faces as an animation; None where they are none.
      pose: of the face that was rigged; the rig is moved back by it.
    """

    rig: FaceRig
    triangles: np.ndarray
    frames: Sequence[str]
    weights: np.ndarray
    frames_per_second: float | None
    pose: Pose


def check_rig_output(output: Path) -> None:
    """Checks that a rig can be written under a name, before anything is computed.

    Raises:
      InputError: its ending is no format's that holds one, or its folder does not exist.
    """
    if output.suffix.lower() not in RIG_SUFFIXES:
        raise InputError(output, f"a rig to write ({', '.join(RIG_SUFFIXES)})", f"the ending {output.suffix!r}")
    if not output.parent.is_dir():
        raise InputError(output, "a folder that exists", f"no {output.parent}")


def write_rig(output: Path, rigged: RiggedFaces, unit: str) -> list[Path]:
    """Writes the rig and the table of weights, all of these files or none.

    Args:
      output: .glb for one file with morph targets; .obj for the neutral, and beside it a file for each shape.
      rigged: the rig.
      unit: of the coordinates in OBJ files.

    Returns:
      The paths of the files, the table last: the name of `output` with the ending .csv.

    Raises:
      InputError: one of them cannot be written.
    """
    shapes = rigged.pose.undo(np.concatenate([rigged.rig.neutral[None], rigged.rig.shapes]))
    if output.suffix.lower() == ".glb":
        contents = {output: _glb(output.stem, rigged, shapes)}
    else:
        names = [output.stem, *(f"{output.stem}_{name}" for name in file_names(rigged.rig.names))]
        contents = {}
        for name, vertices in zip(names, shapes, strict=True):
            path = output.with_name(f"{name}{output.suffix}")
            mesh = Mesh((vertices / UNITS[unit]).astype(np.float32), rigged.triangles)
            contents[path] = encode_mesh(path, mesh, unit=unit)
    contents[output.with_suffix(".csv")] = _table(rigged).encode()
    for path in contents:
        if path.is_dir():
            raise InputError(path, "a file to write", "a folder")
    try:
        write_together(contents)
    except OSError as error:
        raise InputError(output, "a place to write to", reason(error)) from error
    return list(contents)


def _glb(name: str, rigged: RiggedFaces, shapes: np.ndarray) -> bytes:
    neutral, *targets = (Shape(each, _normals(each, rigged.triangles)) for each in shapes)
    moves = rigged.frames_per_second is not None
    return encode_glb(
        MorphMesh(
            name,
            neutral,
            rigged.triangles,
            rigged.rig.names,
            targets,
            rigged.weights if moves else None,
            rigged.frames_per_second or 30.0,
        )
    )


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals; a vertex without a triangle of any area has one along z, as the standard allows no other length."""
    normals = vertex_normals(vertices, triangles)
    is_lost = np.linalg.norm(normals, axis=-1) < 0.5
    normals[is_lost] = (0, 0, 1)
    return normals


def _table(rigged: RiggedFaces) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["frame", *rigged.rig.names])
    for name, weights in zip(rigged.frames, rigged.weights, strict=True):
        rows.writerow([name, *(f"{weight:.6f}" for weight in weights)])
    return text.getvalue()


def file_names(names: Sequence[str]) -> list[str]:
    """Names of shapes as parts of file names, each another one whatever the capitals."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")[:_LONGEST_NAME] or "shape"
        count = sum(each.lower() == plain.lower() for each in found)
        while plain.lower() in (each.lower() for each in found):
            count += 1
            plain = f"{plain}_{count}"
        found.append(plain)
    return found
