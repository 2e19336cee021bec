"""FFHQ (Karras et al., 2019), and any other folder of images without labels."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.data.images.lists import list_images
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, survey_images
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import every_tenth
from facedis_jax.errors import InputError
from facedis_jax.formats.images import open_images

WHERE_TO_GET_FFHQ = "https://github.com/NVlabs/ffhq-dataset"
FFHQ_TRAIN = 60_000
"""Images numbered below this are FFHQ's training half, as its authors publish it."""

_FFHQ_FOLDERS = {128: "thumbnails128x128", 256: "images256x256", 1024: "images1024x1024"}
_FFHQ_LAYOUT = f"FFHQ's 00000/00000.png (get it from {WHERE_TO_GET_FFHQ})"


@dataclass(frozen=True)
class FfhqSettings(ImageSettings):
    """See `ImageSettings`."""

    crop: str = "none"


class Ffhq(ImageBuilder):
    """FFHQ from `images1024x1024`, `images256x256` or `thumbnails128x128`, or from NNNNN.png in the manual directory.

    | images | train / test | pixels |
    | --- | --- | --- |
    | 70,000 | 60,000 / 10,000, by number | 1024 x 1024, 256 x 256 or 128 x 128, RGB |

    Of those three folders, the smallest is read whose images have enough pixels. Where all images have numbers below
    60,000, or none has, every tenth is tested.
    """

    name = "ffhq_images"
    settings_type = FfhqSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get FFHQ from {WHERE_TO_GET_FFHQ}."

    @classmethod
    def survey(cls, folder: Path, settings: FfhqSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        there = [size for size, name in _FFHQ_FOLDERS.items() if (folder / name).is_dir()]
        enough = [size for size in there if size >= settings.size]
        images = folder / _FFHQ_FOLDERS[(enough or there)[0 if enough else -1]] if there else folder
        found: dict[str, Path] = {}
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
        is_test = np.array([int(path.stem) >= FFHQ_TRAIN for path in paths])
        if is_test.all() or not is_test.any():
            is_test = every_tenth(names)
        files = open_images(paths, settings.framing)
        return survey_images("ffhq", files, names, is_test, settings, refused=refusals.lines)


class ImageFolder(ImageBuilder):
    """Any folder of images of one size, those in its folders included; every tenth by name is tested."""

    name = "folder_images"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put images of one size in a folder."

    @classmethod
    def survey(cls, folder: Path, settings: ImageSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        paths = list_images(folder, "images", deep=True)
        names = [path.relative_to(folder).as_posix() for path in paths]
        images = open_images(paths, settings.framing)
        return survey_images(f"folder/{folder.resolve().name}", images, names, every_tenth(names), settings)
