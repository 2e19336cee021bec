"""Input guards: regular files only, no links out of a data folder."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from facedis_jax.errors import InputError, reason


def file_size(path: Path, expected: str = "a file that can be read") -> int:
    """The size of a regular file in bytes.

    Raises:
      InputError: where it is missing, or is a folder, a pipe or a device, from which reading might never end.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise InputError(path, expected, reason(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(path, expected, "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file")
    return status.st_size


def read_bytes(path: Path, expected: str = "a file that can be read") -> bytes:
    """The content of a regular file; raises an InputError as `file_size`, and where it cannot be read."""
    file_size(path, expected)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(path, expected, reason(error)) from None


def refuse_links_out(folder: Path, paths: Iterable[Path]) -> None:
    """Checks that files of a data folder, and the folders in which they lie, are no links out of it.

    The data folder itself may be a link.

    Args:
      folder: the data folder.
      paths: files in it.

    Raises:
      InputError: for the first that is such a link.
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
