"""CoMA (Ranjan et al., 2018): 20,466 registered faces of 12 people in 12 expressions, as it is distributed."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.faces.levels import NEUTRAL_LEVEL, NeutralMeans, sequence_levels
from facedis_jax.data.faces.prepared import FaceBuilder, FaceSurvey, add_to_hash, load_prepared_faces
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
# That a process sends back together, of 60 kB each.
_FRAMES_AT_ONCE = 32


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

        digest = hashlib.sha256()
        first = read_mesh(paths[0])
        neutrals = NeutralMeans(subjects)
        levels, shard = [], []
        sequences = [list(group) for _, group in groupby(range(len(paths)), key=lambda i: paths[i].parent)]
        read = self.process_reader(partial(_read, first), total=len(sequences))
        files = [[paths[i] for i in sequence] for sequence in sequences]
        tracked = track(sequences, "reading CoMA")
        for number, (sequence, seen) in enumerate(zip(tracked, read(files), strict=True)):
            for i, content in zip(sequence, seen.contents, strict=True):
                add_to_hash(digest, names[i], content)
            levels.append(seen.levels)
            neutrals.add(int(subject[sequence[0]]), seen.neutral, np.zeros(len(seen.neutral)))
            shard += [number] * len(sequence)
        return FaceSurvey(
            names=names,
            subject=subject,
            expression=expression,
            level=np.concatenate(levels),
            subjects=subjects,
            expressions=expressions,
            neutrals=neutrals.result(),
            triangles=first.triangles,
            unit="m",
            content_hash=digest.hexdigest(),
            train=train,
            test=test,
            shard=np.array(shard),
            read=lambda index: read_mesh(paths[index]).vertices,
            read_all=lambda indices: read((paths[i] for i in indices), at_once=_FRAMES_AT_ONCE),
        )


class _Sequence(NamedTuple):
    """What the survey keeps of a sequence: its files' sha256, levels [frames] and neutral frames [few, vertices, 3]."""

    contents: list[bytes]
    levels: np.ndarray
    neutral: np.ndarray


def _read(first: Mesh, job: list[Path] | Path) -> Any:
    """A sequence's `_Sequence` for the survey, or the vertices [vertices, 3] of a frame for its record."""
    return _read_sequence(first, job) if isinstance(job, list) else read_mesh(job).vertices.astype(np.float32)


def _read_sequence(first: Mesh, paths: Sequence[Path]) -> _Sequence:
    """Reads a sequence, and checks its frames against the set's first mesh."""
    contents, frames = [], []
    for path in paths:
        data = read_mesh_bytes(path)
        contents.append(hashlib.sha256(data).digest())
        frames.append(_checked(path, parse_mesh(path, data), first).vertices.astype(np.float32))
    vertices = np.stack(frames)
    levels = sequence_levels(vertices)
    return _Sequence(contents, levels, vertices[levels <= NEUTRAL_LEVEL])


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
    paths = [path for path in list_files(folder, MESH_SUFFIXES, depth=2) if len(path.parts) == depth]
    # Other files than PLY may be there for other reasons, unless they are named as frames.
    paths = [path for path in paths if _FRAME.fullmatch(mesh_stem(path)) or path.suffix.lower() == ".ply"]
    stems = [f"{path.parent}/{mesh_stem(path)}" for path in paths]
    ranks = [MESH_SUFFIXES.index(mesh_ending(path) or "") for path in paths]
    first: dict[str, int] = {}
    for stem, rank in zip(stems, ranks, strict=True):
        first[stem] = min(first.get(stem, rank), rank)
    return [path for path, stem, rank in zip(paths, stems, ranks, strict=True) if first[stem] == rank]


def load_coma(
    folder: str | Path,
    *,
    split: str = "paper",
    prepared_dir: str | Path | None = None,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
) -> FaceSet:
    """CoMA as a face set in mm, prepared at the first call (a minute or two) and opened at once from then on.

    Args:
      folder: holds `<subject>/<expression>/<expression>.NNNNNN.ply`, in metres; or a folder that does, alone.
      split: one of `facedis_jax.data.splits.SPLITS`.
      prepared_dir: holds the prepared copy, 1.1 GB for all of CoMA; a folder in the user's cache if None.
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
    frames: dict[tuple[Path, str], Path] = {}
    for path in coma_files(folder):
        with refusals.of(path.relative_to(folder).as_posix()):
            stem = mesh_stem(path).casefold()
            if not _FRAME.fullmatch(stem) or stem.rpartition(".")[0] != path.parent.name.casefold():
                raise InputError(path, f"a name as in {_LAYOUT}", path.name)
            if (path.parent, stem) in frames:
                raise InputError(path, "each frame once", f"{frames[path.parent, stem].name} too")
            frames[path.parent, stem] = path
    paths = list(frames.values())
    if not paths:
        raise InputError(folder, f"{_LAYOUT} in it", f"none{refusals.note}")
    return paths


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_name(mesh_stem(path)).as_posix()


def _checked(path: Path, mesh: Mesh, first: Mesh) -> Mesh:
    check_topology(path, mesh, len(first.vertices), first.triangles)
    check_unit(path, mesh.vertices, "m")
    return mesh


def _builder(split: str, without: tuple[str, ...], data_dir: Path) -> Coma:
    config: ComaConfig | str = split
    if without:
        config = ComaConfig(name=f"{split}_without_{names_hash(without)}", split=split, without=without)
    return Coma(config=config, data_dir=data_dir, file_format="array_record")
