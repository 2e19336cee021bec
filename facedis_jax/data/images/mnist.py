"""MNIST (LeCun et al., 1998): handwritten digits, in idx files."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from facedis_jax.data.images.layouts import find_file, find_home, shown, subfolders
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings, choose
from facedis_jax.data.prepared_pixels import PixelSurvey
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.data.splits import EVERY_TENTH, every_tenth
from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_size

WHERE_TO_GET_IT = "https://yann.lecun.com/exdb/mnist"

CATEGORIES = tuple("0123456789")
"""What the labels stand for."""

_SIDE, _MARGIN = 28, 2
_HALVES = ("train", "t10k")
_IMAGES, _LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
# Digits compress to a fifth or a sixth, and sorted labels to next to nothing. A file that expands to more than both of
# these was made to fill the memory.
_MOST_TIMES_COMPRESSED = 8
_ALWAYS_READ = 2**22


@dataclass(frozen=True)
class MnistSettings(ImageSettings):
    """See `ImageSettings`.

    Attributes:
      category: the digit that is kept, "0" to "9"; all if None.
    """

    size: int = _SIDE + 2 * _MARGIN
    channels: int = 1
    crop: str = "none"
    category: str | None = None


class Mnist(ImageBuilder):
    """MNIST from `train-images-idx3-ubyte` and its three companions in the manual directory, plain or `.gz`.

    | images | train / test | pixels |
    | --- | --- | --- |
    | 70,000 | 60,000 / 10,000 | 28 x 28, grey, with two rows of black around them 32 x 32 |

    They may lie in a folder of it, such as torchvision's `MNIST/raw`. Without both test files, every tenth image of
    those kept is tested.
    """

    name = "mnist_images"
    settings_type = MnistSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Get the four files, described at {WHERE_TO_GET_IT}."

    @classmethod
    def survey(cls, folder: Path, settings: MnistSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        if settings.category not in (None, *CATEGORIES):
            raise InputError("category", f"one of {', '.join(CATEGORIES)}", repr(settings.category))
        files, names, digits, labels = [], [], [], []
        home = find_home(folder, _variants(_IMAGES.format("train")), called="mnist") or folder
        halves = _HALVES if any(_find(home, name.format("t10k")) for name in (_IMAGES, _LABELS)) else _HALVES[:1]
        for half in halves:
            files += [_file(home, name.format(half)) for name in (_IMAGES, _LABELS)]
            half_digits, half_labels = (read_idx(path) for path in files[-2:])
            if half_digits.shape[1:] != (_SIDE, _SIDE):
                raise InputError(files[-2], f"images of {_SIDE} x {_SIDE}", f"an array of {half_digits.shape}")
            if half_labels.shape != half_digits.shape[:1]:
                raise InputError(files[-1], f"{len(half_digits)} labels", f"an array of {half_labels.shape}")
            if len(half_labels) and half_labels.max() >= len(CATEGORIES):
                raise InputError(files[-1], "labels from 0 to 9", str(half_labels.max()))
            rows = np.flatnonzero((half_labels == int(settings.category or -1)) | (settings.category is None))
            names += [f"{half}/{row:05d}" for row in rows]
            digits.append(half_digits[rows])
            labels.append(half_labels[rows])
        pixels = np.zeros((len(names), _SIDE + 2 * _MARGIN, _SIDE + 2 * _MARGIN), np.uint8)
        np.concatenate(digits, out=pixels[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
        categories = np.concatenate(labels)
        framing, title = settings.framing, f"mnist/{settings.category}" if settings.category else "mnist"
        is_test, split = every_tenth(names), f"{EVERY_TENTH}, since there is no {_IMAGES.format('t10k')}"
        if len(halves) == len(_HALVES):
            is_test, split = np.repeat([False, True], [len(half) for half in labels]), shown(files[-2], folder)

        def read(index: int) -> tuple[np.ndarray, bytes]:
            # The category is part of the content, since runs may take it for the appearance code.
            data = pixels[index].tobytes() + categories[index].tobytes()
            return framing.pixels(names[index], Image.fromarray(pixels[index])), data

        return PixelSurvey(
            title,
            names,
            *choose(title, names, is_test, settings),
            files,
            read,
            lambda index: read(index)[1],
            labels={"category": categories.astype(np.int32)},
            classes={"category": CATEGORIES},
            data_files={"images": f"{len(names):,} in {shown(home, folder)}", "split": split},
        )


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file, which is compressed if its name ends in `.gz`.

    No more is read than the header promises, and memory is not allocated before the bytes are there.

    Raises:
      InputError: where the file is truncated, longer than its header says, damaged, or of other numbers than bytes.
    """
    most = max(file_size(path) * _MOST_TIMES_COMPRESSED, _ALWAYS_READ)
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08" or not 1 <= magic[3] <= 4:
                raise InputError(path, "an idx file of bytes", f"one that starts with {magic.hex() or 'nothing'}")
            header = file.read(4 * magic[3])
            if len(header) < 4 * magic[3]:
                raise InputError(path, "an idx file", "a truncated header")
            shape = tuple(np.frombuffer(header, ">u4").tolist())
            promised = int(np.prod(shape, dtype=object))
            data = file.read(min(promised + 1, most))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, "an idx file that can be read", str(error)) from None
    if len(data) != promised:
        found = f"{len(data)} bytes" if len(data) < promised else "more"
        raise InputError(path, f"{promised} bytes, as its header promises", found)
    return np.frombuffer(data, np.uint8).reshape(shape)


def _file(folder: Path, name: str) -> Path:
    """The file of that name, plain or compressed."""
    path = _find(folder, name)
    if path is None:
        found = "no such file" if folder.is_dir() else "no such folder"
        raise InputError(folder, f"MNIST's {name} or {name}.gz in it (see {WHERE_TO_GET_IT})", found)
    return path


def _find(folder: Path, name: str) -> Path | None:
    """As `_file`; in the folder, or in one of its name in it, as Kaggle has them."""
    return find_file([folder, *subfolders(folder, _variants(name))], _variants(name))


def _variants(name: str) -> list[str]:
    """The names that a file may have; some copies have a dot in place of the second dash."""
    return [f"{stem}{end}" for stem in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
