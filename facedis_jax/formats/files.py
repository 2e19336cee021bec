"""Which files are read at all: plain ones, and of a data folder those that lie in it."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from facedis_jax.errors import InputError, reason


def file_size(path: Path, expected: str = "a file that can be read") -> int:
    """The size of a plain file in bytes.

    Raises:
      InputError: where it is missing, or a folder, a pipe or a device, from which reading might never end.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(path, expected, reason(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, expected, "a folder" if stat.S_ISDIR(status.st_mode) else "no plain file")
    return status.st_size


def read_bytes(path: Path, expected: str = "a file that can be read") -> bytes:
    """The content of a plain file; raises an InputError as `file_size`, and where it cannot be read."""
    file_size(path, expected)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, expected, reason(error)) from None


def refuse_links_out(folder: Path, paths: Iterable[Path]) -> None:
    """Raises an InputError where a file of a data folder, or a folder on the way to it, is a link out of that folder.

    The folder itself may be a link.
    """
    home = os.path.realpath(folder)
    known: set[str] = set()
    for path in paths:
        parent = os.path.dirname(path)
        if parent not in known:
            _check_inside(home, parent)
            known.add(parent)
        if os.path.islink(path):
            _check_inside(home, path)


def _check_inside(home: str, path: str | Path) -> None:
    real = os.path.realpath(path)
    if real != home and not real.startswith(os.path.join(home, "")):
        raise InputError(path, f"a file or folder in {home}", f"a link out of it to {real}")
