"""Folders of images, and text lists of them: one line for each image, which begins with its name."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import TypeVar

from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_size, list_files
from facedis_jax.formats.images import IMAGE_SUFFIXES

T = TypeVar("T")

_LONGEST_LINE = 1 << 12
_MOST_BLANK = 1000
_SHOWN = 100  # letters of what is wrong


def list_images(folder: Path, layout: str, *, deep: bool = False) -> list[Path]:
    """The image files in a folder, known by the endings of their names; see `list_files`.

    Args:
      folder: where they are.
      layout: what the folder should hold, for errors.
      deep: whether to search its subfolders too.

    Raises:
      InputError: where there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(folder, f"a folder with {layout}", "no such folder")
    paths = list_files(folder, IMAGE_SUFFIXES, depth=None if deep else 0)
    if not paths:
        raise InputError(folder, f"{layout} in it", f"no image ({', '.join(IMAGE_SUFFIXES)})")
    return paths


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file one after another, without newlines and without blank lines at its end.

    Raises:
      InputError: where the file cannot be read, or a line is longer than lists have.
    """
    expected = "a text file that can be read"
    file_size(path, expected)
    blank = 0
    try:
        with path.open(encoding="utf-8") as file:
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise InputError(path, f"lines of less than {_LONGEST_LINE} letters", "a longer one")
                if not line.strip():
                    blank += 1
                    if blank > _MOST_BLANK:
                        raise InputError(path, f"at most {_MOST_BLANK} blank lines together", "more")
                    continue
                yield from repeat("", blank)
                blank = 0
                yield line.removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, expected, str(error)) from None


def read_list(
    path: Path,
    images: Collection[str],
    columns: int,
    parse: Callable[[Sequence[str]], T],
    kind: str,
    *,
    skip: int = 0,
    whole: bool = True,
) -> dict[str, T]:
    """What a text list says of each image, parsed.

    Args:
      path: the list: an image's name and then its values on each line, separated by white space.
      images: names of the images that there are.
      columns: how many values each has.
      parse: makes one value of them; raises a ValueError where they are wrong.
      kind: what they are, for errors ("5 points").
      skip: how many lines come before the first image.
      whole: whether every image must be listed.

    Returns:
      What `parse` made of them, by name, in the order of the list.

    Raises:
      InputError: where the list cannot be read, names an image twice or one that does not exist, lacks one, or has
        wrong values for one; names the line.
    """
    known = set(images)
    found: dict[str, T] = {}
    for number, line in enumerate(islice(read_lines(path), skip, None), skip + 1):
        name, *values = line.split() or [""]
        where = f"{path}, line {number}"
        if not name:
            raise InputError(where, f"an image's name and {kind}", "an empty line")
        if name not in known:
            raise InputError(where, "the name of an image that is there", repr(name[:_SHOWN]))
        if name in found:
            raise InputError(where, "each image once", f"{name} again")
        if len(values) != columns:
            raise InputError(where, f"an image's name and {kind}", f"{len(values)} values")
        try:
            found[name] = parse(values)
        except ValueError:
            raise InputError(where, f"an image's name and {kind}", repr(" ".join(values)[:_SHOWN])) from None
    if whole and len(found) < len(known):
        missing = min(known - found.keys())
        raise InputError(path, f"a line for each of {len(known)} images", f"{len(found)}, and none for {missing}")
    return found
