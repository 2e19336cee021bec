"""FFHQ (Karras et al., 2019), and any other folder of images without labels."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facedis_jax.data.images.labels import LABELS_FILE, find_labels, read_labels
from facedis_jax.data.images.layouts import folders_in, shown, subfolders
from facedis_jax.data.images.lists import intersect, list_images
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals, refuse_lost_folders
from facedis_jax.data.splits import EVERY_TENTH_FACE, every_tenth
from facedis_jax.errors import InputError
from facedis_jax.formats.files import list_files
from facedis_jax.formats.images import IMAGE_SUFFIXES, is_grey, open_images

WHERE_TO_GET_FFHQ = "https://github.com/NVlabs/ffhq-dataset"
FFHQ_TRAIN = 60_000
"""Images numbered below this are FFHQ's training half, as its authors publish it."""

_FFHQ_FOLDERS = {128: "thumbnails128x128", 256: "images256x256", 1024: "images1024x1024"}
_FFHQ_LAYOUT = f"FFHQ's 00000/00000.png (get it from {WHERE_TO_GET_FFHQ})"


_MOST_ENDINGS = 5


@dataclass(frozen=True)
class FfhqSettings(ImageSettings):
    """See `ImageSettings`."""

    crop: str = "none"


class Ffhq(ImageBuilder):
    """FFHQ from `images1024x1024`, `images256x256` or `thumbnails128x128`, or from NNNNN.png in the manual directory.

    | images | train / test | pixels |
    | --- | --- | --- |
    | 70,000 | 60,000 / 10,000, by number | 1024 x 1024, 256 x 256 or 128 x 128, RGB |

    Of those three folders, which may lie in another, the smallest is read whose images have enough pixels. Where all
    images have numbers below 60,000, or none has, every tenth is tested.
    """

    name = "ffhq_images"
    settings_type = FfhqSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get FFHQ from {WHERE_TO_GET_FFHQ}."

    @classmethod
    def survey(cls, folder: Path, settings: FfhqSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        images = _ffhq_images(folder, settings.size)
        found: dict[str, Path] = {}
        refuse_lost_folders(images, refusals)
        for path in list_images(images, _FFHQ_LAYOUT, deep=True):
            with refusals.of(path.relative_to(images).as_posix()):
                if not re.fullmatch(r"\d{5}", path.stem):
                    raise InputError(path, f"a name as in {_FFHQ_LAYOUT}", path.name)
                if path.name in found:
                    raise InputError(images, "each image once", f"{path.name} in several folders")
                found[path.name] = path
        if not found:
            raise InputError(images, f"{_FFHQ_LAYOUT} in it", f"none{refusals.note}")
        names, paths = list(found), list(found.values())
        is_test, split = np.array([int(path.stem) >= FFHQ_TRAIN for path in paths]), "by number"
        if is_test.all() or not is_test.any():
            lacking = "train on" if is_test.all() else "test"
            is_test, split = (
                every_tenth(names),
                f"{EVERY_TENTH_FACE}, since none has the number of an image to {lacking}",
            )
        data_files = {"images": f"{len(paths):,} in {shown(images, folder)}", "split": split}
        files = open_images(paths, settings.framing)
        return survey_images("ffhq", files, names, is_test, settings, refused=refusals.lines, data_files=data_files)


def _ffhq_images(folder: Path, size: int) -> Path:
    """The smallest of FFHQ's folders whose images have enough pixels, or the largest; `folder` where there is none."""
    for home in folders_in(folder, 2) if folder.is_dir() else ():
        there = {pixels: found for pixels, name in _FFHQ_FOLDERS.items() for found in subfolders(home, [name])[:1]}
        if there:
            return there[min((pixels for pixels in there if pixels >= size), default=max(there))]
    return folder


@dataclass(frozen=True)
class FolderSettings(ImageSettings):
    """See `ImageSettings`; of several sizes are images whose crop was chosen, each cropped for itself."""

    mixed_sizes: bool = False


class ImageFolder(ImageBuilder):
    """Any folder of images, those in its folders included, with a `labels.csv` beside them or without.

    They are of one size, or of any where the crop is chosen by name and `labels.csv` has no landmarks.

    The labels "subject", "view", "expression" and "landmarks" are what `labels.csv` knows of persons, views,
    expressions and five points; see `facedis_jax.data.images.labels.read_labels`. Images of which it says less than of
    others are not used. Where there are persons, the first tenth of them, rounded up, are tested; else every tenth
    image by name. Images are grey where all files are, unless `channels` says otherwise.
    """

    name = "folder_images"
    settings_type = FolderSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put images in a folder."

    @classmethod
    def settle(cls, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        if "crop" in given:
            given = {**given, "mixed_sizes": True}
        if "channels" in given:
            return dict(given)
        return {**given, "channels": 3 if _any_colour(list_images(folder, "images", deep=True)) else 1}

    @classmethod
    def survey(cls, folder: Path, settings: FolderSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        refuse_lost_folders(folder, refusals)
        paths = list_images(folder, "images", deep=True)
        mixed = settings.channels == 3 and _any_colour(paths)
        images = open_images(paths, settings.framing, grey_as_colour=mixed, any_size=settings.mixed_sizes)
        path = find_labels(folder, paths)
        data_files = {
            "images": f"{len(paths):,}",
            "split": EVERY_TENTH_FACE,
            "labels": f"none ({LABELS_FILE} is not there)",
        }
        labels: Mapping[str, np.ndarray] = {}
        classes: Mapping[str, Sequence[str]] = {}
        if path is not None:
            found = read_labels(path, paths, images.size, refusals)
            kept, counted = intersect(found.names(paths), [found.lines], folder, folder)
            paths = [paths[i] for i in kept]
            images = replace(images, paths=paths)
            if "landmarks" in found.known:
                images = replace(images, sizes=(images.size,))  # whose pixels the points are counted in
            labels, classes = found.arrays(paths, images)
            data_files |= {"labels": found.summary(folder), **counted}
        names = [path.relative_to(folder).as_posix() for path in paths]
        is_test = every_tenth(names)
        if len(people := classes.get("subject", ())) > 1:
            is_test = np.isin(labels["subject"], np.arange(-(-len(people) // 10)))
            data_files["split"] = f"by person: {labels['subject'][is_test].max() + 1} of {len(people)} are tested"
        data_files |= _not_read(folder)
        return survey_images(
            f"folder/{folder.resolve().name}",
            images,
            names,
            is_test,
            settings,
            lists=[] if path is None else [path],
            labels=labels,
            classes=classes,
            refused=refusals.lines,
            data_files=data_files,
        )


def _any_colour(paths: Sequence[Path]) -> bool:
    return any(is_grey(path) is False for path in paths)


def _not_read(folder: Path) -> dict[str, str]:
    """How many files of a folder are no images, by the endings of their names, for a set's `data_files`."""
    others = [path for path in list_files(folder) if path.suffix.lower() not in IMAGE_SUFFIXES]
    endings = Counter(path.suffix.lower() or "no ending" for path in others if path.name.lower() != LABELS_FILE)
    text = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(_MOST_ENDINGS))
    return {"not read": text} if text else {}
