"""Edit a face with a finished run: its neutral, another expression, another's expression, an in-between.

Command    python -m experiments.edit --run RUN --output OUT ACTION ...

Examples
           python -m experiments.edit --run RUN --output neutral.ply neutral --face face.ply
           python -m experiments.edit --run RUN --output half.obj expression mouth_open --face face.ply
           python -m experiments.edit --run RUN --output both.glb transfer --face who.ply --from what.ply
           python -m experiments.edit --run RUN --output way.ply between --face one.ply --to two.ply --steps 5
           python -m experiments.edit --run RUN --output new.ply sample --number 6 --seed 1

Input      PLY, OBJ or WRL in the run's topology: its vertices and triangles, in their order.

Output     PLY, OBJ or GLB, and beside it a picture, OUT with the ending .png. Several faces are numbered:
           way_1.ply, way_2.ply and so on. An action with --help shows its own options.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from matplotlib.figure import Figure

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.meshes import UNITS, Mesh, encode_mesh
from facedis_jax.formats.whole import write_together
from facedis_jax.inference.face_editor import FaceEditor, Pose
from facedis_jax.rendering.faces import render_faces
from facedis_jax.reports.figures import face_grid, png
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.finished import load_run

_FORMATS = (".ply", ".obj", ".glb")
_PICTURES_IN_A_ROW = 7


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """Which face is edited.

    Attributes:
      face: the face.
      align: move the face rigidly onto the training faces first, and back afterwards.
      keep_detail: add to the result what the codes cannot hold: how the face differs from its reconstruction.
      label: for a run with labels, the expression that the face shows; without it the face counts as neutral.
      label_level: how much of it, 0 to 1.
    """

    face: Path
    align: bool = False
    keep_detail: bool = False
    label: str | None = None
    label_level: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Neutral(FaceOptions):
    """The face's neutral."""


@dataclass(frozen=True, kw_only=True)
class Expression(FaceOptions):
    """The person with an expression of the training set.

    One that goes both ways under one name (CoMA's mouth_side) goes the more typical way.

    Attributes:
      name: which expression; a wrong name lists them all.
      level: how much of it, from 0 (neutral) to 1.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    level: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Transfer(FaceOptions):
    """The person with the expression of another face.

    Attributes:
      donor: the face whose expression it is.
      donor_label, donor_label_level: as --label, of this face.
    """

    donor: Annotated[Path, tyro.conf.arg(name="from")]
    donor_label: Annotated[str | None, tyro.conf.arg(name="from-label")] = None
    donor_label_level: Annotated[float, tyro.conf.arg(name="from-label-level")] = 1.0


@dataclass(frozen=True, kw_only=True)
class Between(FaceOptions):
    """Faces on the way to another one, in person and expression.

    Attributes:
      to: the other face.
      steps: how many, evenly spaced between the two; 1 for the one half way.
      to_label, to_label_level: as --label, of the other face.
    """

    to: Path
    steps: int = 1
    to_label: str | None = None
    to_label_level: float = 1.0


@dataclass(frozen=True)
class Sample:
    """New faces: person and expression drawn apart, from normal distributions fitted to the training codes.

    Attributes:
      number: how many.
      seed: of what is drawn.
    """

    number: int = 1
    seed: int = 0


Action = (
    Annotated[Neutral, tyro.conf.subcommand("neutral")]
    | Annotated[Expression, tyro.conf.subcommand("expression")]
    | Annotated[Transfer, tyro.conf.subcommand("transfer")]
    | Annotated[Between, tyro.conf.subcommand("between")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
)


@dataclass(frozen=True)
class EditOptions:
    """What to do with which run.

    Attributes:
      run: the folder of a finished run (coma_ib, coma_cvae, bu3dfe_ib).
      output: the mesh to write: .ply, .obj or .glb.
      action: what to do.
      unit: of the coordinates in all files, in and out (GLB is in metres by its standard).
    """

    run: Path
    output: Path
    action: Action
    unit: Literal["mm", "cm", "dm", "m"] = "mm"


@dataclass(frozen=True)
class Edited:
    """What an action made.

    Attributes:
      faces: [results, vertices, 3] mm.
      captions: one for each.
      before, after: what the picture shows on either side of them, faces [vertices, 3] mm by caption.
      pose: of the face that was edited.
    """

    faces: np.ndarray
    captions: Sequence[str]
    before: dict[str, np.ndarray] = field(default_factory=dict)
    after: dict[str, np.ndarray] = field(default_factory=dict)
    pose: Pose = field(default_factory=Pose)


def main(options: EditOptions) -> int:
    """Edits and writes; returns the exit code."""
    if options.output.suffix.lower() not in _FORMATS:
        found = f"the ending {options.output.suffix!r}"
        raise InputError(options.output, f"a mesh file to write ({', '.join(_FORMATS)})", found)
    if not options.output.parent.is_dir():
        raise InputError(options.output, "a folder that exists", f"no {options.output.parent}")
    editor = FaceEditor(*load_run(options.run), options.unit)
    edited = edit(editor, options.action)
    for path in save(options.output, edited, editor.trained.triangles, options.unit):
        print(path)
    return 0


def edit(editor: FaceEditor, action: Action) -> Edited:
    """Carries out an action.

    Raises:
      InputError: for options or files that cannot be used.
    """
    if isinstance(action, Sample):
        faces = editor.sample(action.number, action.seed)
        return Edited(faces, [f"sample {i + 1}" for i in range(len(faces))])
    labels = editor.labels("--label", action.label, action.label_level)
    face = editor.encode(action.face, labels, align=action.align, keep_detail=action.keep_detail)
    before = {"input": face.vertices[0]}
    if isinstance(action, Neutral):
        return Edited(editor.neutral(face), ["neutral"], before, pose=face.pose)
    if isinstance(action, Expression):
        caption = f"{action.name.replace('_', ' ')}, {action.level:.0%}"
        return Edited(editor.expression(face, action.name, action.level), [caption], before, pose=face.pose)
    if isinstance(action, Transfer):
        labels = editor.labels("--from-label", action.donor_label, action.donor_label_level)
        donor = editor.encode(action.donor, labels, align=action.align)
        before["expression of"] = donor.vertices[0]
        return Edited(editor.transfer(face, donor), ["result"], before, pose=face.pose)
    labels = editor.labels("--to-label", action.to_label, action.to_label_level)
    other = editor.encode(action.to, labels, align=action.align, keep_detail=action.keep_detail)
    amounts, faces = editor.between(face, other, action.steps)
    captions = [f"{amount:.0%}" for amount in amounts]
    return Edited(faces, captions, before, {"to": other.vertices[0]}, face.pose)


def save(output: Path, edited: Edited, triangles: np.ndarray, unit: str) -> list[Path]:
    """Writes meshes and picture, all of them or none; returns their paths."""
    count = len(edited.faces)
    names = [output.name]
    if count > 1:
        names = [f"{output.stem}_{i:0{len(str(count))}d}{output.suffix}" for i in range(1, count + 1)]
    picture = f"{output.stem}.png"
    paths = [output.with_name(name) for name in (*names, picture)]
    for path in paths:
        if path.is_dir():
            raise InputError(path, "a file to write", "a folder")
    faces = edited.pose.undo(edited.faces) / UNITS[unit]
    meshes = [Mesh(vertices.astype(np.float32), triangles) for vertices in faces]
    contents = [encode_mesh(path, mesh, unit=unit) for path, mesh in zip(paths[:-1], meshes, strict=True)]
    contents.append(png(_figure(edited, triangles)))
    try:
        write_together(dict(zip(paths, contents, strict=True)))
    except OSError as error:
        raise InputError(output, "a place to write to", reason(error)) from error
    return paths


def _figure(edited: Edited, triangles: np.ndarray) -> Figure:
    faces = [*edited.before.values(), *edited.faces, *edited.after.values()]
    captions = [*edited.before, *edited.captions, *edited.after]
    pictures = list(render_faces(np.stack(faces), triangles))
    in_a_row = math.ceil(len(pictures) / math.ceil(len(pictures) / _PICTURES_IN_A_ROW))
    rows = [pictures[first : first + in_a_row] for first in range(0, len(pictures), in_a_row)]
    return face_grid(rows, column_labels=captions if len(rows) == 1 else ())


def _command() -> int:
    # Options of the command as a whole are understood after the action as well.
    flags = (tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    return main(tyro.cli(EditOptions, prog="python -m experiments.edit", description=__doc__, config=flags))


if __name__ == "__main__":
    exit_with(_command)
