"""Image files as square arrays of pixels; a file that cannot be used is refused in one line."""

import io
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from facedis_jax.errors import InputError, check_power_of_two, damage
from facedis_jax.formats.files import file_size, read_bytes
from facedis_jax.formats.image_headers import check_directory, check_image_headers

# Files that are probed before a set is refused, since the first ones may be damaged and the others whole.
_PROBED, _MOST_PROBED = 10, 1000

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
"""What `decode_image` reads, in Pillow's names; "PPM" stands for PBM and PGM too."""

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm"),
)
"""How the names of such files end."""

RULE = "read by a rule"
"""The key of an image's `info` that holds what became of it, where its file says more than its pixels keep."""

OVER_WHITE = "with transparency, shown over white"
UPPER_BITS = "of 16 bits a channel, of which the upper 8 are kept"
FROM_CMYK = "in CMYK, turned to RGB without a colour profile"
FOURTH_CHANNEL = "with a fourth channel, which is not used"
GREY_AMONG_COLOUR = "grey among colour ones, given three equal channels"

CROPS = ("none", "center_square", "celeba_140", "celeba_108")
"""Which square of an image is kept.

- "none": all of it; it must be square.
- "center_square": the largest square, in the middle.
- "celeba_140", "celeba_108": the central 140 x 140 (brow to chin and some hair) or 108 x 108 (features alone, as in
  DCGAN) pixels of CelebA's aligned 178 x 218. A square image is taken for one that is cropped already, and kept whole.
"""

CELEBA_SIZE = (178, 218)
"""Width and height of CelebA's aligned images."""

_HEADER_BYTES = 1 << 16
# Of 16 bits the upper 8 are kept; what is darker than this becomes black but for four bits.
_LEAST_DEEP = 1 << 12
_DEEP = "16 bits a channel"
_MOST_PIXELS = 2**26
# Flat images compress a thousandfold, so that a small file could ask for all memory. An image of a real scene has a few
# pixels to the byte; the memory that is allowed is in proportion to the file.
_MOST_TIMES_THE_FILE = 10
_ALWAYS_ALLOWED = 60 << 20
# Bytes that a pixel takes while it is decoded, turned or cropped, and made grey, as measured. Pillow keeps four for
# RGB, and libwebp a copy of them; libjpeg keeps six more of a progressive image, at its full size, until it is whole.
_BYTES_PER_PIXEL = {"L": 3, "RGB": 9}
_BYTES_PER_CONVERTED_PIXEL = 20
_BYTES_PER_WEBP_PIXEL = 17
_BYTES_PER_PROGRESSIVE_PIXEL, _BYTES_PER_DECODED_PIXEL = 6, 4
# A JPEG of a single colour has about a hundred pixels to the byte.
_MOST_JPEG_PIXELS_PER_BYTE = 256

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF tag."""

_GREY_MODES = ("L", "LA", "La", "1", "I", "I;16", "I;16B", "I;16L", "I;16N")
_READ_MODES = (*_GREY_MODES, "RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Framing:
    """How the images of a set are cropped to a square and resampled to one size.

    Attributes:
      size: height and width, a power of two from 8.
      channels: 3 (RGB) or 1 (grey). Grey images are refused where colour is asked for; colour ones become grey
        by their luma (ITU-R BT.601).
      crop: one of `CROPS`.

    Raises:
      InputError: where one of them is another value.
    """

    size: int
    channels: int = 3
    crop: str = "center_square"

    def __post_init__(self) -> None:
        check_power_of_two("size", self.size, least=8)
        if self.channels not in (1, 3):
            raise InputError("channels", "1 (grey) or 3 (RGB)", str(self.channels))
        if self.crop not in CROPS:
            raise InputError("crop", f"one of {', '.join(CROPS)}", repr(self.crop))

    def box(self, where: object, width: int, height: int) -> tuple[int, int, int]:
        """Left, top and side, in pixels, of the square that is kept of an image.

        Raises:
          InputError: where the image does not suit the crop or is smaller than `size`; names `where`.
        """
        side = min(width, height)
        if self.crop.startswith("celeba_") and width != height:
            if (width, height) != CELEBA_SIZE:
                expected = f"{_by(*CELEBA_SIZE)} pixels or a square (crop {self.crop})"
                raise InputError(where, expected, _by(width, height))
            side = int(self.crop.removeprefix("celeba_"))
        if self.crop == "none" and width != height:
            raise InputError(where, "a square image (or another crop than none)", _by(width, height))
        if side < self.size:
            found = f"a crop of {_by(side, side)} from {_by(width, height)}"
            raise InputError(where, f"at least {_by(self.size, self.size)} pixels", found)
        return (width - side) // 2, (height - side) // 2, side

    def pixels(self, where: object, image: Image.Image) -> np.ndarray:
        """The image's crop, resampled (Lanczos) to [size, size, channels] uint8.

        Raises:
          InputError: as `box`, and where the image is grey and colour is asked for.
        """
        if self.channels == 3 and image.mode == "L":
            raise InputError(where, "a colour image (RGB)", "a greyscale one, where channels=1 reads grey ones")
        left, top, side = self.box(where, *image.size)
        square = image
        if image.size != (side, side):
            square = image.crop((left, top, left + side, top + side))
        if self.channels == 1:
            square = square.convert("L")
        if side != self.size:
            square = square.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return np.array(square, np.uint8).reshape(self.size, self.size, self.channels)

    def points(self, where: object, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """The points [..., 2] float32 of the framed image that show the given points of the original.

        Points are (x, y) in pixels; the corner pixel has its centre at (0, 0).

        Args:
          where: named in errors.
          points: [..., 2], of the original.
          width, height: of the original.

        Raises:
          InputError: as `box`.
        """
        left, top, side = self.box(where, width, height)
        return ((points - [left, top] + 0.5) * (self.size / side) - 0.5).astype(np.float32)


# Images are read by several threads, and two of them may add to a count at once.
_COUNTING = threading.Lock()


@dataclass(frozen=True)
class ImageFiles:
    """The files of a set's images, read one at a time.

    Attributes:
      paths: the files.
      framing: how the images are cropped and resampled.
      size: width and height of the first whole image of the usual size.
      sizes: the widths and heights that are accepted; None for any that suit `framing`.
      grey_as_colour: whether grey images get three equal channels where colour is asked for.
      rules: how many images were read by each of the rules that this module names; grows while they are read.
    """

    paths: Sequence[Path]
    framing: Framing
    size: tuple[int, int]
    sizes: Collection[tuple[int, int]] | None
    grey_as_colour: bool = False
    rules: Counter[str] = field(default_factory=Counter, compare=False)

    def read(self, index: int) -> tuple[np.ndarray, bytes]:
        """Pixels [size, size, channels] uint8 of an image, and the bytes of its file.

        Raises:
          InputError: where the file cannot be read, or holds no image of the set's size and channels.
        """
        path = self.paths[index]
        data = read_bytes(path)
        image = decode_image(path, data)
        if self.sizes is not None and image.size not in self.sizes:
            expected = " or ".join(_by(*size) for size in sorted(self.sizes))
            raise InputError(path, f"{expected} pixels, as its neighbours", _by(*image.size))
        if RULE in image.info:
            self._count(image.info[RULE])
        if self.grey_as_colour and self.framing.channels == 3 and image.mode == "L":
            self._count(GREY_AMONG_COLOUR)
            image = image.convert("RGB")
        return self.framing.pixels(path, image), data

    def _count(self, rule: str) -> None:
        with _COUNTING:
            self.rules[rule] += 1


def open_images(
    paths: Sequence[Path],
    framing: Framing,
    *,
    usual_sizes: Collection[tuple[int, int]] = (),
    any_size: bool = False,
    grey_as_colour: bool | None = None,
    rules: Counter[str] | None = None,
) -> ImageFiles:
    """The files of a set's images, all of which must have the size that most of the first whole ones have, or any.

    Args:
      paths: the files, at least one.
      framing: how the images are cropped and resampled.
      usual_sizes: widths and heights that one set may mix, as CK+ does.
      any_size: whether images may be of several sizes, each cropped and resampled for itself.
      grey_as_colour: whether grey images get three equal channels where colour is asked for; if None, they do where no
        more than half of the first ten images are grey, or the first whole one is not.
      rules: counts what `ImageFiles.rules` does; a new counter if None.

    Raises:
      InputError: where none of the first thousand files is whole, or the first whole one of the set's size does not
        suit `framing`.
    """
    path, first = _typical(paths, usual_sizes)
    if grey_as_colour is None:
        grey_as_colour = first.mode != "L"
        if framing.channels == 3 and not grey_as_colour:
            probed = [is_grey(path) for path in paths[:_PROBED]]
            grey_as_colour = 1 <= probed.count(True) <= probed.count(False)
    framing.pixels(path, first.convert("RGB") if grey_as_colour else first)
    sizes = None if any_size else usual_sizes if first.size in usual_sizes else (first.size,)
    return ImageFiles(paths, framing, first.size, sizes, grey_as_colour, Counter() if rules is None else rules)


def _typical(paths: Sequence[Path], usual_sizes: Collection[tuple[int, int]]) -> tuple[Path, Image.Image]:
    """The first whole image of the size that most of the first ten whole ones have; `usual_sizes` count as one."""
    problem: InputError | None = None
    sizes: Counter[tuple[int, int]] = Counter()
    first: dict[tuple[int, int], Path] = {}
    likely: tuple[int, int] | None = None
    kept: Image.Image | None = None
    for number, path in enumerate(paths[:_MOST_PROBED]):
        if sizes.total() == _PROBED or (sizes and number >= _PROBED):
            break
        # Headers are quick to read; images are decoded where they differ.
        if likely is not None and _header_size(path) == likely:
            sizes[next(iter(first))] += 1
            continue
        try:
            image = decode_image(path, read_bytes(path))
        except InputError as error:
            problem = problem or error
            continue
        if kept is None:
            likely, kept = _header_size(path), image
        size = min(usual_sizes) if image.size in usual_sizes else image.size
        sizes[size] += 1
        first.setdefault(size, path)
    if kept is None:
        assert problem is not None
        raise problem
    path = first[sizes.most_common(1)[0][0]]
    return path, kept if path == next(iter(first.values())) else decode_image(path, read_bytes(path))


def _header_size(path: Path) -> tuple[int, int] | None:
    """The width and height in the header of a file, before it is turned; None where there are none."""
    with suppress(OSError, InputError):
        file_size(path)
        with path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
        with suppress(Exception), _quiet(data):
            check_image_headers(path, data)
            return Image.open(io.BytesIO(data), formats=FORMATS).size
    return None


def is_grey(path: Path) -> bool | None:
    """Whether a file's header says that its image has no colours; None where it cannot be told.

    Raises:
      InputError: where the file is not there.
    """
    file_size(path)
    with suppress(OSError), path.open("rb") as file:
        for size in (_HEADER_BYTES, -1):
            data = file.read(size)
            file.seek(0)
            # What is wrong with a file is named by whoever decodes it; a TIFF's directory may stand at its end.
            with suppress(Exception), _quiet(data):
                check_image_headers(path, data)
                return _has_no_colours(Image.open(io.BytesIO(data), formats=FORMATS))
            if len(data) < _HEADER_BYTES:
                break
    return None


def decode_image(path: object, data: bytes) -> Image.Image:
    """An image from the bytes of its file, upright (as its EXIF tag says), of mode "RGB" or "L".

    Memory follows the size of the file, whatever dimensions it promises. A JPEG of more than seven megapixels is
    decoded at a half, a quarter or an eighth of its size.

    Bilevel images become grey ones and palettes colours; an alpha channel is dropped where it is opaque everywhere.
    What keeps less than the file says goes by a rule, and the image's `info` has it under `RULE`: `OVER_WHITE`,
    `UPPER_BITS`, `FROM_CMYK` or `FOURTH_CHANNEL`.

    Args:
      path: named in errors.
      data: the file's bytes.

    Raises:
      InputError: where the file is empty, truncated, damaged or in no known format; where it holds several images, or
        more than 16 bits a channel.
    """
    if not data:
        raise InputError(path, "an image", "an empty file")
    check_image_headers(path, data)
    try:
        with _quiet(data):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_header(path, image, len(data))
            image.load()
            check_directory(path, image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            plain, rule = _to_plain(path, image)
            upright = plain if turn is None else plain.transpose(turn)
            upright.info = {} if rule is None else {RULE: rule}
            return upright
    except InputError:
        raise
    except Image.UnidentifiedImageError:
        raise InputError(path, f"an image ({', '.join(FORMATS)})", "another or a damaged format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(path, f"an image of at most {_MOST_PIXELS:,} pixels", "one that promises more") from None
    except Exception as error:
        # Pillow's decoders let through whatever their parsers stumble upon, from struct.error to IndexError.
        raise InputError(path, "a whole image", f"a truncated or damaged one ({damage(error)})") from None


def _check_header(path: object, image: Image.Image, num_bytes: int) -> None:
    """Refuses what would take too much memory or is no image; has large JPEGs decoded smaller."""
    width, height = image.size
    each = _BYTES_PER_PIXEL.get(image.mode, _BYTES_PER_CONVERTED_PIXEL)
    if "transparency" in image.info:
        each = _BYTES_PER_CONVERTED_PIXEL
    if image.format == "WEBP":
        each = _BYTES_PER_WEBP_PIXEL
    most = _MOST_PIXELS
    if image.format in ("JPEG", "MPO"):
        # Where a file ends early, libjpeg fills up with grey.
        most = min(most, _MOST_JPEG_PIXELS_PER_BYTE * num_bytes)
        # By the dimensions alone, so that images of one camera get one size, however well they compress.
        scale = next((s for s in (1, 2, 4) if width * height * each <= s**2 * _ALWAYS_ALLOWED), 8)
        image.draft(None, (width // scale, height // scale))
    decoded = image.width * image.height
    memory = decoded * each
    if image.info.get("progressive") and image.mode != "L":
        memory = max(memory, width * height * _BYTES_PER_PROGRESSIVE_PIXEL + decoded * _BYTES_PER_DECODED_PIXEL)
    allowed = _MOST_TIMES_THE_FILE * num_bytes + _ALWAYS_ALLOWED
    most = min(most, width * height * allowed // max(memory, 1))
    if width * height > most:
        expected = f"an image of at most {most:,} pixels in a file of its size"
        raise InputError(path, expected, f"{num_bytes} bytes that promise {_by(width, height)}")
    # A MPO is a JPEG with previews of itself behind it.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InputError(path, "a single image", "several frames")
    image.info[_DEEP] = ";16" in f"{getattr(image, 'tile', '')}"
    # Pillow has 16 bits of a TIFF's integers in "I;16"; in "I" and "F" any number may stand for white.
    if image.mode not in _READ_MODES or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        found = {"I": "integers of 32 bits", "F": "floating-point pixels"}.get(image.mode, f"an image in {image.mode}")
        raise InputError(path, "an RGB or a greyscale image of 8 or 16 bits a channel", found)


def _to_plain(path: object, image: Image.Image) -> tuple[Image.Image, str | None]:
    """An image as "RGB" or "L", and the rule by which it became so, if anything of it was lost.

    Raises:
      InputError: where its upper bits are not used, so that next to nothing would be left.
    """
    # Pillow reads 16-bit RGB as 8-bit; only the decoder's arguments, which loading forgets, tell.
    rule = UPPER_BITS if image.info.pop(_DEEP, False) else None
    see_through = image.info.get("transparency")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if 0 < values.max(initial=0) < _LEAST_DEEP:
            found = f"values of up to {values.max()}, as 12-bit cameras and 8-bit data have them"
            raise InputError(path, "16 bits a channel that are all used (scale the values to 65535)", found)
        upper = Image.fromarray((values >> 8).astype(np.uint8))
        if isinstance(see_through, int):
            alpha = Image.fromarray(np.where(values == see_through, 0, 255).astype(np.uint8))
            upper = Image.merge("LA", (upper, alpha))
        image, rule = upper, UPPER_BITS
    elif rule and isinstance(see_through, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in see_through)
    no_colours = _has_no_colours(image)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        if layers.getchannel("A").getextrema() != (255, 255):
            rule = OVER_WHITE
            below = Image.new("RGBA", image.size, "white")
            below.alpha_composite(layers)
            layers = below
        return layers.getchannel("R") if no_colours else layers.convert("RGB"), rule
    if image.mode in ("CMYK", "RGBX"):
        rule = FROM_CMYK if image.mode == "CMYK" else FOURTH_CHANNEL
    wanted = "L" if no_colours else "RGB"
    return image if image.mode == wanted else image.convert(wanted), rule


def _has_no_colours(image: Image.Image) -> bool:
    """Whether an image is grey by its mode, or by its palette."""
    if image.mode not in ("P", "PA"):
        return image.mode in _GREY_MODES
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


class _Shared:
    """A context of the whole process, which several threads may be in: the first enters it, and the last leaves it.

    Args:
      make: makes the context.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]):
        self._make, self._lock, self._threads, self._entered = make, threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._entered.enter_context(self._make())
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._entered.close()


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Pillow warns of small blemishes, such as a damaged EXIF block; of huge images it only warns too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _silence_stderr() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# Files are read by several threads at once.
_WITHOUT_WARNINGS, _WITHOUT_STDERR = _Shared(_ignore_warnings), _Shared(_silence_stderr)


@contextmanager
def _quiet(data: bytes) -> Iterator[None]:
    """Drops what Pillow, and libtiff on standard error, say of a damaged file; the error that is raised says it too."""
    with _WITHOUT_WARNINGS, _WITHOUT_STDERR if data.startswith((b"II", b"MM")) else nullcontext():
        yield


def _by(width: int, height: int) -> str:
    return f"{width} x {height}"
