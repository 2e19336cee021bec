"""Registered meshes of any one topology, in folders laid out in any way: one's own data, and public sets'."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.faces.alignment import align
from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.faces.layouts import LAYOUTS, MeshLayout, neutral_names
from facedis_jax.data.faces.levels import NEUTRAL_LEVEL, sequence_levels
from facedis_jax.data.faces.patterns import (
    MeshFile,
    Pattern,
    none_fits,
    parse_pattern,
    pattern_files,
)
from facedis_jax.data.faces.prepared import (
    FaceBuilder,
    FacesFiles,
    FaceSurvey,
    ReadFaces,
    face_encoder,
    load_prepared_faces,
    write_faces,
)
from facedis_jax.data.prepared import find_damaged, names_hash
from facedis_jax.data.refusals import STRICT, Refusals, refuse_lost_folders
from facedis_jax.data.splits import SPLITS, indices_of, split_indices
from facedis_jax.errors import InputError, printable
from facedis_jax.formats.files import natural_key, refuse_links_out, unwrap
from facedis_jax.formats.meshes import (
    Mesh,
    check_topology,
    check_unit,
    likely_unit,
    mesh_stem,
    most_common_topology,
    parse_mesh,
    read_mesh,
    read_mesh_bytes,
)
from facedis_jax.progress import track

# That of CoMA, whose faces are as large as any.
_SCALE = 260.0
# Faces that are read together and share a file of records, where their courses are shorter.
_TOGETHER = 64
# What stands for an expression that a pattern does not ask for: of sequences, and of single scans.
_NO_EXPRESSION = {True: "course", False: "neutral"}


@dataclass(eq=False)
class MeshesConfig(tfds.core.BuilderConfig):
    """A split, how the meshes are laid out, their unit, and the names of faces to skip."""

    split: str = "paper"
    layout: MeshLayout = field(default_factory=lambda: LAYOUTS["vocaset"])
    unit: str = "m"
    without: tuple[str, ...] = ()


class Meshes(FaceBuilder):
    """Registered meshes of one topology, by a pattern of their paths."""

    name = "meshes"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Any folder of registered meshes."

    def named_files(self, folder: Path) -> dict[str, Path]:
        return {name: file.path for name, file in self._files(folder).items()}

    def _files(self, folder: Path) -> dict[str, MeshFile]:
        config = self.builder_config
        # What the names refuse is among those to skip, or an error.
        files = mesh_files(folder, config.layout, Refusals(skip=bool(config.without))).named
        return {name: file for name, file in files.items() if name not in config.without}

    def survey(self, folder: Path) -> FaceSurvey:
        config = self.builder_config
        named = self._files(folder)
        names, files = list(named), list(named.values())
        pattern = parse_pattern(config.layout.pattern)
        rule = neutral_rule(folder, config.layout, pattern, files)
        subjects = sorted({file.subject for file in files}, key=natural_key)
        expressions = sorted({file.expression for file in files}, key=natural_key)
        places = [{name: i for i, name in enumerate(each)} for each in (subjects, expressions)]
        subject = np.array([places[0][file.subject] for file in files], np.int32)
        expression = np.array([places[1][file.expression] for file in files], np.int32)
        train, test = _split(config.split, config.layout, pattern, files, names)

        check = _Check(read_mesh(files[0].path), config.unit, config.layout.align)
        neutrals = self._neutrals(check, rule, files)
        courses = [
            _Course(
                paths=[files[i].path for i in course],
                indices=course,
                subject=int(subject[course[0]]),
                expression=int(expression[course[0]]),
                is_neutral=files[course[0]].expression in rule.names,
                neutral=neutrals.get(files[course[0]].subject),
            )
            for course in _runs([file.course for file in files])
        ]
        together = _together(courses)
        reader = self.process_reader(partial(_read_courses, check, rule, pattern.has_frames), total=len(together))

        def read(outputs: Sequence[FacesFiles]) -> Iterator[ReadFaces]:
            done = reader(zip(together, outputs, strict=True))
            return (faces for _, faces in zip(track(together, "reading meshes"), done, strict=True))

        return FaceSurvey(
            names=names,
            subject=subject,
            expression=expression,
            subjects=subjects,
            expressions=expressions,
            triangles=check.first.triangles,
            unit=config.unit,
            train=train,
            test=test,
            groups=[[i for course in group for i in course.indices] for group in together],
            read=read,
        )

    def _neutrals(self, check: "_Check", rule: "NeutralFaces", files: Sequence[MeshFile]) -> dict[str, np.ndarray]:
        """The neutral of each subject that is told by its name, [vertices, 3]; nothing where names do not tell."""
        own: dict[str, list[Path]] = {}
        for file in files:
            if file.expression in rule.names:
                own.setdefault(file.subject, []).append(file.path)
        if not own:
            return {}
        reader = self.process_reader(partial(_mean_face, check), total=len(own))
        return dict(zip(own, reader(own.values()), strict=True))


class _Check(NamedTuple):
    """What every mesh must be like: the first, in this unit, onto which it is moved rigidly on demand."""

    first: Mesh
    unit: str
    align: bool = False

    def read(self, path: Path, data: bytes | None = None) -> np.ndarray:
        """The vertices [vertices, 3] float32 of a mesh; raises an InputError where it is another."""
        mesh = read_mesh(path) if data is None else parse_mesh(path, data)
        check_topology(path, mesh, len(self.first.vertices), self.first.triangles)
        check_unit(path, mesh.vertices, self.unit, setting="unit")
        if self.align:
            # One at a time: courses of all lengths share one program.
            return align(mesh.vertices[None], self.first.vertices)[0]
        return mesh.vertices.astype(np.float32)


class _Course(NamedTuple):
    """Files of one subject in one expression in their order, and the neutral face that levels are measured from."""

    paths: Sequence[Path]
    indices: Sequence[int]
    subject: int
    expression: int
    is_neutral: bool
    neutral: np.ndarray | None


class NeutralFaces(NamedTuple):
    """Which faces are neutral: those of expressions of some names, or by a rule where there are no such names."""

    rule: str
    names: frozenset[str] = frozenset()

    @property
    def note(self) -> str:
        """How neutral faces are found, for a person to read."""
        by = {"level": f"frames within {NEUTRAL_LEVEL:.0%} of the first of their sequence", "first": "first frames"}
        return by.get(self.rule) or f"by name, {', '.join(map(printable, sorted(self.names)))}"


class MeshFiles(NamedTuple):
    """What a layout finds in a folder: files by the names of their faces, and meshes that it does not fit."""

    named: Mapping[str, MeshFile]
    others: Sequence[Path]


def mesh_files(folder: Path, layout: MeshLayout, refusals: Refusals = STRICT) -> MeshFiles:
    """The faces in a folder, by subject, expression and frame.

    Raises:
      InputError: where there are none, or one that `refusals` does not skip is there twice.
    """
    pattern = parse_pattern(layout.pattern)
    if not folder.is_dir():
        raise none_fits(folder, pattern, [], str)
    if pattern.depth != 0:
        refuse_lost_folders(folder, refusals, depth=None if pattern.depth is None else pattern.depth - 1)
    files, others = pattern_files(folder, pattern)
    named: dict[str, MeshFile] = {}
    for file in files:
        file = file if file.expression else replace(file, expression=_NO_EXPRESSION[pattern.has_frames])
        name = "/".join(part for part in (*file.course, file.frame or mesh_stem(file.path)) if part)
        with refusals.of(_shown(folder, file.path)):
            if name in named:
                raise InputError(
                    file.path, "one face of each subject, expression and frame", f"also {named[name].path}"
                )
            named[name] = file
    if not named:
        raise none_fits(folder, pattern, others, partial(_shown, folder))
    return MeshFiles(named, others)


def neutral_rule(folder: Path, layout: MeshLayout, pattern: Pattern, files: Sequence[MeshFile]) -> NeutralFaces:
    """Which faces are neutral.

    Raises:
      InputError: where neither names nor frames tell.
    """
    expressions = sorted({file.expression for file in files}, key=natural_key)
    # A course without a name is none of a neutral face, whatever it is called here.
    is_named = "expression" in pattern.asks or not pattern.has_frames or layout.neutral_name is not None
    names = neutral_names(layout, expressions) if is_named and layout.neutral in ("auto", "name") else None
    if names:
        return NeutralFaces("name", frozenset(names))
    if layout.neutral == "name" or not pattern.has_frames:
        few = f"{', '.join(expressions[:5])}{' and others' if len(expressions) > 5 else ''}"
        raise InputError(folder, "an expression called neutral, or neutral_name=NAME", few)
    return NeutralFaces("level" if layout.neutral == "auto" else layout.neutral)


def load_meshes(
    folder: str | Path,
    layout: MeshLayout,
    *,
    split: str = "paper",
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
) -> FaceSet:
    """Registered meshes as a face set in mm, prepared at the first call and opened at once from then on.

    Args:
      folder: holds the meshes, or a folder that does, alone. They share one topology.
      layout: where they lie in the folder; one's own, or one of `facedis_jax.data.faces.layouts.LAYOUTS`.
      split: one of `facedis_jax.data.splits.SPLITS`; "paper" tests the layout's `test_subjects`, else 10 of every 100
        frames, or of single scans those of a tenth of the people.
      prepared_dir, skip_damaged, links_out, verify: as of `facedis_jax.data.faces.coma.load_coma`.

    Returns:
      The face set, of scale 260; `data_files` says how the folder was understood.

    Raises:
      InputError: where the pattern cannot be used or fits nothing, a mesh cannot be read or differs from the others in
        topology or unit, a subject has no neutral face, or the split is unknown.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError("split", f"one of {', '.join(SPLITS)}", repr(split))
    pattern = parse_pattern(layout.pattern)
    if not links_out:
        refuse_links_out(folder)
    folder = unwrap(folder, lambda home: bool(pattern_files(home, pattern)[0]))
    refusals = Refusals(skip=skip_damaged)
    found = mesh_files(folder, layout, refusals)
    names, files = list(found.named), list(found.named.values())
    paths = [file.path for file in files]
    rule = neutral_rule(folder, layout, pattern, files)
    unit, skipped = layout.unit, dict[str, str]()
    if unit is None or skip_damaged:
        first = most_common_topology(paths if skip_damaged else paths[:1])
        unit = unit or likely_unit(paths[0], first.vertices)
    if skip_damaged:
        check = _Check(first, unit)
        what = f"meshes in {unit}, faces in any order"
        damaged = find_damaged(what, names, lambda i: check.read(paths[i]), folder, paths, prepared_dir, verify=verify)
        skipped = dict(sorted({**refusals.lines, **damaged}.items()))
    skipped = _with_their_neutrals(folder, rule, found.named, skipped, skip=skip_damaged)
    make_builder = partial(_builder, split, layout, unit, tuple(skipped))
    face_set = load_prepared_faces(
        make_builder,
        f"{layout.name}/{split}",
        folder,
        paths,
        prepared_dir,
        scale=_SCALE,
        skipped=skipped,
        verify=verify,
    )
    return _with_notes(face_set, folder, layout, found, rule, unit)


def _with_notes(
    face_set: FaceSet, folder: Path, layout: MeshLayout, found: MeshFiles, rule: NeutralFaces, unit: str
) -> FaceSet:
    """The set, which says how its folder was understood."""
    file = next(iter(found.named.values()))
    parts = [part for part in (file.subject, file.expression, file.take, file.frame) if part]
    notes = {
        "pattern": f"{layout.pattern}, such as {', '.join(map(printable, parts))} for {_shown(folder, file.path)}",
        "neutral": rule.note,
        "unit": unit if layout.unit else f"{unit}, by the size of the first",
    }
    if layout.align:
        notes["aligned"] = "rigidly, onto the first"
    if layout.remark:
        notes["people"] = layout.remark
    if found.others:
        notes["not used"] = f"{len(found.others):,} other meshes, such as {_shown(folder, found.others[0])}"
    return replace(face_set, data_files=notes)


def _builder(split: str, layout: MeshLayout, unit: str, without: tuple[str, ...], data_dir: Path) -> Meshes:
    settings = repr((astuple(layout), unit))
    name = f"{split}_{hashlib.sha256(settings.encode(errors='surrogateescape')).hexdigest()[:12]}"
    if without:
        name += f"_without_{names_hash(without)}"
    config = MeshesConfig(name=name, split=split, layout=layout, unit=unit, without=without)
    return Meshes(config=config, data_dir=data_dir, file_format="array_record")


def _with_their_neutrals(
    folder: Path, rule: NeutralFaces, named: Mapping[str, MeshFile], skipped: Mapping[str, str], *, skip: bool
) -> dict[str, str]:
    """What is skipped, and where that is asked for the faces of subjects of whom no neutral face is left."""
    if not rule.names:
        return dict(skipped)
    whole = {f.subject for name, f in named.items() if f.expression in rule.names and name not in skipped}
    more = dict(skipped)
    for name, file in named.items():
        if file.subject in whole or name in skipped:
            continue
        error = InputError(file.path, f"a neutral face of {file.subject} ({', '.join(sorted(rule.names))})", "none")
        if not skip or not whole:
            raise error
        more[name] = str(error)
    return more


def _split(
    split: str, layout: MeshLayout, pattern: Pattern, files: Sequence[MeshFile], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    if split == "paper" and layout.test_subjects:
        return indices_of(split, np.array([file.subject in layout.test_subjects for file in files]))
    return split_indices("subject" if split == "paper" and not pattern.has_frames else split, names)


def _runs(keys: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """The indices of equal keys that stand beside each other."""
    return [list(run) for _, run in groupby(range(len(keys)), key=lambda i: keys[i])]


def _together(courses: Sequence[_Course]) -> list[list[_Course]]:
    """The courses in groups of enough faces to be worth a file."""
    groups: list[list[_Course]] = [[]]
    for course in courses:
        if sum(len(each.paths) for each in groups[-1]) >= _TOGETHER:
            groups.append([])
        groups[-1].append(course)
    return groups


def _mean_face(check: _Check, paths: Sequence[Path]) -> np.ndarray:
    total = np.zeros(check.first.vertices.shape)
    for path in paths:
        total += check.read(path)
    return (total / len(paths)).astype(np.float32)


def _read_courses(
    check: _Check, rule: NeutralFaces, has_frames: bool, job: tuple[Sequence[_Course], FacesFiles]
) -> ReadFaces:
    """Reads courses, checks their faces against the set's first, and writes their files of records."""
    courses, outputs = job
    digests: list[bytes] = []
    records: list[bytes] = []
    neutral: dict[int, list[np.ndarray]] = {}
    for course in courses:
        faces = []
        for path in course.paths:
            data = read_mesh_bytes(path)
            digests.append(hashlib.sha256(data).digest())
            faces.append(check.read(path, data))
        vertices = np.stack(faces)
        levels, at_rest = _levels(vertices, course, rule, has_frames)
        if at_rest.any():
            neutral.setdefault(course.subject, []).append(vertices[at_rest])
        labels = {"subject": course.subject, "expression": course.expression}
        records += [
            face_encoder()({"vertices": face, "level": level, "index": index, **labels})
            for face, level, index in zip(vertices, levels, course.indices, strict=True)
        ]
    at_rest_of = {subject: np.concatenate(parts) for subject, parts in neutral.items()}
    return ReadFaces(digests, at_rest_of, write_faces(records, outputs))


def _levels(
    vertices: np.ndarray, course: _Course, rule: NeutralFaces, has_frames: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Levels [faces] of a course, and which of its faces are neutral ones of its subject."""
    count = len(vertices)
    if course.is_neutral:
        return np.zeros(count, np.float32), np.ones(count, bool)
    if not has_frames:
        return np.ones(count, np.float32), np.zeros(count, bool)
    levels = sequence_levels(vertices, neutral=course.neutral)
    if rule.rule == "level":
        return levels, levels <= NEUTRAL_LEVEL
    return levels, (np.arange(count) == 0) & (rule.rule == "first")


def _shown(folder: Path, path: Path) -> str:
    return printable(path.relative_to(folder).as_posix())
