"""What `facedis edit` does with a model of images: recombined, traversed and new ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import read_bytes
from facedis_jax.formats.images import Framing, decode_image
from facedis_jax.formats.whole import numbered_paths, write_together
from facedis_jax.inference.generator_models import Part, TrainedImageModel
from facedis_jax.reports.figures import png
from facedis_jax.reports.images.figures import display_image, image_grid

_ENDING = ".png"
_MOST_IMAGES, _MOST_STEPS = 1000, 1000


@dataclass(frozen=True, kw_only=True)
class Recombine:
    """Of a model of images: the appearance of some images with the geometry of others.

    Attributes:
      appearance: images whose appearance it is.
      geometry: images whose geometry it is; each appearance is combined with each.
      seed: of the noise with which their codes are inferred.
    """

    appearance: tuple[Path, ...]
    geometry: tuple[Path, ...]
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Traverse:
    """Of a model of images: an image while one dimension of its code goes from one end to the other.

    Attributes:
      part: whose code it is.
      dimension: of the code, from 0.
      image: whose other codes are kept; a new image's without one.
      traversal_range: how far the dimension goes to either side, in standard deviations of the prior.
      steps: images on the way.
      seed: of the noise with which codes are inferred, or of the new image.
    """

    part: Part = "geometry"
    dimension: int = 0
    image: Path | None = None
    traversal_range: float = 3.0
    steps: int = 7
    seed: int = 0


class _Edited(NamedTuple):
    """What an edit made.

    Attributes:
      images: [images, size, size, channels] in [0, 1].
      rows: of images beside what they were made of; None leaves a cell empty.
      captions: of the columns.
    """

    images: np.ndarray
    rows: Sequence[Sequence[np.ndarray | None]]
    captions: Sequence[str] = ()


def edit_images(model: TrainedImageModel, action: Recombine | Traverse, output: Path) -> list[Path]:
    """Edits and writes images, and returns the names of the files: see `write_images`.

    Raises:
      InputError: for images, settings or an output that cannot be used.
    """
    check_image_output(output)
    edited = _recombined(model, action) if isinstance(action, Recombine) else _traversed(model, action)
    return _write(output, edited)


def sample_images(model: TrainedImageModel, number: int, seed: int, output: Path) -> list[Path]:
    """Writes new images, and returns the names of the files.

    Raises:
      InputError: for no or too many images, or an output that cannot be used.
    """
    check_image_output(output)
    if not 1 <= number <= _MOST_IMAGES:
        raise InputError("number", f"1 to {_MOST_IMAGES}", str(number))
    images = np.asarray(model.decode(model.sample(jax.random.key(seed % 2**32), number)))
    in_a_row = int(np.ceil(np.sqrt(number)))
    rows = [[*images[i : i + in_a_row]] for i in range(0, number, in_a_row)]
    return _write(output, _Edited(images, rows))


def check_image_output(output: Path) -> None:
    """Checks that images can be written under a name, before anything is computed.

    Raises:
      InputError: its ending is another, or its folder does not exist.
    """
    if output.suffix.lower() != _ENDING:
        raise InputError(output, f"an image to write ({_ENDING})", f"the ending {output.suffix!r}")
    if not output.parent.is_dir():
        raise InputError(output, "a folder that exists", f"no {output.parent}")


def _recombined(model: TrainedImageModel, action: Recombine) -> _Edited:
    config = model.functions.config
    if not (config.appearance_latents and config.geometry_latents):
        raise InputError("model", "a model with appearance and geometry", "one without one of them")
    if len(action.appearance) * len(action.geometry) > _MOST_IMAGES:
        found = f"{len(action.appearance)} x {len(action.geometry)}"
        raise InputError("appearance", f"at most {_MOST_IMAGES} images to make", found)
    read = [read_image(model, path) for path in (*action.appearance, *action.geometry)]
    latents = model.infer(np.stack(read), jax.random.key(action.seed % 2**32))
    count, width = len(action.appearance), len(action.geometry)
    rows, columns = (x.ravel() for x in np.meshgrid(np.arange(count), count + np.arange(width), indexing="ij"))
    one, other = (jax.tree.map(lambda z: z[which], latents) for which in (rows, columns))  # noqa: B023
    images = np.asarray(model.recombine(one, other))
    shown: list[list[np.ndarray | None]] = [[None, *(image / np.float32(255) for image in read[count:])]]
    for i in range(count):
        shown.append([read[i] / np.float32(255), *images[i * width : (i + 1) * width]])
    return _Edited(images, shown, ["appearance", *["geometry"] * width])


def _traversed(model: TrainedImageModel, action: Traverse) -> _Edited:
    if not 1 <= action.steps <= _MOST_STEPS:
        raise InputError("steps", f"1 to {_MOST_STEPS}", str(action.steps))
    if not 0 <= action.traversal_range < float("inf"):
        raise InputError("traversal_range", "0 or more", str(action.traversal_range))
    key = jax.random.key(action.seed % 2**32)
    before = []
    if action.image is None:
        latents = model.sample(key, 1)
    else:
        image = read_image(model, action.image)
        latents, before = model.infer(image[None], key), [image / np.float32(255)]
    places = np.linspace(-action.traversal_range, action.traversal_range, action.steps)
    if action.steps == 1:
        places = np.array([action.traversal_range])
    images = np.asarray(model.traverse(latents, action.part, action.dimension, places))[:, 0]
    return _Edited(images, [[*before, *images]], [*["input"] * len(before), *(f"{place:+.1f}" for place in places)])


def read_image(model: TrainedImageModel, path: Path) -> np.ndarray:
    """An image file as a model takes it: its largest square in the middle, [size, size, channels] uint8.

    Raises:
      InputError: the file is no image that can be read, or a smaller one.
    """
    size, channels = model.functions.config.size, model.functions.config.channels
    image = decode_image(path, read_bytes(path))
    return Framing(size, channels).pixels(path, image.convert("RGB") if channels == 3 else image)


def _write(output: Path, edited: _Edited) -> list[Path]:
    """Writes the images, of several each with a number at the end of its stem, and beside them one of all together.

    Raises:
      InputError: one of them cannot be written.
    """
    paths = numbered_paths(output, len(edited.images), f"{output.stem}_grid{_ENDING}")
    shown = [[None if image is None else display_image(image) for image in row] for row in edited.rows]
    contents = [*map(_encoded, edited.images), png(image_grid(shown, column_labels=edited.captions))]
    try:
        write_together(dict(zip(paths, contents, strict=True)))
    except OSError as error:
        raise InputError(output, "a place to write to", reason(error)) from error
    return paths


def _encoded(image: np.ndarray) -> bytes:
    """A PNG file of an image [size, size, channels] in [0, 1]."""
    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    content = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()
