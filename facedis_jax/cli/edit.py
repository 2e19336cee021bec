"""Edit a face with a trained model: its neutral, another expression, another's expression, an in-between. Or an image.

Command    facedis edit --model RUN_OR_FILE --output OUT ACTION ...

Examples
           facedis edit --model RUN --output neutral.ply neutral --face face.ply
           facedis edit --model RUN --output half.obj expression mouth_open --face face.ply
           facedis edit --model RUN --output both.glb transfer --face who.ply --from what.ply
           facedis edit --model RUN --output way.ply between --face one.ply --to two.ply --steps 5
           facedis edit --model RUN --output steady.ply transfer --sequence frames --from frames
           facedis edit --model RUN --output new.ply sample --number 6 --seed 1
           facedis edit --model IMAGES --output new.png recombine --appearance who.png --geometry a.png b.png
           facedis edit --model IMAGES --output way.png traverse --part geometry --dimension 2 --image who.png

Input      PLY, OBJ or WRL in the model's topology: its vertices and triangles, in their order. A sequence is a
           folder of them, the frames of one person in the order of their numbers; they tell one identity together.
           Of a model of images any image, of which the largest square in the middle counts.

Output     PLY, OBJ or GLB, and beside it an image, OUT with the ending .png. Several faces are numbered:
           way_1.ply, way_2.ply and so on. An action with --help shows its own options. Of a model of images PNG,
           and beside it OUT_grid.png with what it was made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeAlias

import tyro

from facedis_jax.cli.edit_images import Recombine, Traverse, edit_images, sample_images
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import frame_paths
from facedis_jax.inference.face_editor import EncodedFace, FaceEditor
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.generator_models import TrainedImageModel, TrainedVideoModel
from facedis_jax.inference.load import TrainedModel, load
from facedis_jax.reports.faces.edited import EditedFaces, check_output, write_edited_faces
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.compiled_programs import keep_compiled_programs
from facedis_jax.runs.options import parse_options, typed_options
from facedis_jax.runs.renamed import RENAMED_EDIT_OPTIONS, check_renamed


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """Which face is edited.

    Attributes:
      face: the face.
      sequence: in its place a folder of frames of one person, who is edited; a face is the first of them where what it
        shows matters.
      smoothing: of the expressions of frames: 0 for none, to 1 for one in all of them; None for the likeliest.
      several_people: take frames that seem to be of several people for one person's.
      align: move the face rigidly onto the training faces first, and back afterwards.
      keep_detail: add to the result what the codes cannot hold: how the face differs from its reconstruction.
      label: for a model with labels, the expression that the face shows; without it the face counts as neutral.
      label_level: how much of it, 0 to 1.
    """

    face: Path | None = None
    sequence: Path | None = None
    smoothing: float | None = 0.0
    several_people: bool = False
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
      donor: the face whose expression it is; or a folder of frames of one person, whose expressions they are.
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
    """New faces: person and expression drawn apart, from normal distributions fitted to the training codes. Or images.

    Attributes:
      number: how many.
      seed: of what is drawn.
    """

    number: int = 1
    seed: int = 0


FaceAction: TypeAlias = Neutral | Expression | Transfer | Between | Sample
Action = (
    Annotated[Neutral, tyro.conf.subcommand("neutral")]
    | Annotated[Expression, tyro.conf.subcommand("expression")]
    | Annotated[Transfer, tyro.conf.subcommand("transfer")]
    | Annotated[Between, tyro.conf.subcommand("between")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Recombine, tyro.conf.subcommand("recombine")]
    | Annotated[Traverse, tyro.conf.subcommand("traverse")]
)


@dataclass(frozen=True)
class EditOptions:
    """What to do with which model.

    Attributes:
      model: a model that comes with the package, the folder of a finished run, or its model.safetensors, wherever that
        is.
      output: the mesh to write: .ply, .obj or .glb; of a model of images .png.
      action: what to do.
      unit: of the coordinates in all files, in and out (GLB is in metres by its standard).
    """

    model: Path
    output: Path
    action: Action
    unit: Literal["mm", "cm", "dm", "m"] = "mm"


def edit(options: EditOptions) -> int:
    """Edits and writes, and prints the names of the files; returns the exit code."""
    keep_compiled_programs()
    check_back_end()
    for path in _edited(load(options.model), options):
        print(path)
    return 0


def _edited(model: TrainedModel, options: EditOptions) -> list[Path]:
    """The names of the files that an action has written.

    Raises:
      InputError: for an action that is none of the model's, or options or files that cannot be used.
    """
    action, output = options.action, options.output
    if isinstance(model, TrainedVideoModel):
        raise InputError(options.model, "a model of faces or of images", "one of clips")
    if isinstance(model, TrainedImageModel):
        if isinstance(action, Recombine | Traverse):
            return edit_images(model, action, output)
        if isinstance(action, Sample):
            return sample_images(model, action.number, action.seed, output)
        raise InputError(options.model, f"a model of faces, for {type(action).__name__.lower()}", "one of images")
    assert isinstance(model, TrainedFaceModel)
    if isinstance(action, Recombine | Traverse):
        raise InputError(options.model, f"a model of images, for {type(action).__name__.lower()}", "one of faces")
    check_output(output)
    edited = edited_faces(FaceEditor(model, options.unit), action)
    return write_edited_faces(output, edited, model.triangles, options.unit)


def edited_faces(editor: FaceEditor, action: FaceAction) -> EditedFaces:
    """The faces that an action makes.

    Raises:
      InputError: for options or files that cannot be used.
    """
    if isinstance(action, Sample):
        faces = editor.sample(action.number, action.seed)
        return EditedFaces(faces, [f"sample {i + 1}" for i in range(len(faces))])
    face = _person(editor, action)
    before = {"input": face.vertices[0]}
    if isinstance(action, Neutral):
        return EditedFaces(editor.neutral(face), ["neutral"], before, pose=face.pose)
    if isinstance(action, Expression):
        caption = f"{action.name.replace('_', ' ')}, {action.level:.0%}"
        return EditedFaces(editor.expression(face, action.name, action.level), [caption], before, pose=face.pose)
    if isinstance(action, Transfer):
        labels = editor.model.labels(action.donor_label, action.donor_label_level, where="from_label")
        if action.donor.is_dir():
            paths = frame_paths(action.donor)
            how = {"align": action.align, "several_people": action.several_people}
            donor = editor.encode_frames(action.donor, paths, labels, smoothing=action.smoothing, **how)
        else:
            donor = editor.encode(action.donor, labels, align=action.align)
        before["expression of"] = donor.vertices[0]
        faces = editor.transfer(face, donor)
        captions = [f"frame {i + 1}" for i in range(len(faces))] if len(faces) > 1 else ["result"]
        return EditedFaces(faces, captions, before, pose=face.pose)
    labels = editor.model.labels(action.to_label, action.to_label_level, where="to_label")
    other = editor.encode(action.to, labels, align=action.align, keep_detail=action.keep_detail)
    amounts, faces = editor.between(face, other, action.steps)
    captions = [f"{amount:.0%}" for amount in amounts]
    return EditedFaces(faces, captions, before, {"to": other.vertices[0]}, face.pose)


def _person(editor: FaceEditor, action: FaceOptions) -> EncodedFace:
    """The face that is edited."""
    labels = editor.model.labels(action.label, action.label_level)
    how = {"align": action.align, "keep_detail": action.keep_detail}
    if (action.face is None) == (action.sequence is None):
        found = "neither" if action.face is None else "both"
        raise InputError("face", "a face, or a sequence of one person", found)
    if action.face is not None:
        return editor.encode(action.face, labels, **how)
    assert action.sequence is not None
    how["several_people"] = action.several_people
    return editor.encode_frames(action.sequence, frame_paths(action.sequence), labels, **how).first


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""
    # Options of the command as a whole are understood after the action as well.
    flags = (tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    kinds = (Neutral, Expression, Transfer, Between, Sample, Recombine, Traverse)
    names = {"unit", "from_label", "from_label_level", *(field.name for kind in kinds for field in fields(kind))}
    known = [f"--{name.replace('_', '-')}" for name in sorted(names)]

    def command() -> int:
        check_renamed(typed_options(arguments), [*known, "--model", "--output"], RENAMED_EDIT_OPTIONS)
        return edit(parse_options(EditOptions, args=arguments, prog="facedis edit", description=__doc__, config=flags))

    exit_with(command, known)
