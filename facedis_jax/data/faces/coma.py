"""CoMA (Ranjan et al., 2018): 20,466 registered faces of 12 people in 12 expressions, as it is distributed."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.faces.levels import NEUTRAL_LEVEL, sequence_levels
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
from facedis_jax.data.refusals import Refusals, refuse_lost_folders
from facedis_jax.data.splits import SPLITS, split_indices
from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files, refuse_links_out, unwrap
from facedis_jax.formats.meshes import (
    MESH_SUFFIXES,
    Mesh,
    check_topology,
    check_unit,
    mesh_ending,
    mesh_stem,
    most_common_topology,
    parse_mesh,
    read_mesh,
    read_mesh_bytes,
)
from facedis_jax.progress import track

WHERE_TO_GET_IT = "https://coma.is.tue.mpg.de"
_LAYOUT = "CoMA's <subject>/<expression>/<expression>.NNNNNN.ply"
_FRAME = re.compile(r".*\.\d{6}", re.DOTALL)
_SCALE = 260.0


@dataclass(eq=False)
class ComaConfig(tfds.core.BuilderConfig):
    """A split, and the names of faces to skip."""

    split: str = "paper"
    without: tuple[str, ...] = ()


class Coma(FaceBuilder):
    """CoMA from its PLY files, `<subject>/<expression>/<expression>.NNNNNN.ply` in the manual directory.

    | faces | vertices | unit | train / test, by configuration |
    | --- | --- | --- | --- |
    | 20,466 | 5,023 | m | "paper" 18,416 / 2,050; "sequence" 132 / 12 sequences; "subject" 10 / 2 people |

    The counts are those of the whole set; copies with fewer sequences, which are in circulation too, are accepted.
    """

    name = "coma"
    BUILDER_CONFIGS = [ComaConfig(name=split, split=split) for split in SPLITS]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Register at {WHERE_TO_GET_IT} and unpack the meshes."

    def named_files(self, folder: Path) -> dict[str, Path]:
        without = self.builder_config.without
        # What the names refuse is among those to skip, or an error.
        there = {_name(folder, path): path for path in _frames(folder, Refusals(skip=bool(without)))}
        return {name: path for name, path in there.items() if name not in without}

    def survey(self, folder: Path) -> FaceSurvey:
        config = self.builder_config
        named = self.named_files(folder)
        names, paths = list(named), list(named.values())
        subjects = sorted({name.split("/")[0] for name in names})
        expressions = sorted({name.split("/")[1] for name in names})
        subject = np.array([subjects.index(name.split("/")[0]) for name in names], np.int32)
        expression = np.array([expressions.index(name.split("/")[1]) for name in names], np.int32)
        train, test = split_indices(config.split, names)

        first = read_mesh(paths[0])
        groups = [list(group) for _, group in groupby(range(len(paths)), key=lambda i: paths[i].parent)]
        sequences = [
            _Sequence([paths[i] for i in group], group, int(subject[group[0]]), int(expression[group[0]]))
            for group in groups
        ]
        reader = self.process_reader(partial(_read_sequence, first), total=len(sequences))

        def read(files: Sequence[FacesFiles]) -> Iterator[ReadFaces]:
            done = reader(zip(sequences, files, strict=True))
            return (faces for _, faces in zip(track(groups, "reading CoMA"), done, strict=True))

        return FaceSurvey(
            names=names,
            subject=subject,
            expression=expression,
            subjects=subjects,
            expressions=expressions,
            triangles=first.triangles,
            unit="m",
            train=train,
            test=test,
            groups=groups,
            read=read,
        )


class _Sequence(NamedTuple):
    """A sequence's files in the order of its frames, their indices in the set, its subject and its expression."""

    paths: Sequence[Path]
    indices: Sequence[int]
    subject: int
    expression: int


def _read_sequence(first: Mesh, job: tuple[_Sequence, FacesFiles]) -> ReadFaces:
    """Reads a sequence, checks its frames against the set's first mesh, and writes its files of records."""
    sequence, files = job
    digests, frames = [], []
    for path in sequence.paths:
        data = read_mesh_bytes(path)
        digests.append(hashlib.sha256(data).digest())
        frames.append(_checked(path, parse_mesh(path, data), first).vertices.astype(np.float32))
    vertices = np.stack(frames)
    levels = sequence_levels(vertices)
    encode, labels = face_encoder(), {"subject": sequence.subject, "expression": sequence.expression}
    records = [
        encode({"vertices": frame, "level": level, "index": index, **labels})
        for frame, level, index in zip(vertices, levels, sequence.indices, strict=True)
    ]
    return ReadFaces(digests, {sequence.subject: vertices[levels <= NEUTRAL_LEVEL]}, write_faces(records, files))


def coma_files(folder: Path) -> list[Path]:
    """The meshes in the folders of a folder in CoMA's layout, sorted by subject, expression and frame.

    Raises:
      InputError: where there are none.
    """
    if not folder.is_dir():
        raise InputError(folder, f"a folder with {_LAYOUT} (get it from {WHERE_TO_GET_IT})", "no such folder")
    paths = _meshes(folder)
    if not paths:
        expected = f"{_LAYOUT} in it (get it from {WHERE_TO_GET_IT})"
        raise InputError(folder, expected, "no such file")
    return paths


def _meshes(folder: Path) -> list[Path]:
    """Those in sequences' folders; of a frame that lies there in several formats, the first of `MESH_SUFFIXES`."""
    depth = len(folder.parts) + 3
    found = [(path, mesh_stem(path)) for path in list_files(folder, MESH_SUFFIXES, depth=2) if len(path.parts) == depth]
    # Other files than PLY may be there for other reasons, unless they are named as frames.
    found = [(path, stem) for path, stem in found if _FRAME.fullmatch(stem) or path.suffix.lower() == ".ply"]
    ranks = [MESH_SUFFIXES.index(mesh_ending(path) or "") for path, _ in found]
    if len(set(ranks)) == 1:
        return [path for path, _ in found]
    frames = [f"{path.parent}/{stem}" for path, stem in found]
    first: dict[str, int] = {}
    for frame, rank in zip(frames, ranks, strict=True):
        first[frame] = min(first.get(frame, rank), rank)
    return [path for (path, _), frame, rank in zip(found, frames, ranks, strict=True) if first[frame] == rank]


def load_coma(
    folder: str | Path,
    *,
    split: str = "paper",
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
) -> FaceSet:
    """CoMA as a face set in mm, prepared at the first call (a minute or less) and opened at once from then on.

    Args:
      folder: holds `<subject>/<expression>/<expression>.NNNNNN.ply`, in metres; or a folder that does, alone.
      split: one of `facedis_jax.data.splits.SPLITS`.
      prepared_dir: holds the prepared copy, 1.2 GB for all of CoMA; a folder in the user's cache if None.
      skip_damaged: skip meshes that cannot be used, and list them in the set's `skipped`. The topology is the most
        common one of the first meshes that can be read.
      links_out: follow links that lead out of the folder; refuse them if False.
      verify: read all files again, where a prepared copy is there, and prepare anew if their content differs.

    Returns:
      The face set, of scale 260, whose faces are read from disk as they are asked for.

    Raises:
      InputError: where the folder is missing or empty, a mesh cannot be read or differs from the others in topology or
        unit, or the split is unknown.
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError("split", f"one of {', '.join(SPLITS)}", repr(split))
    if not links_out:
        refuse_links_out(folder)
    folder = unwrap(folder, lambda home: bool(_meshes(home)))
    refusals = Refusals(skip=skip_damaged)
    paths = _frames(folder, refusals)
    skipped: dict[str, str] = {}
    if skip_damaged:
        first = most_common_topology(paths)
        damaged = find_damaged(
            "coma, faces in any order",
            [_name(folder, path) for path in paths],
            lambda i: _checked(paths[i], read_mesh(paths[i]), first),
            folder,
            paths,
            prepared_dir,
            verify=verify,
        )
        skipped = dict(sorted({**refusals.lines, **damaged}.items()))
    make_builder = partial(_builder, split, tuple(skipped))
    return load_prepared_faces(
        make_builder, f"coma/{split}", folder, paths, prepared_dir, scale=_SCALE, skipped=skipped, verify=verify
    )


def _frames(folder: Path, refusals: Refusals) -> list[Path]:
    """The meshes that are named after their sequence and a frame; an InputError of others that are not skipped."""
    refuse_lost_folders(folder, refusals, depth=1)
    frames: dict[tuple[str, str], Path] = {}
    for path in coma_files(folder):
        # Not by Path, which takes several times as long.
        stem, parent = mesh_stem(path).casefold(), os.path.dirname(path)
        known = _FRAME.fullmatch(stem) and stem.rpartition(".")[0] == os.path.basename(parent).casefold()
        if known and (parent, stem) not in frames:
            frames[parent, stem] = path
            continue
        with refusals.of(path.relative_to(folder).as_posix()):
            if not known:
                raise InputError(path, f"a name as in {_LAYOUT}", path.name)
            raise InputError(path, "each frame once", f"{frames[parent, stem].name} too")
    paths = list(frames.values())
    if not paths:
        raise InputError(folder, f"{_LAYOUT} in it", f"none{refusals.note}")
    return paths


def _name(folder: Path, path: Path) -> str:
    return "/".join((*path.parts[len(folder.parts) : -1], mesh_stem(path)))


def _checked(path: Path, mesh: Mesh, first: Mesh) -> Mesh:
    check_topology(path, mesh, len(first.vertices), first.triangles)
    check_unit(path, mesh.vertices, "m")
    return mesh


def _builder(split: str, without: tuple[str, ...], data_dir: Path) -> Coma:
    config: ComaConfig | str = split
    if without:
        config = ComaConfig(name=f"{split}_without_{names_hash(without)}", split=split, without=without)
    return Coma(config=config, data_dir=data_dir, file_format="array_record")
