"""CelebA (Liu et al., 2015) and its subset MAFL (Zhang et al., 2014): faces of celebrities with five landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from facedis_jax.data.images.lists import list_images, read_lines, read_list
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import every_tenth
from facedis_jax.errors import InputError
from facedis_jax.formats.images import ImageFiles, open_images

WHERE_TO_GET_CELEBA = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
WHERE_TO_GET_MAFL = "https://github.com/zhzhanp/TCDCN-face-alignment"

LANDMARKS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
"""The five points, in their order; left and right are the viewer's."""

_IMAGES = "img_align_celeba"
_PARTITION = "list_eval_partition.txt"
_IDENTITY = "identity_CelebA.txt"
_LANDMARKS = "list_landmarks_align_celeba.txt"
_COLUMNS = [f"{point}_{axis}" for point in LANDMARKS for axis in "xy"]
_PARTITIONS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class CelebaSettings(ImageSettings):
    """See `ImageSettings`.

    Attributes:
      held_out: which partition is tested, "test" or "validation"; the other one is not used.
    """

    crop: str = "celeba_140"
    held_out: str = "test"


@dataclass(frozen=True)
class MaflSettings(ImageSettings):
    """See `ImageSettings`."""

    crop: str = "celeba_140"


class Celeba(ImageBuilder):
    """CelebA's aligned images, `img_align_celeba/*.jpg` in the manual directory, with its lists beside them.

    | images | people | train / validation / test | pixels |
    | --- | --- | --- | --- |
    | 202,599 | 10,177 | 162,770 / 19,867 / 19,962, each with people of its own | 178 x 218, RGB |

    Each list may be missing: without `list_eval_partition.txt` every tenth image is tested, and without
    `identity_CelebA.txt` or `list_landmarks_align_celeba.txt` there are no labels "subject" or "landmarks".
    """

    name = "celeba_images"
    settings_type = CelebaSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get CelebA at {WHERE_TO_GET_CELEBA} and unpack {_IMAGES}."

    @classmethod
    def survey(cls, folder: Path, settings: CelebaSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        if settings.held_out not in ("test", "validation"):
            raise InputError("held_out", "test or validation", repr(settings.held_out))
        paths = _image_files(folder)
        names = [path.name for path in paths]
        images = open_images(paths, settings.framing)
        lists = [path for path in (folder / _PARTITION, folder / _IDENTITY, folder / _LANDMARKS) if path.exists()]
        is_test, is_train = every_tenth(names), None
        if folder / _PARTITION in lists:
            partition = _partition(folder / _PARTITION, names)
            is_test, is_train = partition == _PARTITIONS[settings.held_out], partition == _PARTITIONS["train"]
        labels, classes = {}, {}
        if folder / _IDENTITY in lists:
            labels["subject"], classes["subject"] = _identities(folder / _IDENTITY, names)
        if folder / _LANDMARKS in lists:
            labels["landmarks"] = _landmarks(folder / _LANDMARKS, names, images)
        return survey_images(
            "celeba",
            images,
            names,
            is_test,
            settings,
            is_train=is_train,
            lists=lists,
            labels=labels,
            classes=classes,
        )


class Mafl(ImageBuilder):
    """MAFL: `training.txt` and `testing.txt` name images of CelebA, whose `list_landmarks_align_celeba.txt` is needed.

    | train / test | pixels | beside |
    | --- | --- | --- |
    | 19,000 / 1,000 | 178 x 218, RGB | the lists lie in the manual directory or in its folder `MAFL` |
    """

    name = "mafl_images"
    settings_type = MaflSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get CelebA at {WHERE_TO_GET_CELEBA} and MAFL's lists at {WHERE_TO_GET_MAFL}."

    @classmethod
    def survey(cls, folder: Path, settings: MaflSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        paths = _image_files(folder)
        names = [path.name for path in paths]
        beside = folder / "MAFL" if (folder / "MAFL").is_dir() else folder
        lists = [beside / "training.txt", beside / "testing.txt", folder / _LANDMARKS]
        for path in lists:
            if not path.is_file():
                raise InputError(path, f"a list of MAFL (get it from {WHERE_TO_GET_MAFL})", "no such file")
        train, test = (read_list(path, names, 0, lambda _: None, "no more", whole=False).keys() for path in lists[:2])
        if both := train & test:
            raise InputError(lists[1], "other images than in training.txt", min(both))
        images = open_images(paths, settings.framing)
        labels = {"landmarks": _landmarks(folder / _LANDMARKS, names, images)}
        classes = {}
        if (folder / _IDENTITY).exists():
            lists.append(folder / _IDENTITY)
            labels["subject"], classes["subject"] = _identities(folder / _IDENTITY, names)
        return survey_images(
            "mafl",
            images,
            names,
            np.array([name in test for name in names]),
            settings,
            is_train=np.array([name in train for name in names]),
            lists=lists,
            labels=labels,
            classes=classes,
        )


def _image_files(folder: Path) -> list[Path]:
    return list_images(folder / _IMAGES, f"CelebA's aligned images (get them from {WHERE_TO_GET_CELEBA})")


def _partition(path: Path, names: Sequence[str]) -> np.ndarray:
    def parse(values: Sequence[str]) -> int:
        return ("0", "1", "2").index(values[0])

    partition = read_list(path, names, 1, parse, "0, 1 or 2")
    return np.array([partition[name] for name in names])


def _identities(path: Path, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Subject [images] int32 and the names that it indexes, in the order of their numbers."""
    identity = read_list(path, names, 1, lambda values: int(values[0]), "the number of a person")
    people = sorted(set(identity.values()))
    index_of = {number: i for i, number in enumerate(people)}
    return np.array([index_of[identity[name]] for name in names], np.int32), tuple(map(str, people))


def _landmarks(path: Path, names: Sequence[str], images: ImageFiles) -> np.ndarray:
    """Landmarks [images, 5, 2] float32 in the framed images."""
    header = list(islice(read_lines(path), 2))
    if len(header) < 2 or header[0].split() != [str(len(names))]:
        raise InputError(f"{path}, line 1", f"the number of images, {len(names)}", repr(" ".join(header[:1])[:100]))
    if header[1].split() != _COLUMNS:
        raise InputError(f"{path}, line 2", " ".join(_COLUMNS), repr(header[1][:100]))
    width, height = images.size

    def parse(values: Sequence[str]) -> list[float]:
        numbers = [float(value) for value in values]
        if not all(0 <= x < width and 0 <= y < height for x, y in zip(numbers[::2], numbers[1::2], strict=True)):
            raise ValueError
        return numbers

    kind = f"{len(LANDMARKS)} points in {width} x {height} pixels"
    points = read_list(path, names, len(_COLUMNS), parse, kind, skip=2)
    landmarks = np.array([points[name] for name in names]).reshape(-1, len(LANDMARKS), 2)
    return images.framing.points(path, landmarks, width, height)
