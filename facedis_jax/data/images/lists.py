"""Folders of images, and text lists of them: one line for each image, which begins with its name."""

import csv
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from facedis_jax.data.images.layouts import shown
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import file_size, list_files
from facedis_jax.formats.images import IMAGE_SUFFIXES

T = TypeVar("T")

_LONGEST_LINE = 1 << 12
_MOST_ENDINGS = 4
_MOST_BLANK = 1000
SHOWN = 100
"""How many letters of what is wrong an error has."""


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

    A byte order mark at its beginning is no part of the first line.

    Raises:
      InputError: where the file cannot be read, or a line is longer than lists have.
    """
    expected = "a text file that can be read"
    file_size(path, expected)
    blank = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
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
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x}, which is of another encoding"
        raise InputError(path, "a text file in UTF-8", found) from None
    except OSError as error:
        raise InputError(path, expected, reason(error)) from None


class ImageNames:
    """The names of images that are there, and of which a list may know by `match_names`; of others nothing is kept.

    Args:
      names: of the images.
    """

    def __init__(self, names: Iterable[str]):
        self._names = set(names)
        self._alike = {_without_ending(name) for name in self._names}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names or _without_ending(name) in self._alike


@dataclass(frozen=True)
class ImageList(Generic[T]):
    """What a list says of images.

    Attributes:
      path: the list.
      values: of those that are there, by their names as they stand in the list, in its order.
      listed: how many images it names, whether they are there or not.
    """

    path: Path
    values: Mapping[str, T]
    listed: int

    def of(self, names: Sequence[str]) -> list[T | None]:
        """What it says of each of some images, by `match_names`; None of one that it does not name."""
        return [None if listed is None else self.values[listed] for listed in match_names(names, self.values)]


def match_names(names: Sequence[str], listed: Collection[str]) -> list[str | None]:
    """For each image the name by which a list has it: its own, or one with another ending or other capitals.

    Editions of a set differ in their images' endings, while their lists are the same. Each name in the list stands for
    one image.

    Example:
      >>> match_names(["1.png", "2.JPG", "3.jpg"], ["1.jpg", "2.jpg", "4.jpg"])
      ['1.jpg', '2.jpg', None]
    """
    exact = set(listed)
    alike = {_without_ending(name): name for name in reversed(list(listed))}
    taken = exact.intersection(names)
    found: list[str | None] = []
    for name in names:
        match = name if name in exact else alike.get(_without_ending(name))
        if match != name and match in taken:
            match = None
        elif match is not None:
            taken.add(match)
        found.append(match)
    return found


def read_list(
    path: Path,
    images: ImageNames,
    columns: Sequence[str],
    parse: Callable[[Sequence[str]], T],
    kind: str,
    refusals: Refusals = STRICT,
    *,
    counted: bool = False,
) -> ImageList[T]:
    """What a list says of images, one on each line.

    A line has an image's name and then its values, separated by white space; or, in a list whose first line has a
    comma or that ends in ".csv", by commas, with the columns' names on the first line or without.

    Args:
      path: the list.
      images: those that are there.
      columns: the names of the values.
      parse: makes one value of them; raises a ValueError where they are wrong.
      kind: what they are, for errors ("5 points").
      refusals: whether images with wrong values are skipped.
      counted: whether a list without commas begins with the number of its images and the names of its columns.

    Raises:
      InputError: where the list cannot be read, names none of the images, or one twice or by a path, or has wrong
        values for one; names the line.
    """
    lines = read_rows(path)
    count, name_at, order = None, 0, list(range(1, len(columns) + 1))
    width = len(order) + 1
    first = next(lines, None)
    if first is not None and first.separated and first.fields and not _is_image_name(first.fields[0]):
        name_at, *order = _columns_of(path, first, columns)
        width = len(first.fields)
        first = None
    elif first is not None and not first.separated and counted:
        count, first = _count_of(path, first, next(lines, None), columns), None
    found: dict[str, T] = {}
    listed, example = 0, ""
    for row in lines if first is None else chain([first], lines):
        where = f"{path}, line {row.number}"
        name = row.fields[name_at] if len(row.fields) > name_at else ""
        if not name:
            raise InputError(where, f"an image's name and {kind}", "an empty line")
        if "/" in name or "\\" in name:
            raise InputError(where, "the name of an image that is there, without a folder", repr(name[:SHOWN]))
        if name in found:
            raise InputError(where, "each image once", f"{name} again")
        listed, example = listed + 1, example or name
        if name not in images:
            continue
        check_endings(where, images, found)
        with refusals.of(name):
            if len(row.fields) != width:
                raise InputError(where, f"an image's name and {kind}", f"{len(row.fields) - 1} values")
            values = [row.fields[i] for i in order]
            try:
                found[name] = parse(values)
            except ValueError:
                raise InputError(where, f"an image's name and {kind}", repr(" ".join(values)[:SHOWN])) from None
    if count is not None and count < listed:
        # A list that was cut off has fewer.
        raise InputError(f"{path}, line 1", f"the number of images, {listed}", repr(str(count)))
    check_any(path, images, found, example)
    return ImageList(path, found, listed)


def check_endings(where: str, images: ImageNames, found: Collection[str]) -> None:
    """Raises an InputError where a list has named each image with many endings, which would fill the memory."""
    if len(found) > _MOST_ENDINGS * len(images):
        raise InputError(where, f"at most {_MOST_ENDINGS} endings of each image's name", "more")


def check_any(path: Path, images: ImageNames, found: Collection[str], example: str) -> None:
    """Checks that a list names images that are there.

    Args:
      path: the list.
      images: those that are there.
      found: those that it names.
      example: an image that it names, there or not; empty where it names none.

    Raises:
      InputError: it does not.
    """
    if not found:
        found = f"{example[:SHOWN]}, or others" if example else "none"
        raise InputError(path, f"some of the {len(images)} images that are there", found)


def intersect(
    names: Sequence[str], lists: Sequence[ImageList[Any]], folder: Path, images: Path
) -> tuple[list[int], dict[str, str]]:
    """Which images are in all lists, and what to say of those that are not.

    Args:
      names: of the images that are there.
      lists: that say something of them.
      folder: of the set; `images`: the folder in it where they lie.

    Returns:
      Their indices, and for a set's `data_files` under "images" how many there are, and under "not used" how many each
      list does not have.
    """
    kept = np.ones(len(names), bool)
    lacking, listed, there = [], 0, 0
    for one in lists:
        known = np.array([name is not None for name in match_names(names, one.values)])
        kept &= known
        if not known.all():
            lacking.append(f"{(~known).sum():,} that are not in {shown(one.path, folder)}")
        if one.listed > listed:
            listed, there = one.listed, int(known.sum())
    where = "" if images == folder else f" in {shown(images, folder)}"
    text = f"{len(names):,}{where}"
    if there < listed:
        text = f"{there:,} of {listed:,} listed images are there{where and ','}{where}"
    return np.flatnonzero(kept).tolist(), {"images": text} | ({"not used": ", ".join(lacking)} if lacking else {})


class Row(NamedTuple):
    """A line of a list: its number, its fields, and whether they are separated by more than white space."""

    number: int
    fields: Sequence[str]
    separated: bool


def read_rows(path: Path) -> Iterator[Row]:
    """The lines of a list one after another; see `read_list` for what separates their fields.

    Raises:
      InputError: as `read_lines`, and where quotes or lines in them are longer than lists have.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        return
    lines = chain([first], lines)
    if "," not in first and path.suffix.lower() != ".csv":
        for number, line in enumerate(lines, 1):
            yield Row(number, line.split(), False)
        return
    # Where the comma is the decimal sign, spreadsheets separate by semicolons.
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    try:
        for fields in reader:
            yield Row(reader.line_num, [field.strip() for field in fields], True)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}", "values separated by commas", str(error)) from None


def _columns_of(path: Path, header: Row, columns: Sequence[str]) -> list[int]:
    """Which fields hold the images' names, in the first one or where Kaggle's column is, and some columns.

    A single column may have any name.
    """
    known = [field.lower() for field in header.fields]
    name_at = known.index("image_id") if "image_id" in known else 0
    if len(columns) == 1 and columns[0] not in known and len(known) == 2:
        return [name_at, 1 - name_at]
    missing = [column for column in columns if column not in known]
    if missing:
        found = repr(",".join(header.fields)[:SHOWN])
        raise InputError(f"{path}, line {header.number}", f"a name for images and {', '.join(columns)}", found)
    return [name_at, *(known.index(column) for column in columns)]


def _count_of(path: Path, first: Row, second: Row | None, columns: Sequence[str]) -> int:
    """How many images a list says that it has, on its first line; the second has the names of its columns."""
    try:
        (count,) = map(int, first.fields)
    except ValueError:
        found = repr(" ".join(first.fields)[:SHOWN])
        raise InputError(f"{path}, line 1", "the number of images", found) from None
    if second is None or list(second.fields) != list(columns):
        found = repr("" if second is None else " ".join(second.fields)[:SHOWN])
        raise InputError(f"{path}, line 2", " ".join(columns), found)
    return count


def _is_image_name(field: str) -> bool:
    return field.lower().endswith(IMAGE_SUFFIXES)


def _without_ending(name: str) -> str:
    """What names of one image have in common; some systems write accents apart from their letters."""
    stem, dot, ending = unicodedata.normalize("NFC", name).rpartition(".")
    return (stem if dot and "/" not in ending else ending).casefold()
