"""Sets of registered faces as prepared copies: what a builder must find out, and how copies are written and read."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.ahead import read_ahead
from facedis_jax.data.cache import ReadLock, cache_dir
from facedis_jax.data.faces.face_set import Face, FaceSet
from facedis_jax.data.faces.levels import NeutralMeans
from facedis_jax.data.prepared import PreparedBuilder, PreparedInfo, Sources, older_copies, open_prepared
from facedis_jax.data.shards import ExampleEncoder, Shards, Written, write_records
from facedis_jax.errors import InputError, printable
from facedis_jax.formats.meshes import UNITS, read_mesh, read_mesh_bytes
from facedis_jax.progress import track


class ReadFaces(NamedTuple):
    """Some faces, as they are read together.

    Attributes:
      digests: the sha256 of each face's file.
      neutral: by subject, vertices [few, vertices, 3] of which the mean, over all groups, is its neutral face.
      written: what is in each file that was to be written with them.
    """

    digests: Sequence[bytes]
    neutral: Mapping[int, np.ndarray]
    written: Sequence[Written]


FacesFiles = Sequence[tuple[Path, Sequence[int]]]
"""Files of records to be written with a group of faces: which, and of which of the faces, by their places in it."""


@dataclass(frozen=True)
class FaceSurvey:
    """What a builder knows of its files before it writes records.

    Attributes:
      names, subject, expression: of each face, in the order of the names; the arrays are [faces].
      subjects, expressions: the names that `subject` and `expression` index.
      triangles: [triangles, 3] int32.
      unit: of all vertices here, "m" or "mm".
      train, test: [faces] indices of the split.
      groups: the indices of the faces that are read together; all faces in their order.
      read: reads the groups in their order, and writes each one's files of records.
    """

    names: Sequence[str]
    subject: np.ndarray
    expression: np.ndarray
    subjects: Sequence[str]
    expressions: Sequence[str]
    triangles: np.ndarray
    unit: str
    train: np.ndarray
    test: np.ndarray
    groups: Sequence[Sequence[int]]
    read: Callable[[Sequence[FacesFiles]], Iterator[ReadFaces]]


class FaceBuilder(PreparedBuilder):
    """A TFDS builder of registered faces, with the splits `train`, `test` and `neutrals`."""

    @abstractmethod
    def named_files(self, folder: Path) -> dict[str, Path]:
        """The files in `folder` by the names of their faces, in the order of the survey."""

    @abstractmethod
    def survey(self, folder: Path) -> FaceSurvey:
        """What there is in `folder`, to be read."""

    def _info(self) -> PreparedInfo:
        return PreparedInfo(
            builder=self,
            description=type(self).__doc__,
            features=_features(),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def write(self, folder: Path) -> Shards:
        survey = self.survey(folder)
        halves = {"train": set(survey.train.tolist()), "test": set(survey.test.tolist())}
        places = [
            {split: [k for k, i in enumerate(group) if i in half] for split, half in halves.items()}
            for group in survey.groups
        ]
        shards = self.shards({split: sum(bool(of[split]) for of in places) for split in halves} | {"neutrals": 1})
        files = [[(shards.next_path(split), chosen) for split, chosen in of.items() if chosen] for of in places]
        digest, means = hashlib.sha256(), NeutralMeans(survey.subjects)
        for group, of, faces in zip(survey.groups, places, survey.read(files), strict=True):
            for index, content in zip(group, faces.digests, strict=True):
                add_to_hash(digest, survey.names[index], content)
            for subject, vertices in faces.neutral.items():
                means.add(subject, vertices, np.zeros(len(vertices)))
            for split, written in zip(filter(of.get, of), faces.written, strict=True):
                shards.add(split, written)
        neutrals = means.result()
        shards.write("neutrals", _neutral_records(neutrals))
        self.info.metadata.update(
            unit=survey.unit,
            num_vertices=neutrals.shape[1],
            num_train=len(survey.train),
            num_test=len(survey.test),
            subjects=list(survey.subjects),
            expressions=list(survey.expressions),
            names=list(survey.names),
            triangles=survey.triangles.tolist(),
            content_hash=digest.hexdigest(),
        )
        return shards


@dataclass(frozen=True)
class PreparedFaces:
    """Random access to the faces of one split, in mm.

    Attributes:
      records: the split's data source.
      millimetres: the unit of the records' vertices, in mm.
      lock: of the copy, see `facedis_jax.data.cache.ReadLock`.
    """

    records: Sequence[Mapping[str, Any]]
    millimetres: float
    lock: ReadLock | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Face:
        record = self.records[index]
        return Face(
            vertices=record["vertices"] * np.float32(self.millimetres),
            subject=np.int32(record["subject"]),  # type: ignore[typeddict-item]
            expression=np.int32(record["expression"]),  # type: ignore[typeddict-item]
            level=np.float32(record["level"]),  # type: ignore[typeddict-item]
            index=np.int32(record["index"]),  # type: ignore[typeddict-item]
        )


def load_prepared_faces(
    make_builder: Callable[[Path], FaceBuilder],
    name: str,
    folder: Path,
    files: Iterable[Path],
    prepared_dir: str | Path | None,
    *,
    scale: float,
    skipped: Mapping[str, str] | None = None,
    verify: bool = False,
) -> FaceSet:
    """Opens the prepared copy of a set of faces, and prepares it first where there is none.

    Args:
      make_builder: gives the builder that prepares in, or reads from, a folder of prepared data.
      name: the face set's name.
      folder: where the source files are.
      files: all files that the builder reads.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.
      scale: the face set's scale.
      skipped: see `FaceSet`.
      verify: as of `open_prepared`.

    Raises:
      InputError, OSError: as `open_prepared`.
    """
    files = list(files)

    def content() -> str:
        named = make_builder(Path(prepared_dir or cache_dir())).named_files(folder)
        digest = hashlib.sha256()
        for face, data in zip(
            track(list(named), "reading again"), read_ahead(mesh_digest, named.values()), strict=True
        ):
            add_to_hash(digest, face, data)
        return digest.hexdigest()

    sources = Sources(folder, files, content, room=_room(files))
    builder, lock = open_prepared(make_builder, sources, prepared_dir, verify=verify)
    metadata = builder.info.metadata

    def source(split: str) -> PreparedFaces:
        return PreparedFaces(builder.as_data_source(split=split), UNITS[metadata["unit"]], lock)

    neutrals = source("neutrals")
    return FaceSet(
        name=name,
        train=source("train"),
        test=source("test"),
        neutrals=np.stack([neutrals[i]["vertices"] for i in range(len(neutrals))]),
        triangles=np.array(metadata["triangles"], np.int32),
        subjects=tuple(map(printable, metadata["subjects"])),
        expressions=tuple(map(printable, metadata["expressions"])),
        names=tuple(metadata["names"]),
        scale=scale,
        content_hash=metadata["content_hash"],
        skipped=skipped or {},
        older_copies=older_copies(builder),
    )


def add_to_hash(digest: Any, name: str, content: bytes) -> None:
    """Adds a face's name and the sha256 of its file's bytes to the hash of a set's content."""
    digest.update(f"{name}\0".encode(errors="surrogateescape") + content)


def mesh_digest(path: Path) -> bytes:
    """The sha256 of a mesh file's bytes."""
    return hashlib.sha256(read_mesh_bytes(path)).digest()


def _room(files: Sequence[Path]) -> int:
    """Bytes of the vertices of so many faces as the first file has; 0 where it cannot be read, which is found later."""
    if not files:
        return 0
    try:
        return len(files) * read_mesh(files[0]).vertices.size * 4
    except InputError:
        return 0


def _features() -> tfds.features.FeaturesDict:
    """What a record of a face holds."""
    return tfds.features.FeaturesDict(
        {
            "vertices": tfds.features.Tensor(shape=(None, 3), dtype=np.float32, encoding=tfds.features.Encoding.BYTES),
            "subject": np.int32,
            "expression": np.int32,
            "level": np.float32,
            "index": np.int32,
        }
    )


@cache
def face_encoder() -> ExampleEncoder:
    """Makes the records of faces."""
    return ExampleEncoder(_features())


def write_faces(records: Sequence[bytes], files: FacesFiles) -> list[Written]:
    """Writes the files of a group of faces, of which these are all records."""
    return [write_records(path, [records[k] for k in places]) for path, places in files]


def _neutral_records(neutrals: np.ndarray) -> Iterator[bytes]:
    """The records of neutrals; as a neutral is no face of the set, its expression and index are -1."""
    for subject, vertices in enumerate(neutrals):
        neutral = {"vertices": vertices, "subject": subject, "expression": -1, "level": 0.0, "index": -1}
        yield face_encoder()(neutral)
