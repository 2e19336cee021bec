"""Rig a face: its neutral, and a shape for each expression that the model knows, by name, in one GLB.

Command    facedis rig --model NAME_RUN_OR_FILE --scan FILE --output me.glb

Examples
           facedis rig --model RUN --scan scan.ply --output me.glb
           facedis rig --model RUN --face face.ply --output me.glb
           facedis rig --model RUN --sequence frames --fps 60 --output me.glb
           facedis rig --model RUN --face face.ply --output me.obj

Input      A scan of any mesh, in any pose; or PLY, OBJ or WRL in the model's topology, as a face or as a sequence, a
           folder of them in the order of their numbers.

Output     .glb: the neutral with a morph target for each expression, which Blender, Unity and three.js show by name,
           and of a sequence an animation of their weights. .obj: the neutral, and a file for each shape. Beside
           either a table of weights, one row a frame, with the ending .csv.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import jax
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.meshes import frame_paths
from facedis_jax.formats.scans import read_scan
from facedis_jax.inference.face_editor import FaceEditor, Pose
from facedis_jax.inference.face_model import Array, FaceCodes, TrainedFaceModel, check_between
from facedis_jax.inference.fitting.results import FitConfig
from facedis_jax.inference.load import load_faces
from facedis_jax.inference.rig import expression_ways, face_rig, identity_basis, linearisation_error, person_weights
from facedis_jax.reports.faces.rigged import RiggedFaces, check_rig_output, write_rig
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.compiled_programs import keep_compiled_programs
from facedis_jax.runs.options import parse_options

_FASTEST = 1000.0


@dataclass(frozen=True, kw_only=True)
class RigOptions:
    """Which person is rigged, by which model.

    Attributes:
      model: a model that comes with the package, the folder of a finished run, or its model.safetensors.
      output: the rig to write: .glb, or .obj for a file of each shape.
      scan: any mesh of a face, or points of one, to which the model is fitted.
      landmarks: a JSON file of places in the scan by name, as of `facedis fit`.
      face: a face in the model's topology.
      sequence: a folder of such, the frames of one person.
      several_people: take frames that seem to be of several people for one person's.
      neutral: the person's face at rest, in the model's topology, if there is one: weights are surer with it.
      fps: frames of the sequence in a second.
      smooth: smooth the expressions over the sequence.
      align: move each face rigidly onto the training faces first; the rig of a single one is moved back.
      keep_detail: add to all shapes what the codes cannot hold: how the face differs from its reconstruction.
      label: for a model with labels, the expression that the face shows; without it the face counts as neutral.
      label_level: how much of it, 0 to 1.
      unit: of the coordinates in all files, in and out (GLB is in metres by its standard): mm without it, and of a scan
        the one that is found.
    """

    model: Path
    output: Path
    scan: Path | None = None
    landmarks: Path | None = None
    face: Path | None = None
    sequence: Path | None = None
    several_people: bool = False
    neutral: Path | None = None
    fps: float = 30.0
    smooth: bool = False
    align: bool = False
    keep_detail: bool = False
    label: str | None = None
    label_level: float = 1.0
    unit: Literal["mm", "cm", "dm", "m"] | None = None


class _Frames(NamedTuple):
    """Faces of one person.

    Attributes:
      names: of the frames.
      vertices: [frames, vertices, 3] mm, where the training faces lie.
      codes: [frames, latents], with one identity.
      pose: of a single face.
      unit: of the files.
    """

    names: Sequence[str]
    vertices: np.ndarray
    codes: FaceCodes
    pose: Pose
    unit: str


def rig(options: RigOptions) -> int:
    """Rigs and writes, prints the names of the files and the rig's errors; returns the exit code."""
    given = [name for name in ("scan", "face", "sequence") if getattr(options, name) is not None]
    if len(given) != 1:
        raise InputError("scan", "a scan, a face or a sequence", " and ".join(given) or "none of them")
    check_between("fps", options.fps, 1 / _FASTEST, _FASTEST)
    check_rig_output(options.output)
    keep_compiled_programs()
    check_back_end()
    model = load_faces(options.model)
    labels = model.labels(options.label, options.label_level)
    read = {"scan": _scan, "face": _face, "sequence": _sequence}[given[0]]
    frames = read(model, options, labels)
    person = jax.tree.map(lambda x: x[0], frames.codes)
    shapes = face_rig(model, person)
    identity, expression, shown_labels = frames.codes
    rows = None if shown_labels is None else np.asarray(shown_labels)
    decoded = model.codec.decode(np.asarray(identity.mean), np.asarray(expression.mean), rows)[0]
    neutral = None
    if options.neutral is not None:
        neutral = FaceEditor(model, frames.unit).read(options.neutral, align=options.align)[0]
    known = {"neutral": neutral, "ways": expression_ways(model, person, shapes)}
    weights, offset = person_weights(shapes, frames.vertices, identity_basis(model, person), **known)
    detail: Any = 0.0
    if options.keep_detail:
        detail = (frames.vertices - decoded)[0] if len(decoded) == 1 and neutral is None else offset
    rigged = RiggedFaces(
        shapes.moved(detail),
        model.triangles,
        frames.names,
        weights,
        None if options.sequence is None else options.fps,
        frames.pose,
    )
    for path in write_rig(options.output, rigged, frames.unit):
        print(path)
    halves = linearisation_error(model, person, shapes)
    at_half = f"at half levels {halves.mean():.3f} mm from the model's own faces (at most {halves.max():.3f}"
    print(f"{len(shapes.names)} shapes, {at_half}, {shapes.names[int(halves.argmax())]})")
    shown = shapes.faces(weights)
    own = np.linalg.norm(decoded - shown, axis=-1).mean(-1)
    read = np.linalg.norm(frames.vertices - shown - detail, axis=-1).mean(-1)
    what = "1 face by its weights" if len(shown) == 1 else f"{len(shown)} faces by their weights"
    print(
        f"{what}: {own.mean():.3f} mm from the model's own (at most {own.max():.3f}), "
        f"{read.mean():.3f} mm from what was read"
    )
    return 0


def _scan(model: TrainedFaceModel, options: RigOptions, labels: Array | None) -> _Frames:
    """The face that is fitted to a scan; says so where it is doubtful."""
    assert options.scan is not None
    if labels is not None and options.label is not None:
        raise InputError("label", "none with a scan, whose expression is found", str(options.label))
    scan = read_scan(options.scan)
    config = FitConfig(detail=options.keep_detail)
    landmarks = None if options.landmarks is None else read_json(options.landmarks)
    named: dict[str, Any] = {"landmarks": landmarks, "landmarks_where": options.landmarks or "landmarks"}
    found = model.fit(scan.points, scan.triangles, unit=options.unit, config=config, where=options.scan, **named)
    print(f"{found.distances.scan_to_face:.2f} mm from the scan to the fitted face (median)")
    if found.is_bad:
        print(f"the fit is not to be trusted: {found.reason}")
    codes = jax.tree.map(lambda x: np.asarray(x)[None], found.codes)
    pose = Pose(found.pose.rotation.T, found.pose.translation, np.zeros(3))
    face = found.vertices if found.detail is None else found.detail
    return _Frames([options.scan.name], found.pose.to_model(face)[None], codes, pose, found.unit)


def _face(model: TrainedFaceModel, options: RigOptions, labels: Array | None) -> _Frames:
    assert options.face is not None
    unit = options.unit or "mm"
    face = FaceEditor(model, unit).encode(options.face, labels, align=options.align)
    return _Frames([options.face.name], face.vertices, _with_rows(face.codes, 1), face.pose, unit)


def _sequence(model: TrainedFaceModel, options: RigOptions, labels: Array | None) -> _Frames:
    """The frames in a folder."""
    assert options.sequence is not None
    unit, paths = options.unit or "mm", frame_paths(options.sequence)
    editor, smoothing = FaceEditor(model, unit), None if options.smooth else 0.0
    how = {"align": options.align, "several_people": options.several_people}
    frames = editor.encode_frames(options.sequence, paths, labels, smoothing=smoothing, **how)
    return _Frames([path.name for path in paths], frames.vertices, frames.codes, Pose(), unit)


def _with_rows(codes: FaceCodes, count: int) -> FaceCodes:
    """Codes with labels for each of the faces."""
    if codes.labels is None:
        return codes
    return codes._replace(labels=np.broadcast_to(np.asarray(codes.labels), (count, np.shape(codes.labels)[-1])))


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""
    known = [f"--{field.name.replace('_', '-')}" for field in fields(RigOptions)]

    def command() -> int:
        return rig(parse_options(RigOptions, args=arguments, prog="facedis rig", description=__doc__))

    exit_with(command, known)
