"""Sets of images as prepared copies: their settings, and the survey of a set that has a file for every image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.prepared_pixels import PixelBuilder, PixelSettings, PixelSurvey
from facedis_jax.data.splits import first_by_hash
from facedis_jax.errors import InputError
from facedis_jax.formats.files import read_bytes
from facedis_jax.formats.images import ImageFiles


@dataclass(frozen=True)
class ImageSettings(PixelSettings):
    """What every set of images can be asked for; each adds its own. See `PixelSettings`."""

    size: int = 64
    channels: int = 3
    crop: str = "center_square"
    max_train: int | None = None
    max_test: int | None = None
    without: tuple[str, ...] = ()


class ImageBuilder(PixelBuilder):
    """A TFDS builder of images: each file gives one."""

    VERSION = tfds.core.Version("1.1.0")  # from 1.1.0 on with what is see-through shown over white
    settings_type = ImageSettings
    set_type = ImageSet
    what = "images"
    key = "image"
    index_keys = ("index",)

    @staticmethod
    def examples(pixels: np.ndarray) -> np.ndarray:
        """An image's pixels [1, size, size, channels]."""
        return pixels[None]

    @staticmethod
    def hashed(content: bytes) -> bytes:
        """A file's length and bytes."""
        return f"{len(content)}\0".encode() + content


def survey_images(
    title: str,
    images: ImageFiles,
    names: Sequence[str],
    is_test: np.ndarray,
    settings: ImageSettings,
    *,
    is_train: np.ndarray | None = None,
    lists: Sequence[Path] = (),
    labels: Mapping[str, np.ndarray] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    refused: Mapping[str, str] | None = None,
    data_files: Mapping[str, str] | None = None,
) -> PixelSurvey:
    """The survey of a set that has a file for every image.

    Args:
      title: what the set is called in reports.
      images: their files.
      names: of the images.
      is_test: [images] bool.
      settings: the set's settings.
      is_train: [images] bool; all that are not tested if None.
      lists: other files of the folder that were read.
      labels, classes, refused, data_files: see `PixelSurvey`.

    Raises:
      InputError: as `choose`.
    """
    train, test = choose(title, names, is_test, settings, is_train=is_train)
    # The first image is read even where it is not chosen, for the others must have its size.
    files = [*lists, *(images.paths[i] for i in np.union1d(np.union1d(train, test), [0]))]
    return PixelSurvey(
        title,
        names,
        train,
        test,
        files,
        images.read,
        lambda index: read_bytes(images.paths[index]),
        labels or {},
        classes or {},
        refused=refused or {},
        data_files=data_files or {},
        rules=images.rules,
    )


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
