"""Sets of photographs as prepared copies: what a builder must find out, and how it is written and read."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.images.image_set import Image, ImageSet, ImageSplit
from facedis_jax.data.prepared import PreparedBuilder, PreparedInfo, damaged_examples, open_prepared, track, without
from facedis_jax.data.splits import first_by_hash
from facedis_jax.errors import InputError
from facedis_jax.formats.images import Framing, ImageFiles

# A shard is in memory while it is written.
_SHARD_BYTES = 2**26


@dataclass(frozen=True)
class ImageSettings:
    """What every set of photographs can be asked for; each adds its own.

    Attributes:
      size, channels, crop: of the images, see `facedis_jax.formats.images.Framing`.
      max_train, max_test: how many images to keep of either half; all if None. Which ones follows from their names
        alone (`facedis_jax.data.splits.first_by_hash`), and fewer are among more.
      without: names of images to leave out.
    """

    size: int = 64
    channels: int = 3
    crop: str = "center_square"
    max_train: int | None = None
    max_test: int | None = None
    without: tuple[str, ...] = ()

    @property
    def framing(self) -> Framing:
        return Framing(self.size, self.channels, self.crop)


@dataclass(frozen=True)
class ImageSurvey:
    """What a builder knows of its files before it reads the images.

    Attributes:
      title: what the set is called in reports.
      names: [images], sorted.
      train, test: indices into the names, ascending.
      files: all that is read.
      read: gives pixels [size, size, channels] uint8 of an image by its index, and the bytes they come from.
      labels: arrays [images, ...] by name, as in `ImageSplit`.
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
class ImageConfig(tfds.core.BuilderConfig):
    """A builder's configuration, named after its settings."""

    settings: ImageSettings = field(default_factory=ImageSettings)

    @staticmethod
    def of(settings: ImageSettings) -> "ImageConfig":
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        return ImageConfig(name=f"{settings.size}x{settings.size}x{settings.channels}_{digest}", settings=settings)


class ImageBuilder(PreparedBuilder):
    """A TFDS builder of photographs, with the splits `train` and `test`.

    The records hold pixels, uncompressed, since decoding would cost a training run more than it saves. Names and
    labels stay in the folder's own lists, in the order of `survey`; a record's `index` is its image's place there.
    """

    settings_type: ClassVar[type[ImageSettings]] = ImageSettings

    @classmethod
    @abstractmethod
    def survey(cls, folder: Path, settings: Any) -> ImageSurvey:
        """Lists the files in `folder`, and reads and checks all but the images."""

    def _info(self) -> PreparedInfo:
        framing = self.builder_config.settings.framing
        pixels = tfds.features.Tensor(
            shape=(framing.size, framing.size, framing.channels),
            dtype=np.uint8,
            encoding=tfds.features.Encoding.BYTES,
        )
        return PreparedInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict({"image": pixels, "index": np.int32}),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        settings = self.builder_config.settings
        survey = without(self.survey(Path(dl_manager.manual_dir), settings), settings.without)
        digest = hashlib.sha256(repr(settings.framing).encode())
        per_shard = max(1, _SHARD_BYTES // (settings.size**2 * settings.channels))
        return {
            split: [
                partial(self._records, survey, split, indices[start : start + per_shard], digest)
                for start in range(0, len(indices), per_shard)
            ]
            for split, indices in (("train", survey.train), ("test", survey.test))
        }

    def _records(
        self, survey: ImageSurvey, split: str, indices: np.ndarray, digest: Any
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in track(indices.tolist(), f"Reading {split} images"):
            pixels, data = survey.read(index)
            digest.update(f"{split}\0{survey.names[index]}\0{len(data)}\0".encode() + data)
            yield index, {"image": pixels, "index": index}
        # Shards are written one after another, so that the last to come here has seen all images in their order.
        self.info.metadata["content_hash"] = digest.hexdigest()


@dataclass(frozen=True)
class PreparedImages:
    """Random access to the images of one split.

    Attributes:
      records: the split's data source.
    """

    records: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Image:
        return Image(image=self.records[index]["image"], index=np.int32(index))  # type: ignore[typeddict-item]


def survey_images(
    title: str,
    photographs: ImageFiles,
    names: Sequence[str],
    is_test: np.ndarray,
    settings: ImageSettings,
    *,
    is_train: np.ndarray | None = None,
    lists: Sequence[Path] = (),
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> ImageSurvey:
    """The survey of a set that has a file for every image.

    Args:
      title: what the set is called in reports.
      photographs: the images' files.
      names: of the images.
      is_test: [images] bool.
      settings: the set's settings.
      is_train: [images] bool; all that are not tested if None.
      lists: other files of the folder that were read.
      labels, classes: see `ImageSurvey`.

    Raises:
      InputError: as `choose`.
    """
    train, test = choose(title, names, is_test, settings, is_train=is_train)
    # The first image is read even where it is not chosen, for the others must have its size.
    files = [*lists, *(photographs.paths[i] for i in np.union1d(np.union1d(train, test), [0]))]
    return ImageSurvey(title, names, train, test, files, photographs.read, labels or {}, classes or {})


def choose(
    title: str,
    names: Sequence[str],
    is_test: np.ndarray,
    settings: ImageSettings,
    *,
    is_train: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to train on and to test, ascending, no more of them than the settings ask for.

    Raises:
      InputError: where the settings ask for less than one image of a half, or the set has none.
    """
    for name, most in (("max_train", settings.max_train), ("max_test", settings.max_test)):
        if most is not None and most < 1:
            raise InputError(name, "at least 1", str(most))
    train = np.flatnonzero(~is_test if is_train is None else is_train)
    test = np.flatnonzero(is_test)
    if not len(train) or not len(test):
        found = f"{len(train)} and {len(test)} of {len(is_test)}"
        raise InputError(title, "images to train on and images to test", found)
    return first_by_hash(train, names, settings.max_train), first_by_hash(test, names, settings.max_test)


def load_prepared_images(
    builder_type: type[ImageBuilder],
    folder: str | Path,
    settings: ImageSettings,
    prepared_dir: str | Path | None,
    *,
    skip_damaged: bool = False,
) -> ImageSet:
    """Opens the prepared copy of a set of photographs, and prepares it first where there is none.

    Args:
      builder_type: the set's builder.
      folder: where its files are.
      settings: of the builder's `settings_type`.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.
      skip_damaged: leave out images that cannot be read, and list them in the set's `skipped`.

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

    def split(name: str, indices: np.ndarray) -> ImageSplit:
        return ImageSplit(
            images=PreparedImages(builder.as_data_source(split=name)),
            names=tuple(survey.names[i] for i in indices),
            labels={label: values[indices] for label, values in survey.labels.items()},
        )

    return ImageSet(
        name=survey.title,
        train=split("train", survey.train),
        test=split("test", survey.test),
        size=settings.size,
        channels=settings.channels,
        content_hash=builder.info.metadata["content_hash"],
        classes=survey.classes,
        skipped=skipped,
    )


def _builder(builder_type: type[ImageBuilder], settings: ImageSettings, data_dir: Path) -> ImageBuilder:
    return builder_type(config=ImageConfig.of(settings), data_dir=data_dir, file_format="array_record")
