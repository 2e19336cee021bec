"""What a video file says of itself, looked at before FFmpeg makes room for it."""

import mmap
import re
from typing import BinaryIO

from facedis_jax.errors import InputError

# FFmpeg takes some 70 bytes for each sample of an MP4 or QuickTime file, whether the file holds it or not, and repeats
# them for each edit.
_BYTES_PER_SAMPLE = 36
_ALWAYS_ALLOWED = 350_000
_TABLES = re.compile(rb"(?:stsz(?=.{8}(.{4}))|trun(?=.{4}(.{4})))|elst(?=.{4}(.{4}))", re.DOTALL)
_PACKED = re.compile(rb"cmov(?=.{4}dcom)", re.DOTALL)


def check_container(path: object, file: BinaryIO, size: int) -> str:
    """Which of FFmpeg's demuxers reads a file that is not empty: "mov", "avi" or "matroska".

    Raises:
      InputError: where an MP4 or QuickTime file promises far more samples than it can hold, or packs its head.
    """
    start = file.read(4)
    file.seek(0)
    if start == b"RIFF":
        return "avi"
    if start == b"\x1aE\xdf\xa3":
        return "matroska"
    samples = edits = 0
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for first, last in _heads(data):
            if _PACKED.search(data, first, last):
                raise InputError(path, "a plain head of the video", "a compressed one")
            for match in _TABLES.finditer(data, first, last):
                sizes, run, edit = (int.from_bytes(count or b"", "big") for count in match.groups())
                samples += sizes + run
                edits += edit
    most = size // _BYTES_PER_SAMPLE + _ALWAYS_ALLOWED
    if samples * max(edits, 1) > most:
        found = f"{samples:,}" + (f" in {edits:,} edits" if edits > 1 else "")
        raise InputError(path, f"at most {most:,} samples in a video of its size", found)
    return "mov"


def _heads(data: mmap.mmap) -> list[tuple[int, int]]:
    """Where the boxes of an MP4 or QuickTime file lie, but for those of the images and the sound."""
    heads, at = [], 0
    while at + 8 <= len(data):
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        end = len(data) if length < head else min(at + length, len(data))
        if kind != b"mdat" or length < head:
            heads.append((at, end))
        at = end
    return heads
