"""Checks of what the header of a video file promises, before FFmpeg allocates memory for it."""

import mmap
import re
from typing import BinaryIO

from facedis_jax.errors import InputError

# FFmpeg takes some 70 bytes for each sample that an MP4 or QuickTime file promises, and repeats them for each edit.
_BYTES_PER_SAMPLE = 36
_ALWAYS_ALLOWED = 350_000
_TABLES = re.compile(rb"(?:stsz(?=.{8}(.{4}))|trun(?=.{4}(.{4})))|elst(?=.{4}(.{4}))", re.DOTALL)
_MAGIC = {
    b"RIFF": "avi",
    b"\x1aE\xdf\xa3": "matroska",
    b"\0\0\1\xba": "mpeg",
    b"\0\0\1\xb3": "mpegvideo",
    b"0&\xb2u": "asf",
    b"FLV\1": "flv",
    b"OggS": "ogg",
}
# The packets of a transport stream, and those of cameras with four bytes more before each.
_SYNC, _TRANSPORT_PACKETS = 0x47, ((0, 188), (4, 192))

CONTAINERS = (*_MAGIC.values(), "mpegts", "mov")
"""The names of FFmpeg's demuxers for the files that are read."""

_PACKED = re.compile(rb"cmov(?=.{4}dcom)", re.DOTALL)


def check_container(path: object, file: BinaryIO, size: int) -> str:
    """The FFmpeg demuxer that reads a file that is not empty, one of `CONTAINERS`, by how the file begins.

    Raises:
      InputError: where an MP4 or QuickTime file promises far more samples than it can hold, or compresses its
        header.
    """
    start = file.read(200)
    file.seek(0)
    if start[:4] in _MAGIC:
        return _MAGIC[start[:4]]
    for first, length in _TRANSPORT_PACKETS:
        if len(start) > first + length and start[first] == start[first + length] == _SYNC:
            return "mpegts"
    samples = edits = 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for first, last in _header_boxes(data):
            if _PACKED.search(data, first, last):
                raise InputError(path, "a header that is not compressed", "a compressed one")
            for match in _TABLES.finditer(data, first, last):
                sizes, run, edit = (int.from_bytes(count or b"", "big") for count in match.groups())
                samples += sizes + run
                edits += edit
    most = size // _BYTES_PER_SAMPLE + _ALWAYS_ALLOWED
    if samples * max(edits, 1) > most:
        found = f"{samples:,}" + (f" in {edits:,} edits" if edits > 1 else "")
        raise InputError(path, f"at most {most:,} samples in a video of its size", found)
    return "mov"


def _header_boxes(data: mmap.mmap) -> list[tuple[int, int]]:
    """Start and end of each box of an MP4 or QuickTime file, but for those of the samples (`mdat`)."""
    boxes, at = [], 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = len(data) if length < head else min(at + length, len(data))
        if kind != b"mdat" or length < head:
            boxes.append((at, end))
        at = end
    return boxes
