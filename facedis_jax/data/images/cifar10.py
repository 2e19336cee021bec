"""CIFAR-10 (Krizhevsky, 2009) in its binary version: 32 x 32 images of ten kinds of things."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facedis_jax.data.images.layouts import find_file, find_home, shown
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, choose
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import EVERY_TENTH, every_tenth
from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import file_size

WHERE_TO_GET_IT = "https://www.cs.toronto.edu/~kriz/cifar.html"

CATEGORIES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""What the label byte 0 to 9 stands for."""

_TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST_FILE = "test_batch.bin"
_FOLDER = "cifar-10-batches-bin"
_SIDE = 32
_RECORD = 1 + 3 * _SIDE**2


@dataclass(frozen=True)
class Cifar10Settings(ImageSettings):
    """See `ImageSettings`.

    Attributes:
      category: the one of `CATEGORIES` to keep; all if None.
    """

    size: int = _SIDE
    crop: str = "none"
    category: str | None = None


class Cifar10(ImageBuilder):
    """CIFAR-10 from `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin` in the manual directory.

    | images | train / test | pixels |
    | --- | --- | --- |
    | 60,000, 6,000 of each category | 50,000 / 10,000 | 32 x 32, RGB |

    They may lie in a folder of it. Some of the training files may be missing. Without the test file, every tenth image
    of those kept is tested.
    """

    name = "cifar10_images"
    settings_type = Cifar10Settings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get the binary version at {WHERE_TO_GET_IT}."

    @classmethod
    def survey(cls, folder: Path, settings: Cifar10Settings, refusals: Refusals = STRICT) -> PixelSurvey:
        if settings.category not in (None, *CATEGORIES):
            raise InputError("category", f"one of {', '.join(CATEGORIES)}", repr(settings.category))
        home = find_home(folder, _TRAIN_FILES, called=_FOLDER)
        if home is None:
            expected = f"CIFAR-10's {_TRAIN_FILES[0]} in it (get it from {WHERE_TO_GET_IT}, the binary version)"
            raise InputError(folder, expected, _what_is_there(folder))
        there = [find_file([home], [name]) for name in (*_TRAIN_FILES, _TEST_FILE)]
        files = [path for path in there if path is not None]
        batches = [read_cifar_batch(path) for path in files]
        kept = CATEGORIES.index(settings.category) if settings.category else None
        rows = [
            (batch, row)
            for batch, records in enumerate(batches)
            for row in np.flatnonzero((records[:, 0] == kept) | (kept is None)).tolist()
        ]
        names = [f"{files[batch].stem.lower()}/{row:05d}" for batch, row in rows]
        if not names:
            raise InputError(folder, f"images of the category {settings.category}", "none")
        is_test, split = every_tenth(names), f"{EVERY_TENTH}, since there is no {_TEST_FILE}"
        if there[-1] is not None:
            is_test, split = np.array([batch == len(files) - 1 for batch, _ in rows]), shown(files[-1], folder)
        found = sum(path is not None for path in there[:-1])
        framing, title = settings.framing, "cifar10" if kept is None else f"cifar10/{settings.category}"

        def read(index: int) -> tuple[np.ndarray, bytes]:
            batch, row = rows[index]
            record = np.array(batches[batch][row])
            pixels = record[1:].reshape(3, _SIDE, _SIDE).transpose(1, 2, 0)
            return framing.pixels(files[batch], Image.fromarray(np.ascontiguousarray(pixels))), record.tobytes()

        return PixelSurvey(
            title,
            names,
            *choose(title, names, is_test, settings),
            files,
            read,
            lambda index: read(index)[1],
            labels={"category": np.array([batches[batch][row, 0] for batch, row in rows], np.int32)},
            classes={"category": CATEGORIES},
            data_files={
                "images": f"{len(names):,} in {shown(home, folder)}",
                "split": split,
                "files to train on": f"{found} of {len(_TRAIN_FILES)}",
            },
        )


def _what_is_there(folder: Path) -> str:
    """What stands in the place of the binary version."""
    if not folder.is_dir():
        return "no such folder"
    # Pickles may run code.
    pickled = find_home(folder, [name.removesuffix(".bin") for name in _TRAIN_FILES], called="cifar-10-batches-py")
    return "no such file" if pickled is None else f"the Python version in {shown(pickled, folder)}, which is not read"


def read_cifar_batch(path: Path) -> np.ndarray:
    """The records of a file of the binary version, mapped into memory: [images, 3073] uint8, a label, then R, G and B.

    Raises:
      InputError: where the file is no whole number of records, or a label is not from 0 to 9.
    """
    size = file_size(path)
    try:
        if not size or size % _RECORD:
            raise InputError(path, f"a positive multiple of {_RECORD} bytes", f"{size}")
        records = np.memmap(path, np.uint8, "r").reshape(-1, _RECORD)
    except OSError as error:
        raise InputError(path, "a file that can be read", reason(error)) from None
    wrong = np.flatnonzero(records[:, 0] >= len(CATEGORIES))
    if len(wrong):
        expected = f"labels from 0 to {len(CATEGORIES) - 1}"
        raise InputError(path, expected, f"{records[wrong[0], 0]} at image {wrong[0]}")
    return records
