"""BU-3DFE (Yin et al., 2006): 100 people, a neutral face and six expressions at four levels of each."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.ahead import ProcessReader
from facedis_jax.data.faces.alignment import align, align_to_mean, steady_vertices
from facedis_jax.data.faces.face_set import FaceSet
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
from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_size, list_files, refuse_links_out, unwrap
from facedis_jax.formats.meshes import (
    MESH_SUFFIXES,
    Mesh,
    check_topology,
    check_unit,
    mesh_stem,
    most_common_topology,
    parse_mesh,
    read_mesh,
    read_mesh_bytes,
)
from facedis_jax.progress import track

WHERE_TO_GET_IT = "https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
EXPRESSIONS = {
    "AN": "angry",
    "DI": "disgust",
    "FE": "fear",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
"""What the two letters in a file's name stand for."""

TEST_SUBJECTS = tuple(f"F{number:04d}" for number in range(1, 11))
"""Tested under the paper's split (section 4)."""

_LAYOUT = "BU-3DFE's F0001_AN01WH_F3D.wrl (or .ply, .obj)"
_STEM = re.compile(r"([FM]\d{4})_([A-Z]{2})(\d\d).*", re.IGNORECASE)
_SCALE = 156.0
_LONGEST_LIST = 1 << 20


@dataclass(frozen=True)
class FaceFile:
    """The mesh file of a face, and what its name says.

    Attributes:
      path: the file.
      subject: such as "F0001".
      code: two letters of the expression, a key of `EXPRESSIONS`.
      level: of the expression, 1 to 4; 0 of a neutral face.
    """

    path: Path
    subject: str
    code: str
    level: int

    @property
    def name(self) -> str:
        """The face's name in a `FaceSet`."""
        return f"{self.subject}/{self.code}/{mesh_stem(self.path)}"


@dataclass(eq=False)
class Bu3dfeConfig(tfds.core.BuilderConfig):
    """A split and the landmarks of the registration (see `load_bu3dfe`), and the names of faces to skip."""

    split: str = "paper"
    landmarks: tuple[int, ...] | None = None
    without: tuple[str, ...] = ()


class Bu3dfe(FaceBuilder):
    """BU-3DFE from registered meshes `<subject>_<EXPRESSION><LEVEL>*` in the manual directory or its folders.

    | faces | unit | train / test, by split |
    | --- | --- | --- |
    | 2,500 | mm | "paper" and "subject" 2,250 / 250 (F0001 to F0010); "sequence" one expression of each |
    """

    name = "bu3dfe"
    VERSION = tfds.core.Version("1.1.0")  # from 1.1.0 on where the transformations of VRML put vertices
    BUILDER_CONFIGS = [Bu3dfeConfig(name=split, split=split) for split in SPLITS]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Ask for BU-3DFE at {WHERE_TO_GET_IT}."

    def named_files(self, folder: Path) -> dict[str, Path]:
        return {face.name: face.path for face in self._faces(folder)}

    def _faces(self, folder: Path) -> list[FaceFile]:
        without = self.builder_config.without
        # What the names refuse is among those to skip, or an error.
        return [face for face in bu3dfe_files(folder, Refusals(skip=bool(without))) if face.name not in without]

    def survey(self, folder: Path) -> FaceSurvey:
        faces = self._faces(folder)
        subjects = sorted({face.subject for face in faces})
        subject = np.array([subjects.index(face.subject) for face in faces], np.int32)
        codes = sorted({face.code for face in faces})
        is_neutral = np.array([face.level == 0 for face in faces])
        for i, name in enumerate(subjects):
            if not is_neutral[subject == i].any():
                raise InputError(folder, f"a neutral face (NE00) of {name}", "none")
        names = [face.name for face in faces]
        config = self.builder_config
        train, test = _split(config.split, faces, names)

        digests, vertices, triangles = _read(faces)
        vertices = _register(vertices, subject, is_neutral, config.landmarks)
        expression = np.array([codes.index(face.code) for face in faces], np.int32)
        groups = [np.flatnonzero(subject == i).tolist() for i in range(len(subjects))]

        def of_one_subject(group: Sequence[int], files: FacesFiles) -> ReadFaces:
            own = {i: {"subject": subject[i], "expression": expression[i], "level": faces[i].level / 4} for i in group}
            records = [face_encoder()({"vertices": vertices[i], "index": i, **own[i]}) for i in group]
            neutral = {int(subject[i]): vertices[i : i + 1] for i in group if is_neutral[i]}
            return ReadFaces([digests[i] for i in group], neutral, write_faces(records, files))

        return FaceSurvey(
            names=names,
            subject=subject,
            expression=expression,
            subjects=subjects,
            expressions=[EXPRESSIONS[code] for code in codes],
            triangles=triangles,
            unit="mm",
            train=train,
            test=test,
            groups=groups,
            read=lambda files: map(of_one_subject, groups, files),
        )


def bu3dfe_files(folder: Path, refusals: Refusals = STRICT) -> list[FaceFile]:
    """The faces in a folder or its folders, by subject, expression and level; RAW scans are skipped.

    Raises:
      InputError: where there are none, or one that `refusals` does not skip is there twice or has an unknown expression
        or level.
    """
    source = f"(ask for it at {WHERE_TO_GET_IT})"
    if not folder.is_dir():
        raise InputError(folder, f"a folder with {_LAYOUT} {source}", "no such folder")
    faces: dict[tuple[str, str, int], FaceFile] = {}
    refuse_lost_folders(folder, refusals, depth=0)
    for path, stem in _meshes(folder):
        face = FaceFile(path, stem[1].upper(), stem[2].upper(), int(stem[3]))
        key = (face.subject, face.code, face.level)
        with refusals.of(path.relative_to(folder).as_posix()):
            if face.code not in EXPRESSIONS:
                raise InputError(path, f"an expression of {', '.join(EXPRESSIONS)} in the name", face.code)
            if not (face.level == 0 if face.code == "NE" else 1 <= face.level <= 4):
                raise InputError(path, "level 00 of NE, or 01 to 04", f"{face.code}{face.level:02d}")
            if key in faces:
                raise InputError(path, "one face of each subject, expression and level", f"also {faces[key].path.name}")
            faces[key] = face
    if not faces:
        raise InputError(folder, f"{_LAYOUT} in it {source}", f"no such file{refusals.note}")
    return [faces[key] for key in sorted(faces)]


def _meshes(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    stems = ((path, _STEM.fullmatch(mesh_stem(path))) for path in list_files(folder, MESH_SUFFIXES, depth=1))
    return [(path, stem) for path, stem in stems if stem and not stem[0].upper().endswith("_RAW")]


def load_bu3dfe(
    folder: str | Path,
    *,
    split: str = "paper",
    landmarks: Sequence[int] | None = None,
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
) -> FaceSet:
    """BU-3DFE as a face set in mm, rigidly registered; prepared at the first call, opened at once from then on.

    Neutrals are registered to their mean, then each expression face to its subject's neutral, both by the landmarks.
    The whole set is in memory while it is prepared.

    Args:
      folder: holds the meshes, flat or in a folder for each subject, or a folder that does, alone. They must share one
        topology, which the F3D meshes as distributed do not: register them to a template first, as the paper did.
      split: "paper" tests F0001 to F0010; or "sequence" or "subject" of `facedis_jax.data.splits`.
      landmarks: indices of vertices that expressions do not move (13 in the paper, section 4, which does not list
        them). If None, neutrals are registered by all vertices, and expressions by the quarter of the vertices that
        moves least over all expressions.
      prepared_dir: holds the prepared copy; a folder in the user's cache if None.
      skip_damaged: skip faces that cannot be used, and list them in the set's `skipped`; without a neutral face, all
        of a subject. The topology is the most common one of the first faces that can be read.
      links_out: follow links that lead out of the folder; refuse them if False.
      verify: read all files again, where a prepared copy is there, and prepare anew if their content differs.

    Returns:
      The face set, of scale 156; a subject's neutral target is its registered neutral face.

    Raises:
      InputError: where the folder is missing or empty, a name or a mesh cannot be used, a subject has no neutral face,
        topologies differ, or a landmark or the split is unknown.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError("split", f"one of {', '.join(SPLITS)}", repr(split))
    chosen = None if landmarks is None else tuple(int(index) for index in landmarks)
    if not links_out:
        refuse_links_out(folder)
    folder = unwrap(folder, lambda home: bool(_meshes(home)))
    refusals = Refusals(skip=skip_damaged)
    faces = bu3dfe_files(folder, refusals)
    files = [face.path for face in faces]
    skipped: dict[str, str] = {}
    if skip_damaged:
        first = most_common_topology(files)
        damaged = find_damaged(
            "bu3dfe, faces in any order",
            [face.name for face in faces],
            lambda i: _checked(files[i], read_mesh(files[i]), len(first.vertices), first.triangles),
            folder,
            files,
            prepared_dir,
            verify=verify,
        )
        damaged = _with_their_neutrals(folder, faces, damaged)
        skipped = dict(sorted({**refusals.lines, **damaged}.items()))
    make_builder = partial(_builder, split, chosen, tuple(skipped))
    return load_prepared_faces(
        make_builder, f"bu3dfe/{split}", folder, files, prepared_dir, scale=_SCALE, skipped=skipped, verify=verify
    )


def read_landmarks(path: str | Path) -> tuple[int, ...]:
    """Vertex indices from a text file, counted from 0 and separated by white space or commas.

    Raises:
      InputError: where the file cannot be read or holds anything else.
    """
    expected = "a text file of vertex indices"
    if file_size(Path(path), expected) > _LONGEST_LIST:
        raise InputError(path, f"{expected} of at most {_LONGEST_LIST >> 20} MiB", "a longer one")
    try:
        return tuple(int(word) for word in Path(path).read_text(encoding="utf-8-sig").replace(",", " ").split())
    except (OSError, ValueError) as error:
        raise InputError(path, expected, ascii(str(error)[:200])[1:-1]) from None


def _builder(split: str, landmarks: tuple[int, ...] | None, without: tuple[str, ...], data_dir: Path) -> Bu3dfe:
    if landmarks is None and not without:
        return Bu3dfe(config=split, data_dir=data_dir, file_format="array_record")
    name = split
    if landmarks is not None:
        name += f"_landmarks_{hashlib.sha256(repr(landmarks).encode()).hexdigest()[:12]}"
    if without:
        name += f"_without_{names_hash(without)}"
    config = Bu3dfeConfig(name=name, split=split, landmarks=landmarks, without=without)
    return Bu3dfe(config=config, data_dir=data_dir, file_format="array_record")


def _with_their_neutrals(folder: Path, faces: Sequence[FaceFile], damaged: Mapping[str, str]) -> dict[str, str]:
    """What is damaged, and the faces of subjects of whom no neutral is left, since nothing can be registered to it."""
    skipped = dict(damaged)
    whole = {face.subject for face in faces if face.level == 0 and face.name not in damaged}
    reasons = {face.subject: damaged.get(face.name) for face in faces if face.level == 0}
    for face in faces:
        if face.subject not in whole and face.name not in skipped:
            expected = f"a neutral face (NE00) of {face.subject}"
            skipped[face.name] = str(InputError(face.path, expected, reasons.get(face.subject) or "none"))
    if not whole:
        raise InputError(folder, "a neutral face (NE00) of a subject", f"none, such as {next(iter(skipped.values()))}")
    return skipped


def _split(split: str, faces: Sequence[FaceFile], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if split == "paper":
        return indices_of(split, np.array([face.subject in TEST_SUBJECTS for face in faces]))
    return split_indices(split, names)


def _read(faces: Sequence[FaceFile]) -> tuple[list[bytes], np.ndarray, np.ndarray]:
    """The sha256 of all files, vertices [faces, vertices, 3] float32, and the triangles that all faces share."""
    digests: list[bytes] = []
    vertices: list[np.ndarray] = []
    triangles: np.ndarray | None = None
    with ProcessReader(_read_scan, total=len(faces)) as read:
        for face, (digest, mesh) in zip(track(faces, "reading BU-3DFE"), read(faces), strict=True):
            digests.append(digest)
            triangles = mesh.triangles if triangles is None else triangles
            _checked(face.path, mesh, len(vertices[0]) if vertices else len(mesh.vertices), triangles)
            vertices.append(mesh.vertices.astype(np.float32))
    assert triangles is not None
    return digests, np.stack(vertices), triangles


def _read_scan(face: FaceFile) -> tuple[bytes, Mesh]:
    data = read_mesh_bytes(face.path)
    return hashlib.sha256(data).digest(), parse_mesh(face.path, data)


def _checked(path: Path, mesh: Mesh, num_vertices: int, triangles: np.ndarray) -> None:
    try:
        check_topology(path, mesh, num_vertices, triangles)
    except InputError as error:
        hint = f"{error.found}; register the scans to one template first (F3D meshes as distributed are not)"
        raise InputError(path, error.expected, hint) from None
    check_unit(path, mesh.vertices, "mm")


def _register(
    vertices: np.ndarray, subject: np.ndarray, is_neutral: np.ndarray, landmarks: tuple[int, ...] | None
) -> np.ndarray:
    """The faces [faces, vertices, 3] after both steps of the registration; each subject has one neutral among them."""
    num_vertices = vertices.shape[1]
    if landmarks is not None and (len(set(landmarks)) < 3 or not all(0 <= i < num_vertices for i in landmarks)):
        expected = f"three or more vertex indices from 0 to {num_vertices - 1} that differ"
        raise InputError("landmarks", expected, " ".join(map(str, landmarks)) or "none")
    aligned = np.empty_like(vertices)
    neutrals = aligned[is_neutral] = align_to_mean(vertices[is_neutral], landmarks)
    if is_neutral.all():
        return aligned
    faces, owner = vertices[~is_neutral], subject[~is_neutral]
    steady = steady_vertices(faces, neutrals, owner) if landmarks is None else np.array(landmarks)
    for i, neutral in enumerate(neutrals):
        mine = ~is_neutral & (subject == i)
        aligned[mine] = align(vertices[mine], neutral, steady)
    return aligned
