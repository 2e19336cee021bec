"""Where the editions of a set have their files: folders in folders, names with other capitals, lists beside."""

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import is_clutter, leads_to_folder
from facedis_jax.formats.images import IMAGE_SUFFIXES

_DEEPEST = 3


def folders_in(folder: Path, depth: int = _DEEPEST) -> Iterator[Path]:
    """The folder and those in it, the nearest first, as far as they are asked for; links are followed, each once.

    Args:
      folder: where to begin.
      depth: how many folders to enter, one in another.

    Raises:
      InputError: where one cannot be read.
    """
    level, seen = [folder], set[tuple[int, int]]()
    for deeper in range(depth + 1):
        yield from level
        if deeper < depth:
            inside = [parent / entry.name for parent in level for entry in _entries(parent) if leads_to_folder(entry)]
            level = [found for found in inside if _is_new(found, seen)]


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether a folder can be entered and was not seen by another way; adds it to those that were."""
    # Locked ones are not the set's.
    if not os.access(folder, os.R_OK | os.X_OK):
        return False
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    is_new = here not in seen
    seen.add(here)
    return is_new


def has_images(folder: Path) -> bool:
    """Whether an image lies in the folder itself."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.lower().endswith(IMAGE_SUFFIXES) and not is_clutter(entry.name) for entry in entries)
    except OSError as error:
        raise InputError(folder, "a folder that can be read", reason(error)) from None


def find_folder(folder: Path, names: Collection[str], *, depth: int = _DEEPEST) -> Path | None:
    """The nearest folder of some names that has images, or `folder` itself where that has; None where there is none.

    Args:
      folder: where to look, also at itself.
      names: in small letters; capitals do not matter.
      depth: as of `folders_in`.
    """
    if not folder.is_dir():
        return None
    for found in folders_in(folder, depth):
        # The name of the folder that was given may be "." or "..".
        name = found.resolve().name if found == folder else found.name
        if name.lower() in names and has_images(found):
            return found
    return folder if has_images(folder) else None


def find_file(folders: Iterable[Path], names: Collection[str]) -> Path | None:
    """The first file of some names in some folders; None where there is none.

    Args:
      folders: where to look; those that do not exist have no files.
      names: in small letters, the first before the others; capitals do not matter.
    """
    for folder in folders:
        if not folder.is_dir():
            continue
        there = {entry.name.lower(): folder / entry.name for entry in _entries(folder) if not leads_to_folder(entry)}
        for name in names:
            if name in there:
                return there[name]
    return None


def find_home(folder: Path, names: Collection[str], *, called: str) -> Path | None:
    """The nearest folder that has a file of some names, itself or in a folder of its name; None where there is none.

    Args:
      folder: where to look, also at itself.
      names: in small letters; capitals do not matter.
      called: of several such folders, in small letters the name of the set, which only the right one has in its path.

    Raises:
      InputError: where there are several, and the name does not tell them apart.
    """
    homes: list[Path] = []
    for home in folders_in(folder) if folder.is_dir() else ():
        if homes and len(home.parts) > len(homes[0].parts):
            break
        if find_file([home, *subfolders(home, names)], names):
            homes.append(home)
    if len(homes) > 1:
        named = [home for home in homes if called in [part.lower() for part in home.relative_to(folder).parts]]
        if len(named) != 1:
            found = f"{len(homes)}, such as {homes[0]} and {homes[1]}"
            raise InputError(folder, f"one folder with {min(names)} in it", found)
        return named[0]
    return homes[0] if homes else None


def subfolders(folder: Path, names: Collection[str]) -> list[Path]:
    """The folders in a folder that have some names, given in small letters; capitals do not matter."""
    if not folder.is_dir():
        return []
    there = [entry for entry in _entries(folder) if entry.name.lower() in names]
    return [folder / entry.name for entry in there if leads_to_folder(entry)]


def beside(folder: Path, part_names: Collection[str]) -> list[Path]:
    """The folder, and those around it as long as they are parts of a set by their names, from the inside out.

    Args:
      folder: that was given.
      part_names: in small letters.
    """
    around = [folder]
    while around[-1].resolve().name.lower() in part_names and len(around) <= _DEEPEST:
        around.append(around[-1] / "..")
    return around


def shown(path: Path, folder: Path) -> str:
    """A path as it is seen from a folder, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_clutter(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(folder, "a folder that can be read", reason(error)) from None
