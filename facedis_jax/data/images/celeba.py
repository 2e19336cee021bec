"""CelebA (Liu et al., 2015) and its subset MAFL (Zhang et al., 2014): faces of celebrities with five landmarks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from facedis_jax.data.images.labels import LANDMARK_COLUMNS, LANDMARKS
from facedis_jax.data.images.layouts import (
    beside,
    find_file,
    find_folder,
    folders_in,
    has_images,
    shown,
    subfolders,
)
from facedis_jax.data.images.lists import ImageList, ImageNames, intersect, list_images, match_names, read_list
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import EVERY_TENTH_FACE, every_tenth
from facedis_jax.errors import InputError
from facedis_jax.formats.images import ImageFiles, open_images

T = TypeVar("T")

WHERE_TO_GET_CELEBA = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
WHERE_TO_GET_MAFL = "https://github.com/zhzhanp/TCDCN-face-alignment"

_IMAGES = "img_align_celeba"
_IMAGE_FOLDERS = (_IMAGES, f"{_IMAGES}_png")
_LIST_FOLDERS = ("anno", "annotations", "eval", "lists", "mafl")
_AROUND_IMAGES = (*_IMAGE_FOLDERS, "img")
_PARTITION, _IDENTITY, _LANDMARKS = "list_eval_partition", "identity_CelebA", "list_landmarks_align_celeba"
_TRAINING, _TESTING = "training", "testing"
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

    Editions are told by their files: the authors' (`Anno`, `Eval`, `Img`), Kaggle's with lists as CSV, torchvision's,
    and that of PNG files. Images may be a part of those in the lists; images that a list lacks are not used. Each list
    may be missing: without `list_eval_partition` every tenth image is tested, and without `identity_CelebA` or
    `list_landmarks_align_celeba` there are no labels "subject" or "landmarks".
    """

    name = "celeba_images"
    settings_type = CelebaSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get CelebA at {WHERE_TO_GET_CELEBA} and unpack {_IMAGES}."

    @classmethod
    def survey(cls, folder: Path, settings: CelebaSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        if settings.held_out not in ("test", "validation"):
            raise InputError("held_out", "test or validation", repr(settings.held_out))
        edition = _Edition.find(folder, refusals)
        partition = edition.read(_PARTITION, ["partition"], _read_partition, "0, 1 or 2")
        faces = _label(edition, edition.paths, settings, [] if partition is None else [partition])
        is_test, is_train = every_tenth(faces.names), None
        if partition is None:
            split = f"{EVERY_TENTH_FACE}, since there is no {_PARTITION}"
        else:
            split = shown(partition.path, folder)
            half = np.array(partition.of(faces.names))
            tested, trained = half == _PARTITIONS[settings.held_out], half == _PARTITIONS["train"]
            if tested.any() and trained.any():
                is_test, is_train = tested, trained
            else:
                lacking = "test" if trained.any() else "train on"
                split = f"{EVERY_TENTH_FACE}, since {split} has none of these to {lacking}"
        if is_train is None and "subject" in faces.labels:
            people = faces.labels["subject"]
            tested = np.unique(people[is_test])
            split += f"; {np.isin(tested, people[~is_test]).sum():,} of {len(tested):,} people are in both"
        return faces.survey("celeba", settings, is_test, is_train, {"split": split})


class CelebaWithoutMafl(ImageBuilder):
    """CelebA's images for generators that are measured on MAFL: all but MAFL's test images, which are the test half.

    See `Celeba` and `Mafl` for what lies in the manual directory; there are no labels.
    """

    name = "celeba_without_mafl_images"
    settings_type = MaflSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get CelebA at {WHERE_TO_GET_CELEBA} and MAFL's lists at {WHERE_TO_GET_MAFL}."

    @classmethod
    def survey(cls, folder: Path, settings: MaflSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        edition = _Edition.find(folder, refusals)
        testing = edition.read_half(_TESTING)
        names = [path.name for path in edition.paths]
        is_test = np.array([name is not None for name in match_names(names, testing.values)])
        return survey_images(
            "celeba",
            open_images(edition.paths, settings.framing),
            names,
            is_test,
            settings,
            lists=[testing.path],
            data_files={
                "images": f"{len(names):,} in {shown(edition.images, folder)}",
                "split": f"all are trained on but {is_test.sum():,} in {shown(testing.path, folder)}",
            },
        )


class Mafl(ImageBuilder):
    """MAFL: `training.txt` and `testing.txt` name images of CelebA, whose `list_landmarks_align_celeba` is needed.

    | train / test | pixels | beside |
    | --- | --- | --- |
    | 19,000 / 1,000 | 178 x 218, RGB | the lists lie in the manual directory or in its folder `MAFL` |

    Images that are in neither list are not used, and lists may name images that are not there.
    """

    name = "mafl_images"
    settings_type = MaflSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get CelebA at {WHERE_TO_GET_CELEBA} and MAFL's lists at {WHERE_TO_GET_MAFL}."

    @classmethod
    def survey(cls, folder: Path, settings: MaflSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        edition = _Edition.find(folder, refusals)
        halves = [edition.read_half(name) for name in (_TRAINING, _TESTING)]
        if both := halves[0].values.keys() & halves[1].values.keys():
            raise InputError(halves[1].path, "other images than in training.txt", min(both))
        if edition.list_path(_LANDMARKS) is None:
            raise InputError(folder / f"{_LANDMARKS}.txt", "CelebA's landmarks, which MAFL needs", "no such file")
        names = [path.name for path in edition.paths]
        matches = [match_names(names, half.values) for half in halves]
        chosen = [path for path, *of_half in zip(edition.paths, *matches, strict=True) if any(of_half)]
        faces = _label(edition, chosen, settings)
        in_half = [np.array([name is not None for name in match_names(faces.names, half.values)]) for half in halves]
        there = [
            f"{each.sum():,} of {half.listed:,} in {shown(half.path, folder)}"
            for each, half in zip(in_half, halves, strict=True)
        ]
        split = {"images": f"{len(chosen):,} in {shown(edition.images, folder)}", "split": ", ".join(there)}
        return faces.survey("mafl", settings, in_half[1], in_half[0], split, [half.path for half in halves])


@dataclass(frozen=True)
class _Edition:
    """Where an edition of CelebA has its files.

    Attributes:
      folder: of the set; `images`: the folder in it where the images lie.
      paths: of the images.
      names: theirs.
      list_folders: where lists may lie, the first before the others.
      refusals: whether images with wrong lines are skipped.
    """

    folder: Path
    images: Path
    paths: Sequence[Path]
    names: ImageNames
    list_folders: Sequence[Path]
    refusals: Refusals

    @staticmethod
    def find(folder: Path, refusals: Refusals) -> "_Edition":
        images = find_folder(folder, _IMAGE_FOLDERS) or _other_images(folder) or folder / _IMAGES
        paths = list_images(images, f"CelebA's aligned images (get them from {WHERE_TO_GET_CELEBA})")
        inside = [parent for parent in images.parents if parent != folder and parent.is_relative_to(folder)]
        roots = [*beside(folder, _AROUND_IMAGES), *inside]
        list_folders = [found for root in roots for found in (root, *subfolders(root, _LIST_FOLDERS))]
        return _Edition(folder, images, paths, ImageNames(path.name for path in paths), list_folders, refusals)

    def list_path(self, name: str) -> Path | None:
        """The list of that name; None where there is none."""
        return find_file(self.list_folders, [f"{name.lower()}{ending}" for ending in (".txt", ".csv")])

    def read(
        self,
        name: str,
        columns: Sequence[str],
        parse: Callable[[Sequence[str]], T],
        kind: str,
        *,
        counted: bool = False,
    ) -> ImageList[T] | None:
        """The list of that name, as by `read_list`; None where there is none."""
        path = self.list_path(name)
        return (
            None if path is None else read_list(path, self.names, columns, parse, kind, self.refusals, counted=counted)
        )

    def read_half(self, name: str) -> ImageList[None]:
        """One of MAFL's two lists."""
        folders = sorted(self.list_folders, key=lambda folder: folder.name.lower() != "mafl")
        path = find_file(folders, [f"{name}.txt"])
        if path is None:
            where = folders[0] / f"{name}.txt"
            raise InputError(where, f"a list of MAFL (get it from {WHERE_TO_GET_MAFL})", "no such file")
        return read_list(path, self.names, [], lambda _: None, "no more")


def _other_images(folder: Path) -> Path | None:
    """The only folder of images beside one of CelebA's lists, whatever its name; None where there is none."""
    lists = [f"{name.lower()}{ending}" for name in (_PARTITION, _IDENTITY, _LANDMARKS) for ending in (".txt", ".csv")]
    if find_file([folder, *subfolders(folder, _LIST_FOLDERS)], lists) is None:
        return None
    found = [inside for inside in folders_in(folder, 1) if has_images(inside)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class _Faces:
    """Images of CelebA with what the lists say of them.

    Attributes:
      images: that are in all lists; `names`: theirs.
      labels, classes, lists, refused, data_files: as of `survey_images`.
    """

    images: ImageFiles
    names: Sequence[str]
    labels: Mapping[str, np.ndarray]
    classes: Mapping[str, Sequence[str]]
    lists: Sequence[Path]
    refused: Mapping[str, str]
    data_files: Mapping[str, str]

    def survey(
        self,
        title: str,
        settings: ImageSettings,
        is_test: np.ndarray,
        is_train: np.ndarray | None,
        data_files: Mapping[str, str],
        lists: Sequence[Path] = (),
    ) -> PixelSurvey:
        return survey_images(
            title,
            self.images,
            self.names,
            is_test,
            settings,
            is_train=is_train,
            lists=[*lists, *self.lists],
            labels=self.labels,
            classes=self.classes,
            refused=self.refused,
            # The images first, then the split.
            data_files={"images": "", **data_files, **self.data_files, **data_files},
        )


def _label(
    edition: _Edition, paths: Sequence[Path], settings: ImageSettings, lists: Sequence[ImageList[Any]] = ()
) -> _Faces:
    """The images that are in all of some lists, and in those of people and of landmarks where there are such.

    Args:
      edition: where the lists are.
      paths: of the images.
      settings: of the set.
      lists: others that were read.
    """
    images = open_images(paths, settings.framing)
    identity = edition.read(_IDENTITY, ["identity"], lambda values: int(values[0]), "the number of a person")
    landmarks = _read_landmarks(edition, images)
    read = [one for one in (*lists, identity, landmarks) if one is not None]
    names = [path.name for path in paths]
    kept, data_files = intersect(names, read, edition.folder, edition.images)
    if len(kept) < len(paths):
        images, names = replace(images, paths=[paths[i] for i in kept]), [names[i] for i in kept]
    labels: dict[str, np.ndarray] = {}
    classes: dict[str, Sequence[str]] = {}
    if identity is not None:
        people = sorted(set(identity.values.values()))
        index_of = {number: i for i, number in enumerate(people)}
        subjects = [index_of[number] for number in identity.of(names) if number is not None]
        labels["subject"] = np.array(subjects, np.int32)
        classes["subject"] = tuple(map(str, people))
    if landmarks is not None:
        points = np.array(landmarks.of(names)).reshape(-1, len(LANDMARKS), 2)
        labels["landmarks"] = images.framing.points(landmarks.path, points, *images.size)
    for label, name, one in (("subject", _IDENTITY, identity), ("landmarks", _LANDMARKS, landmarks)):
        data_files[label] = f"none ({name} is not there)" if one is None else shown(one.path, edition.folder)
    return _Faces(images, names, labels, classes, [one.path for one in read], edition.refusals.lines, data_files)


def _read_landmarks(edition: _Edition, images: ImageFiles) -> ImageList[list[float]] | None:
    width, height = images.size

    def parse(values: Sequence[str]) -> list[float]:
        numbers = [float(value) for value in values]
        if not all(0 <= x < width and 0 <= y < height for x, y in zip(numbers[::2], numbers[1::2], strict=True)):
            raise ValueError
        return numbers

    kind = f"{len(LANDMARKS)} points in {width} x {height} pixels"
    return edition.read(_LANDMARKS, LANDMARK_COLUMNS, parse, kind, counted=True)


def _read_partition(values: Sequence[str]) -> int:
    return ("0", "1", "2").index(values[0])
