"""Files of edited faces: the meshes, and an image that shows them beside what they were made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.errors import InputError, reason
from facedis_jax.formats.meshes import UNITS, WRITABLE_SUFFIXES, Mesh, encode_mesh
from facedis_jax.formats.whole import numbered_paths, write_together
from facedis_jax.inference.face_editor import Pose
from facedis_jax.rendering.faces import render_faces
from facedis_jax.reports.figures import png
from facedis_jax.reports.grids import grid_figure

_FACES_IN_A_ROW = 7
_MOST_SHOWN = 100  # of the frames of a sequence


@dataclass(frozen=True)
class EditedFaces:
    """What an edit made.

    Attributes:
      faces: [faces, vertices, 3] mm.
      captions: one for each.
      before, after: what the image shows on either side of them, faces [vertices, 3] mm by caption.
      pose: of the face that was edited; the meshes are moved back by it.
    """

    faces: np.ndarray
    captions: Sequence[str]
    before: dict[str, np.ndarray] = field(default_factory=dict)
    after: dict[str, np.ndarray] = field(default_factory=dict)
    pose: Pose = field(default_factory=Pose)


def check_output(output: Path) -> None:
    """Checks that meshes can be written under a name, before anything is computed.

    Raises:
      InputError: its ending is no mesh format's, or its folder does not exist.
    """
    if output.suffix.lower() not in WRITABLE_SUFFIXES:
        found = f"the ending {output.suffix!r}"
        raise InputError(output, f"a mesh file to write ({', '.join(WRITABLE_SUFFIXES)})", found)
    if not output.parent.is_dir():
        raise InputError(output, "a folder that exists", f"no {output.parent}")


def write_edited_faces(output: Path, edited: EditedFaces, triangles: np.ndarray, unit: str) -> list[Path]:
    """Writes the meshes, and the image beside them, all of these files or none.

    Args:
      output: the mesh; of several faces each has a number at the end of its stem. The image ends in .png.
      edited: the faces.
      triangles: [triangles, 3], theirs.
      unit: of the files' coordinates.

    Returns:
      The paths of the files, the image last.

    Raises:
      InputError: one of them cannot be written.
    """
    paths = numbered_paths(output, len(edited.faces), f"{output.stem}.png")
    faces = edited.pose.undo(edited.faces) / UNITS[unit]
    meshes = [Mesh(vertices.astype(np.float32), triangles) for vertices in faces]
    contents = [encode_mesh(path, mesh, unit=unit) for path, mesh in zip(paths[:-1], meshes, strict=True)]
    contents.append(png(_figure(edited, triangles)))
    try:
        write_together(dict(zip(paths, contents, strict=True)))
    except OSError as error:
        raise InputError(output, "a place to write to", reason(error)) from error
    return paths


def _figure(edited: EditedFaces, triangles: np.ndarray) -> Figure:
    shown = evenly_spaced(len(edited.faces), _MOST_SHOWN)
    faces = [*edited.before.values(), *edited.faces[shown], *edited.after.values()]
    captions = [*edited.before, *(edited.captions[i] for i in shown), *edited.after]
    images = list(render_faces(np.stack(faces), triangles))
    in_a_row = math.ceil(len(images) / math.ceil(len(images) / _FACES_IN_A_ROW))
    rows = [images[first : first + in_a_row] for first in range(0, len(images), in_a_row)]
    return grid_figure(rows, column_labels=captions if len(rows) == 1 else ())
