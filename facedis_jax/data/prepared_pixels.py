"""Sets of images and clips as prepared copies: what a builder must find out, and how copies are written and read."""

import dataclasses
import hashlib
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.ahead import read_ahead
from facedis_jax.data.cache import ReadLock, cache_dir
from facedis_jax.data.pixel_set import PixelSet, Split, pixel_example
from facedis_jax.data.prepared import (
    PreparedBuilder,
    PreparedInfo,
    Sources,
    find_damaged,
    older_copies,
    open_prepared,
)
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.shards import ExampleEncoder, Shards
from facedis_jax.errors import InputError, printable
from facedis_jax.formats.files import refuse_links_out
from facedis_jax.formats.images import Framing
from facedis_jax.progress import track

# About as much is in a file of records.
_SHARD_BYTES = 2**26


class PixelSettings:
    """What a set of images or clips can be asked for; each kind of set is a frozen dataclass with these and its own.

    Attributes:
      size, channels, crop: of the images, or of the clips' frames; see `facedis_jax.formats.images.Framing`.
      max_train, max_test: how many files to keep of either half; all if None. Which ones follows from their names
        alone (`facedis_jax.data.splits.first_by_hash`), and fewer are among more.
      without: names of files to skip.
    """

    size: int
    channels: int
    crop: str
    max_train: int | None
    max_test: int | None
    without: tuple[str, ...]

    @property
    def framing(self) -> Framing:
        """What becomes of an image or a frame."""
        return Framing(self.size, self.channels, self.crop)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example's pixels."""
        return (self.size, self.size, self.channels)

    @property
    def processing(self) -> object:
        """What becomes of a file's pixels; its `repr` is part of the content's hash."""
        return self.framing

    @property
    def examples_per_file(self) -> int:
        """1 where each file gives one example; else about how many."""
        return 1


@dataclass(frozen=True)
class PixelSurvey:
    """What a builder knows of its files before it reads their pixels.

    A "file" gives one image, or all clips of a recording; a recording may be a folder of frames.

    Attributes:
      title: what the set is called in reports.
      names: [files], sorted.
      train, test: indices into the names, ascending.
      files: all that is read.
      read: gives a file's pixels, which `PixelBuilder.examples` takes, and its content, by its index.
      content: gives the content alone, without decoding it.
      labels: arrays [files, ...] by name, as in `Split`.
      classes: the names that integer labels index.
      refused: files that are none of these, by name, with what is wrong with them; see `Refusals`.
      data_files: as of `facedis_jax.data.pixel_set.PixelSet`.
      rules: as of `facedis_jax.formats.images.ImageFiles`; grows while files are read.
    """

    title: str
    names: Sequence[str]
    train: np.ndarray
    test: np.ndarray
    files: Sequence[Path]
    read: Callable[[int], tuple[np.ndarray, bytes]]
    content: Callable[[int], bytes]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    data_files: Mapping[str, str] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)

    def without(self, names: Sequence[str]) -> "PixelSurvey":
        """The survey whose halves lack some files.

        Raises:
          InputError: nothing is left of a half.
        """
        kept = ~np.isin(np.asarray(self.names), names)
        left = {half: indices[kept[indices]] for half, indices in (("train", self.train), ("test", self.test))}
        for half, indices in left.items():
            if not len(indices):
                found = f"none: all {len(getattr(self, half))} are damaged"
                raise InputError(self.title, f"one whole example or more to {half}", found)
        return dataclasses.replace(self, **left)


@dataclass(eq=False)
class PixelConfig(tfds.core.BuilderConfig):
    """A builder's configuration, named after its settings."""

    settings: Any = None

    @staticmethod
    def of(settings: PixelSettings) -> "PixelConfig":
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        return PixelConfig(name=f"{'x'.join(map(str, settings.shape))}_{digest}", settings=settings)


class PixelBuilder(PreparedBuilder):
    """A TFDS builder of images or clips, with the splits `train` and `test`.

    The records hold pixels, uncompressed, since decoding would cost a training run more than it saves. Names and
    labels stay in the folder's own lists, in the order of `survey`, of which a record holds its file's index. How many
    examples each file gave is in the metadata, unless it is always one.

    Attributes:
      settings_type: what the set can be asked for.
      set_type: what is made of the set.
      what: what its examples are called.
      key: the field of a record and of an example that holds the pixels.
      index_keys: the fields of a record that hold the index of its file, and where files may give several, its
        example's index in the file.
    """

    settings_type: ClassVar[type[PixelSettings]]
    set_type: ClassVar[type[PixelSet]]
    what: ClassVar[str]
    key: ClassVar[str]
    index_keys: ClassVar[tuple[str, ...]]

    @classmethod
    def home(cls, folder: Path) -> Path:
        """The folder that the survey is made of: the one that was given, or one in it."""
        return folder

    @classmethod
    def settle(cls, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings by name with those that follow from the files where they are not given."""
        return dict(given)

    @classmethod
    @abstractmethod
    def survey(cls, folder: Path, settings: Any, refusals: Refusals = STRICT) -> PixelSurvey:
        """Lists the files in `folder`, and checks all that can be told without reading their pixels.

        Raises:
          InputError: where the folder cannot be used, or one of its files that `refusals` does not skip.
        """

    @staticmethod
    @abstractmethod
    def examples(pixels: np.ndarray) -> np.ndarray:
        """The examples [examples, ...] that a file's pixels give."""

    @staticmethod
    @abstractmethod
    def hashed(content: bytes) -> bytes:
        """What stands for a file's content in the hash of the set's."""

    def chosen(self, folder: Path) -> PixelSurvey:
        """The survey of the files that the settings ask for."""
        settings = self.builder_config.settings
        # What the survey refuses is among the names to skip, or an error.
        refusals = Refusals(skip=bool(settings.without))
        return self.survey(folder, settings, refusals).without(settings.without)

    def content_hash(self, folder: Path) -> str:
        """The hash of the content that a copy of the folder would have, for which all chosen files are read."""
        survey, digest = self.chosen(folder), self._new_digest()
        for split, indices in (("train", survey.train.tolist()), ("test", survey.test.tolist())):
            for index, content in zip(
                track(indices, "reading again"), read_ahead(survey.content, indices), strict=True
            ):
                _add_to_hash(digest, split, survey.names[index], self.hashed(content))
        return digest.hexdigest()

    def _new_digest(self) -> Any:
        return hashlib.sha256(repr(self.builder_config.settings.processing).encode())

    def _info(self) -> PreparedInfo:
        pixels = tfds.features.Tensor(
            shape=self.builder_config.settings.shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
        )
        indices = dict.fromkeys(self.index_keys, np.int32)
        return PreparedInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict({self.key: pixels, **indices}),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def write(self, folder: Path) -> Shards:
        settings = self.builder_config.settings
        survey, digest = self.chosen(folder), self._new_digest()
        total = len(survey.train) + len(survey.test)
        read = self.process_reader(survey.read, total=total, counts=survey.rules)
        per_shard = max(1, _SHARD_BYTES // (math.prod(settings.shape) * settings.examples_per_file))
        halves = {
            split: [indices[start : start + per_shard] for start in range(0, len(indices), per_shard)]
            for split, indices in (("train", survey.train), ("test", survey.test))
        }
        shards = self.shards({split: len(parts) for split, parts in halves.items()})
        for split, parts in halves.items():
            for indices in parts:
                shards.write(split, self._records(survey, read, split, indices, digest))
        self.info.metadata["content_hash"] = digest.hexdigest()
        self.info.metadata["rules"] = dict(survey.rules)
        return shards

    def _records(
        self,
        survey: PixelSurvey,
        read: Callable[[Iterable[int]], Iterator[tuple[np.ndarray, bytes]]],
        split: str,
        indices: np.ndarray,
        digest: Any,
    ) -> Iterator[bytes]:
        encode, metadata = ExampleEncoder(self.info.features), self.info.metadata
        files = track(indices.tolist(), f"reading {split} {self.what}")
        for index, (decoded, content) in zip(files, read(indices.tolist()), strict=True):
            examples = self.examples(decoded)
            _add_to_hash(digest, split, survey.names[index], self.hashed(content))
            if self.builder_config.settings.examples_per_file != 1:
                metadata.setdefault("clips", {}).setdefault(split, []).append(len(examples))
            for window, pixels in enumerate(examples):
                yield encode({self.key: pixels, **dict(zip(self.index_keys, (index, window), strict=False))})


def _add_to_hash(digest: Any, split: str, name: str, content: bytes) -> None:
    digest.update(f"{split}\0{name}\0".encode(errors="surrogateescape") + content)


@dataclass(frozen=True)
class PreparedPixels:
    """The examples of one half of a prepared copy, which are read as they are asked for.

    Attributes:
      records: the split's data source.
      key: the field that holds the pixels.
      lock: of the copy, see `facedis_jax.data.cache.ReadLock`.
    """

    records: Sequence[Mapping[str, Any]]
    key: str
    lock: ReadLock | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        return pixel_example(self.key, self.records[index][self.key], index)


def load_prepared_pixels(
    builder_type: type[PixelBuilder],
    folder: str | Path,
    settings: Any,
    prepared_dir: str | Path | None,
    *,
    skip_damaged: bool = False,
    links_out: bool = True,
    verify: bool = False,
) -> Any:
    """Opens the prepared copy of a set of images or clips, and prepares it first where there is none.

    Args:
      builder_type: the set's builder.
      folder: where its files are.
      settings: of the builder's `settings_type`.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.
      skip_damaged: skip files that cannot be used, and list them in the set's `skipped`.
      links_out: follow links that lead out of the folder; refuse them if False.
      verify: read all files again, where a prepared copy is there, and prepare anew if their content differs.

    Returns:
      The set, of the builder's `set_type`.

    Raises:
      InputError: where the folder or a file in it cannot be used, or the cache cannot be written.
    """
    folder = Path(folder)
    if not links_out:
        refuse_links_out(folder)
    folder = builder_type.home(folder)
    survey = builder_type.survey(folder, settings, Refusals(skip=skip_damaged))
    skipped: dict[str, str] = {}
    if skip_damaged:
        skipped = dict(sorted({**survey.refused, **_damaged(survey, settings, folder, prepared_dir, verify)}.items()))
        settings = dataclasses.replace(settings, without=tuple(skipped))
        survey = survey.without(settings.without)

    def make_builder(data_dir: Path) -> PixelBuilder:
        return builder_type(config=PixelConfig.of(settings), data_dir=data_dir, file_format="array_record")

    sources = Sources(
        folder,
        survey.files,
        content=lambda: make_builder(Path(prepared_dir or cache_dir())).content_hash(folder),
        room=(len(survey.train) + len(survey.test)) * math.prod(settings.shape),
    )
    builder, lock = open_prepared(make_builder, sources, prepared_dir, verify=verify)

    def split(name: str, indices: np.ndarray) -> Split:
        names = [survey.names[i] for i in indices]
        if settings.examples_per_file != 1:
            counts = builder.info.metadata["clips"][name]
            names = [f"{of}#{window}" for of, count in zip(names, counts, strict=True) for window in range(count)]
            indices = np.repeat(indices, counts)
        return Split(
            source=PreparedPixels(builder.as_data_source(split=name), builder_type.key, lock),
            names=tuple(names),
            labels={label: values[indices] for label, values in survey.labels.items()},
        )

    rules = builder.info.metadata.get("rules") or {}
    by_rule = ", ".join(f"{count:,} {rule}" for rule, count in sorted(rules.items()))
    return builder_type.set_type(
        name=survey.title,
        train=split("train", survey.train),
        test=split("test", survey.test),
        shape=settings.shape,
        content_hash=builder.info.metadata["content_hash"],
        classes={label: tuple(map(printable, names)) for label, names in survey.classes.items()},
        skipped=skipped,
        data_files={**survey.data_files, **({"by rule": by_rule} if by_rule else {})},
        older_copies=older_copies(builder),
    )


def load_pixels(
    sets: Mapping[str, type[PixelBuilder]],
    kind: str,
    folder: str | Path,
    given: Mapping[str, Any],
    *,
    prepared_dir: str | Path | None,
    skip_damaged: bool,
    links_out: bool = True,
    verify: bool = False,
) -> Any:
    """`load_prepared_pixels` of a set by its name, with settings by theirs.

    Args:
      sets: the builder of each set.
      kind: one of them.
      folder, prepared_dir, skip_damaged, links_out, verify: as of `load_prepared_pixels`.
      given: settings of the builder's `settings_type`; None stands for the set's own value.

    Raises:
      InputError: where the kind or a setting is unknown, or the folder or a file in it cannot be used.
    """
    if kind not in sets:
        raise InputError("the kind of the set", f"one of {', '.join(sets)}", repr(kind))
    settings_type: Any = sets[kind].settings_type
    settings = {name: value for name, value in given.items() if value is not None}
    known = [setting.name for setting in dataclasses.fields(settings_type)]
    for name in settings:
        if name not in known:
            raise InputError(f"the set {kind}", f"settings among {', '.join(known)}", name)
    settings = sets[kind].settle(Path(folder), settings)
    return load_prepared_pixels(
        sets[kind],
        folder,
        settings_type(**settings),
        prepared_dir,
        skip_damaged=skip_damaged,
        links_out=links_out,
        verify=verify,
    )


def _damaged(
    survey: PixelSurvey, settings: PixelSettings, folder: Path, prepared_dir: str | Path | None, verify: bool
) -> dict[str, str]:
    """The chosen files of a survey that cannot be read, with what is wrong with them; see `find_damaged`."""
    chosen = np.union1d(survey.train, survey.test)
    return find_damaged(
        f"{survey.title} {settings}",
        [survey.names[i] for i in chosen],
        lambda i: survey.read(chosen[i]),
        folder,
        survey.files,
        prepared_dir,
        verify=verify,
    )
