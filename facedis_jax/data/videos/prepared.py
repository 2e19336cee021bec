"""Sets of videos as prepared copies: what a builder must find out, and how it is written and read."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.prepared import PreparedBuilder, PreparedInfo, damaged_examples, open_prepared, track, without
from facedis_jax.data.videos.clip_set import Clip, ClipSet, ClipSplit
from facedis_jax.data.videos.cutting import Cutting
from facedis_jax.errors import InputError
from facedis_jax.formats.images import Framing

# A shard is in memory while it is written.
_SHARD_BYTES = 2**26
_CLIPS_PER_TAKE = 4  # at a guess, where all clips of a recording are kept


@dataclass(frozen=True)
class ClipSettings:
    """What every set of videos can be asked for.

    Attributes:
      size, channels, crop: of the frames, see `facedis_jax.formats.images.Framing`.
      frames, stride, cut: of the clips, see `facedis_jax.data.videos.cutting.Cutting`.
      expressions: those that are kept, in the order in which labels number them; all, sorted, if empty.
      test_subjects: names of the people who are tested; if empty, `num_test_subjects` of them.
      num_test_subjects: how many, a tenth, rounded up, if None. Which ones follows from their names alone
        (`facedis_jax.data.splits.first_by_hash`), and fewer are among more.
      max_train, max_test: how many recordings to keep of either half, chosen likewise; all if None.
      without: names of recordings to leave out.

    Raises:
      InputError: where one of them can be of no set.
    """

    size: int = 64
    channels: int = 3
    crop: str = "center_square"
    frames: int = 60
    stride: int = 1
    cut: str = "first"
    expressions: tuple[str, ...] = ()
    test_subjects: tuple[str, ...] = ()
    num_test_subjects: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # To have them checked before anything is read.
        _ = self.framing, self.cutting
        for name in ("num_test_subjects", "max_train", "max_test"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InputError(name, "at least 1", f"{count}")

    @property
    def framing(self) -> Framing:
        return Framing(self.size, self.channels, self.crop)

    @property
    def cutting(self) -> Cutting:
        return Cutting(self.frames, self.stride, self.cut)


@dataclass(frozen=True)
class ClipSurvey:
    """What a builder knows of its recordings before it reads them.

    Attributes:
      title: what the set is called in reports.
      names: [recordings], "subject/expression/take", sorted.
      train, test: indices into the names, ascending.
      files: all that is read.
      read: gives clips [clips, frames, size, size, channels] uint8 of a recording by its index, and the sha256 of the
        bytes they come from.
      labels: arrays [recordings] by name, as in `ClipSplit`.
      classes: the names that integer labels index.
    """

    title: str
    names: Sequence[str]
    train: np.ndarray
    test: np.ndarray
    files: Sequence[Path]
    read: Callable[[int], tuple[np.ndarray, bytes]]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
    """A builder's configuration, named after its settings."""

    settings: ClipSettings = field(default_factory=ClipSettings)

    @staticmethod
    def of(settings: ClipSettings) -> "ClipConfig":
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        shape = f"{settings.frames}x{settings.size}x{settings.size}x{settings.channels}"
        return ClipConfig(name=f"{shape}_{digest}", settings=settings)


class ClipBuilder(PreparedBuilder):
    """A TFDS builder of clips, with the splits `train` and `test`.

    The records hold pixels, uncompressed, since decoding would cost a training run more than it saves. Names and
    labels stay in the folder's own arrangement, in the order of `survey`; a record's `take` is its recording's place
    there, and its `window` the clip's place in the recording. How many clips each recording gave is in the metadata.
    """

    @classmethod
    @abstractmethod
    def survey(cls, folder: Path, settings: ClipSettings) -> ClipSurvey:
        """Lists the recordings in `folder`, and checks all that can be told without reading them."""

    def _info(self) -> PreparedInfo:
        settings = self.builder_config.settings
        framing, cutting = settings.framing, settings.cutting
        pixels = tfds.features.Tensor(
            shape=(cutting.frames, framing.size, framing.size, framing.channels),
            dtype=np.uint8,
            encoding=tfds.features.Encoding.BYTES,
        )
        return PreparedInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict({"frames": pixels, "take": np.int32, "window": np.int32}),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        settings = self.builder_config.settings
        survey = without(self.survey(Path(dl_manager.manual_dir), settings), settings.without)
        digest = hashlib.sha256(repr((settings.framing, settings.cutting)).encode())
        take_bytes = settings.frames * settings.size**2 * settings.channels
        take_bytes *= _CLIPS_PER_TAKE if settings.cut == "all" else 1
        per_shard = max(1, _SHARD_BYTES // take_bytes)
        self.info.metadata["clips"] = {}
        return {
            split: [
                partial(self._records, survey, split, indices[start : start + per_shard], digest)
                for start in range(0, len(indices), per_shard)
            ]
            for split, indices in (("train", survey.train), ("test", survey.test))
        }

    def _records(
        self, survey: ClipSurvey, split: str, indices: np.ndarray, digest: Any
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        counts = self.info.metadata["clips"].setdefault(split, [])
        key = 0
        for index in track(indices.tolist(), f"Reading {split} videos"):
            clips, content = survey.read(index)
            digest.update(f"{split}\0{survey.names[index]}\0".encode() + content)
            counts.append(len(clips))
            for window, frames in enumerate(clips):
                yield key, {"frames": frames, "take": index, "window": window}
                key += 1
        # Shards are written one after another, so that the last to come here has seen all recordings in their order.
        self.info.metadata["content_hash"] = digest.hexdigest()


@dataclass(frozen=True)
class PreparedClips:
    """Random access to the clips of one split.

    Attributes:
      records: the split's data source.
    """

    records: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Clip:
        return Clip(frames=self.records[index]["frames"], index=np.int32(index))  # type: ignore[typeddict-item]


def load_prepared_clips(
    builder_type: type[ClipBuilder],
    folder: str | Path,
    settings: ClipSettings,
    prepared_dir: str | Path | None,
    *,
    skip_damaged: bool = False,
) -> ClipSet:
    """Opens the prepared copy of a set of videos, and prepares it first where there is none.

    Args:
      builder_type: the set's builder.
      folder: where its files are.
      settings: what is asked for.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.
      skip_damaged: leave out recordings that cannot be read, and list them in the set's `skipped`.

    Raises:
      InputError: where the folder or a file in it cannot be used, or the cache cannot be written.
    """
    folder = Path(folder)
    survey = builder_type.survey(folder, settings)
    skipped: dict[str, str] = {}
    if skip_damaged:
        skipped = damaged_examples(survey, settings, folder, prepared_dir)
        settings = replace(settings, without=tuple(skipped))
        survey = without(survey, settings.without)
    builder = open_prepared(partial(_builder, builder_type, settings), folder, survey.files, prepared_dir)

    def split(name: str, indices: np.ndarray) -> ClipSplit:
        counts = builder.info.metadata["clips"][name]
        take = np.repeat(indices, counts)
        windows = [f"#{window}" if settings.cut == "all" else "" for count in counts for window in range(count)]
        return ClipSplit(
            clips=PreparedClips(builder.as_data_source(split=name)),
            names=tuple(survey.names[i] + window for i, window in zip(take, windows, strict=True)),
            labels={label: values[take] for label, values in survey.labels.items()},
        )

    return ClipSet(
        name=survey.title,
        train=split("train", survey.train),
        test=split("test", survey.test),
        frames=settings.frames,
        size=settings.size,
        channels=settings.channels,
        content_hash=builder.info.metadata["content_hash"],
        classes=survey.classes,
        skipped=skipped,
    )


def _builder(builder_type: type[ClipBuilder], settings: ClipSettings, data_dir: Path) -> ClipBuilder:
    return builder_type(config=ClipConfig.of(settings), data_dir=data_dir, file_format="array_record")
