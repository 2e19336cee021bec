"""Checks of texts and tags in image files, before Pillow makes objects of them."""

import struct
import zlib
from contextlib import suppress

from facedis_jax.errors import InputError

_MOST_TEXT = 1 << 22
_MOST_VALUES = 1 << 16
_MOST_EXIF_SEGMENTS = 16
# Types of TIFF whose values stay bytes: BYTE, ASCII, SBYTE and UNDEFINED.
_PLAIN_TYPES = (1, 2, 6, 7)


def check_image_headers(path: object, data: bytes) -> None:
    """Raises an InputError where texts or tags of a PNG, TIFF or JPEG file would take far more memory than they fill.

    Texts may be compressed, and each number of a tag becomes an object.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_texts(path, data)
    elif data.startswith((b"II", b"MM")):
        check_directory(path, data)
    elif (count := data.count(b"Exif\0\0")) > _MOST_EXIF_SEGMENTS:
        raise InputError(path, f"at most {_MOST_EXIF_SEGMENTS} EXIF segments", f"{count}")


def check_directory(path: object, data: bytes) -> None:
    """Raises an InputError where a tag of a TIFF file, or of EXIF data, has very many values."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    with suppress(struct.error, OverflowError):
        if order is None:
            return
        is_big = struct.unpack_from(f"{order}H", data, 2) == (43,)
        (offset,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", data, offset)
        first, entry = offset + (8 if is_big else 2), struct.Struct(f"{order}HHQ8x" if is_big else f"{order}HHI4x")
        for at in range(first, min(first + entries * entry.size, len(data)), entry.size):
            tag, kind, count = entry.unpack_from(data, at)
            if count > _MOST_VALUES and kind not in _PLAIN_TYPES:
                raise InputError(path, f"at most {_MOST_VALUES} values of a TIFF or EXIF tag", f"{count} of {tag}")


def _check_texts(path: object, data: bytes) -> None:
    left, at = _MOST_TEXT, 8
    while at + 8 <= len(data) and left >= 0:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        # Behind a keyword that ends in 0 and some flags; iTXt has two words more.
        parts = data[at + 8 : at + 8 + length].split(b"\0", 1)[1:] if kind in (b"zTXt", b"iTXt") else []
        if kind == b"iTXt":
            parts = [part for rest in parts for part in rest[2:].split(b"\0", 2)[2:]]
        for part in parts:
            with suppress(zlib.error):
                left -= len(zlib.decompressobj().decompress(part[kind == b"zTXt" :], left + 1))
        at += 12 + length
    if left < 0:
        raise InputError(path, f"at most {_MOST_TEXT:,} letters of compressed text", "more")
