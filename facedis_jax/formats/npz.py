"""Reading `.npz` archives that are not trusted: no pickles, and memory in proportion to the file."""

import io
import math
import os
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from facedis_jax.errors import InputError, damage

# Deflate can make a thousand bytes of one; of weights and faces, zeros included, it makes about two. Small files may
# expand freely. Readers take up to four times as much while they work.
_MOST_TIMES_THE_FILE = 2.5
_ALWAYS_ALLOWED = 18 << 20
# Readers turn integers into float32.
_LEAST_ITEM = 4
# The archive's directory, which is read first, takes twenty times its size in memory; this is enough for thousands of
# members.
_LONGEST_DIRECTORY = 1 << 18
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: str | os.PathLike, expected: str, wanted: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, in memory of at most a small multiple of the file, whatever the file promises.

    Args:
      path: of the file.
      expected: what it should be, for errors.
      wanted: names of the arrays to read; those that are missing are skipped. All if None.

    Raises:
      InputError: where there is no file, or it is no archive or damaged, or holds other things than plain arrays, or
        more than a file of its size may.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, expected, "nothing there")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # NumPy warns of headers that look as if Python 2 had written them.
            warnings.simplefilter("ignore")
            return _read(path, expected, file, wanted)
    except InputError:
        raise
    except Exception as error:
        # zipfile and NumPy raise more kinds of errors for damaged files than they document.
        raise InputError(path, expected, f"a damaged file ({damage(error)})") from error


def _read(path: Path, expected: str, file: BinaryIO, wanted: Collection[str] | None) -> dict[str, np.ndarray]:
    size = _check_directory(path, expected, file)
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        members = {name: info for name, info in members.items() if wanted is None or name in wanted}
        most = int(_MOST_TIMES_THE_FILE * size) + _ALWAYS_ALLOWED
        total = 0
        for name, info in members.items():
            total += _check_header(path, ascii(name[:64])[1:-1], archive, info)
            if total > most:
                raise InputError(path, f"arrays of at most {most >> 20} MiB in {size} bytes", "more")
        arrays = {}
        for name, info in members.items():
            with archive.open(info) as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        return arrays


def _check_directory(path: Path, expected: str, file: BinaryIO) -> int:
    """The size of the file; raises an InputError where the archive's directory is too large."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    at = tail.find(b"PK\5\6")
    if at < 0 or b"PK\6\7" in tail:
        raise InputError(path, expected, "another or a truncated file")
    while at >= 0:
        length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if length > _LONGEST_DIRECTORY:
            raise InputError(path, f"a directory of at most {_LONGEST_DIRECTORY} bytes", f"{length}")
        at = tail.find(b"PK\5\6", at + 1)
    return size


def _check_header(path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """The bytes that an array takes in memory; raises an InputError where its header disagrees with its size."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(path, f"{name} stored or deflated", "another compression")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise InputError(path, f"{name} in version 1 or 2 of the .npy format", f"{version}")
        shape, _, dtype = _HEADERS[version](member)
        if dtype.hasobject:
            raise InputError(path, f"{name} as a plain array", "pickled objects")
        promised = math.prod(shape) * dtype.itemsize
        held = info.file_size - member.tell()
    if promised != held:
        raise InputError(path, f"{name} of {promised} bytes, as its header says", f"{held}")
    return math.prod(shape) * max(dtype.itemsize, _LEAST_ITEM)
