"""The files of a data folder: which there are, and guards for those that are read."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from facedis_jax.errors import InputError, reason

_CLUTTER = frozenset(
    name.lower()
    for name in (
        *("__MACOSX", "Icon\r", "Network Trash Folder", "Temporary Items"),  # macOS, and archives made on it
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),  # Windows
        *("@eaDir", "@tmp", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot"),  # Synology, QNAP
        *("lost+found", "__pycache__"),
    )
)


_MOST_WRAPPERS, _MOST_BESIDE_A_SET = 3, 8
_MOST_VISITS = 1000
"""Links from each of many folders to all others lead to a folder by more ways than can be listed."""


def is_clutter(name: str) -> bool:
    """Whether a file or folder of that name belongs to a system and not to the data: hidden ones, thumbnails, bins.

    Example:
      >>> [is_clutter(name) for name in ("._face.ply", "__MACOSX", "@eaDir", "face.ply")]
      [True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _CLUTTER


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a folder or a link to one; a link to itself, or to what is locked, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_files(folder: Path, endings: Sequence[str] = (), *, depth: int | None = None) -> list[Path]:
    """The files in a folder and its folders, sorted by their paths.

    Links are followed, to files and to folders, wherever they lead; a link to a folder that it lies in leads to nothing
    new. A link that leads nowhere is listed, and a folder that is not entered and has such an ending, so that whoever
    reads it can say so. Clutter is left out.

    Args:
      folder: where to look; it may be a link itself.
      endings: of the names, in small letters; capitals do not matter. All files if empty.
      depth: how many folders to enter, one in another: 0 for the files in `folder` itself. None for all.

    Raises:
      InputError: where a folder cannot be read, or links lead to it by too many ways.
    """
    wanted = tuple(endings) or ("",)
    found: list[str] = []
    visits: Counter[tuple[int, int]] = Counter()
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [(os.fspath(folder), ())]
    while pending:
        parent, above = pending.pop()
        try:
            status = os.stat(parent)
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue
            visits[here] += 1
            if visits[here] > _MOST_VISITS:
                raise InputError(parent, f"at most {_MOST_VISITS} ways to a folder", "more, by links")
            with os.scandir(parent) as entries:
                listed = [entry for entry in entries if not is_clutter(entry.name)]
        except OSError as error:
            raise InputError(parent, "a folder that can be read", reason(error)) from None
        enter = depth is None or len(above) < depth
        for entry in listed:
            is_folder = leads_to_folder(entry)
            if is_folder and enter:
                pending.append((entry.path, (*above, here)))
            elif entry.name.lower().endswith(wanted) and (endings or not is_folder):
                found.append(entry.path)
    return [Path(path) for path in sorted(found, key=lambda path: path.replace(os.sep, "/"))]


def lost_folders(folder: Path, *, depth: int | None = None) -> list[Path]:
    """Links in a folder and its folders that lead nowhere and whose names, without an ending, are a folder's.

    Such are the folders of a disk that is not there. Clutter is left out.

    Args:
      folder, depth: as of `list_files`.

    Raises:
      InputError: as `list_files`.
    """
    paths = list_files(folder, depth=depth) if folder.is_dir() else []
    return [path for path in paths if "." not in path.name and path.is_symlink() and not os.path.exists(path)]


def natural_key(text: str) -> tuple[object, ...]:
    """A key that sorts names as people do: "2" before "10", whatever the capitals.

    Example:
      >>> sorted(["take10", "Take2", "take1"], key=natural_key)
      ['take1', 'Take2', 'take10']
    """
    pieces = re.split(r"([0-9]+)", text.casefold())
    numbers = [(int(piece), len(piece)) for piece in pieces[1::2]]
    return tuple(zip(pieces[::2], [*numbers, (-1, 0)], strict=True)), text


def unwrap(folder: Path, fits: Callable[[Path], bool]) -> Path:
    """The folder where a set's files lie as they should: the one given, or the only such one in it, and so on.

    Archives are often unpacked into a folder more than there should be.

    Args:
      folder: that was given.
      fits: whether a folder has files of the set where they should be.

    Returns:
      The nearest that fits; `folder` where none does, or where too many folders lie beside each other to be wrappers.

    Raises:
      InputError: where a folder cannot be read, or several beside each other fit.
    """
    level = [folder]
    for _ in range(_MOST_WRAPPERS + 1):
        fitting = [home for home in level if home.is_dir() and fits(home)]
        if len(fitting) > 1:
            found = f"{len(fitting)}, such as {fitting[0]} and {fitting[1]}"
            raise InputError(folder, "the set in one folder", found)
        if fitting:
            return fitting[0]
        level = [inner for home in level if home.is_dir() for inner in _folders_in(home)]
        if len(level) > _MOST_BESIDE_A_SET:
            break
    return folder


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not is_clutter(entry.name) and leads_to_folder(entry)]
    except OSError as error:
        raise InputError(folder, "a folder that can be read", reason(error)) from None
    return [folder / name for name in sorted(names)]


def file_size(path: Path, expected: str = "a file that can be read") -> int:
    """The size of a regular file in bytes.

    Raises:
      InputError: where it is missing, or is a folder, a pipe or a device, from which reading might never end.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        lost = os.path.islink(path)
        raise InputError(
            path, expected, f"a link to {os.readlink(path)}: {reason(error)}" if lost else reason(error)
        ) from None
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


def file_digest(path: Path) -> bytes:
    """The sha256 of a regular file; raises an InputError as `file_size`, and where it cannot be read."""
    file_size(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(path, "a file that can be read", reason(error)) from None


def refuse_links_out(folder: Path) -> None:
    """Checks that no link in a data folder leads out of it; clutter does not matter, and the folder may be a link.

    Raises:
      InputError: for the first that does.
    """
    home = os.path.realpath(folder)
    for parent, folders, files in os.walk(home):
        folders[:] = sorted(name for name in folders if not is_clutter(name))
        for name in [*folders, *sorted(files)]:
            path = os.path.join(parent, name)
            if os.path.islink(path) and not is_clutter(name):
                real = os.path.realpath(path)
                if real != home and not real.startswith(os.path.join(home, "")):
                    raise InputError(path, f"a file or folder in {home}", f"a link out of it to {real}")
