"""`labels.csv`: what is known of the images in a folder of one's own."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from facedis_jax.data.images.layouts import find_file, shown
from facedis_jax.data.images.lists import SHOWN, ImageList, ImageNames, check_any, check_endings, read_rows
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.errors import InputError
from facedis_jax.formats.images import ImageFiles

LABELS_FILE = "labels.csv"
FILE, PERSON, VIEW, EXPRESSION = "file", "person", "view", "expression"
LANDMARKS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
"""The five points, in CelebA's order; left and right are the viewer's."""

LANDMARK_COLUMNS = tuple(f"{point}_{axis}" for point in LANDMARKS for axis in "xy")
_GROUPS = {PERSON: (PERSON,), VIEW: (VIEW,), EXPRESSION: (EXPRESSION,), "landmarks": LANDMARK_COLUMNS}
_LABELS = {PERSON: "subject"}


@dataclass(frozen=True)
class Labels:
    """What a `labels.csv` says.

    Attributes:
      lines: what each column says of an image that has all labels, by the image's path from the list's folder.
      known: which of "person", "view", "expression" and "landmarks" it has.
      unused: its other columns.
      incomplete: how many images lack a label that others have.
    """

    lines: ImageList[Mapping[str, str]]
    known: Sequence[str]
    unused: Sequence[str]
    incomplete: int

    def names(self, paths: Sequence[Path]) -> list[str]:
        """By what names images may be in the list: their paths from its folder, or their names where it has no more."""
        places, files = _names_of(self.lines.path, paths)
        return files if files and not any("/" in name for name in self.lines.values) else places

    def summary(self, folder: Path) -> str:
        """What it has and what of it is not used, in a few words."""
        text = f"{', '.join(self.known)} from {shown(self.lines.path, folder)}"
        if self.unused:
            text += f", whose columns {', '.join(self.unused)[:SHOWN]} are not used"
        return text + (f"; {self.incomplete:,} of its lines are not complete" if self.incomplete else "")

    def arrays(
        self, paths: Sequence[Path], images: ImageFiles
    ) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
        """Labels and classes of images that are all in the list, as an `ImageSet` has them."""
        rows = [row for row in self.lines.of(self.names(paths)) if row is not None]
        labels: dict[str, np.ndarray] = {}
        classes: dict[str, tuple[str, ...]] = {}
        for column in (PERSON, EXPRESSION):
            if column in self.known:
                label, found = _LABELS.get(column, column), [row[column] for row in rows]
                classes[label] = tuple(sorted(set(found)))
                index_of = {name: i for i, name in enumerate(classes[label])}
                labels[label] = np.array([index_of[name] for name in found], np.int32)
        if VIEW in self.known:
            labels[VIEW] = np.array([_number(row[VIEW]) for row in rows], np.float32)
        if "landmarks" in self.known:
            points = np.array([[_number(row[column]) for column in LANDMARK_COLUMNS] for row in rows])
            points = points.reshape(-1, len(LANDMARKS), 2)
            labels["landmarks"] = images.framing.points(self.lines.path, points, *images.size)
        return labels, classes


def find_labels(folder: Path, paths: Sequence[Path]) -> Path | None:
    """The `labels.csv` of some images: in the set's folder, or in the only folder in it that has all of them."""
    common = Path(os.path.commonpath([path.parent for path in paths]))
    between = [parent for parent in [common, *common.parents] if parent != folder and parent.is_relative_to(folder)]
    return find_file([folder, *reversed(between)], [LABELS_FILE])


def read_labels(path: Path, paths: Sequence[Path], size: tuple[int, int], refusals: Refusals = STRICT) -> Labels:
    """What a `labels.csv` says: a line for each image, and the columns' names on the first.

    Columns, in any order and with any others between them: "file", the image's path from the list's folder; and one or
    more of "person", "view" (degrees of yaw), "expression", and the ten of `LANDMARK_COLUMNS` (pixels of the image as
    it is displayed, the corner pixel's centre at 0, 0).

    Args:
      path: the list.
      paths: of the images that are there.
      size: width and height of the images.
      refusals: whether images with wrong values are skipped.

    Raises:
      InputError: where the list cannot be read or lacks a column, names none of the images, or one twice, or has wrong
        values for one; names the line.
    """
    rows = read_rows(path)
    header = next(rows, None)
    columns = {} if header is None else {name.lower(): i for i, name in reversed(list(enumerate(header.fields)))}
    known = _known_columns(path, list(columns))
    values: dict[str, Mapping[str, str]] = {}
    incomplete: set[str] = set()
    images = ImageNames(name for names in _names_of(path, paths) for name in names)
    listed, example = 0, ""
    for row in rows:
        where = f"{path}, line {row.number}"
        if not any(row.fields):
            continue
        if len(row.fields) != len(header.fields if header else ()):
            raise InputError(where, f"{len(columns)} values", str(len(row.fields)))
        name = PurePosixPath(row.fields[columns[FILE]].replace("\\", "/")).as_posix()
        if name == ".":
            raise InputError(where, "the name of a file", "none")
        if name in values or name in incomplete:
            raise InputError(where, "each image once", f"{name[:SHOWN]} again")
        check_endings(where, images, max(values, incomplete, key=len))
        of_image = {one: row.fields[columns[one]] for label in known for one in _GROUPS[label]}
        complete = all(any(of_image[one] for one in _GROUPS[label]) for label in known)
        listed, example = listed + complete, example or name
        if name in images and complete:
            with refusals.of(name):
                values[name] = _checked(where, of_image, size)
        elif name in images:
            incomplete.add(name)
    check_any(path, images, values, example)
    used = {FILE, *(column for label in known for column in _GROUPS[label])}
    unused = [name for name in reversed(columns) if name and name not in used]
    return Labels(ImageList(path, values, listed), known, unused, len(incomplete))


def _names_of(path: Path, paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """The paths of images from a list's folder, and their names alone, or none where two have the same."""
    places = [Path(os.path.relpath(image, path.parent)).as_posix() for image in paths]
    files = [image.name for image in paths]
    return places, files if len(set(files)) == len(files) else []


def _known_columns(path: Path, columns: Sequence[str]) -> list[str]:
    known = [label for label, needed in _GROUPS.items() if set(needed) & set(columns)]
    for name in (FILE, *(column for label in known for column in _GROUPS[label])):
        if name not in columns:
            found = repr(", ".join(columns)[:SHOWN])
            raise InputError(f"{path}, line 1", f"names of columns, {name} among them", found)
    if not known:
        points = f"{LANDMARK_COLUMNS[0]} to {LANDMARK_COLUMNS[-1]}"
        expected = f"one or more of the columns {PERSON}, {VIEW}, {EXPRESSION} and {points}"
        raise InputError(f"{path}, line 1", expected, repr(", ".join(columns)[:SHOWN]))
    return known


def _checked(where: str, row: Mapping[str, str], size: tuple[int, int]) -> Mapping[str, str]:
    """The values of a line; raises an InputError where one cannot be."""
    for column, text in row.items():
        expected = ""
        if column == VIEW:
            expected, least, most = "degrees from -180 to 180", -180.0, 180.0
        elif column in LANDMARK_COLUMNS:
            side = size[column.endswith("_y")]
            expected, least, most = f"a point in {size[0]} x {size[1]} pixels", 0.0, math.nextafter(side, 0)
        if expected and not _is_between(text, least, most):
            raise InputError(f"{where}, {column}", expected, repr(text[:SHOWN]))
    return row


def _is_between(text: str, least: float, most: float) -> bool:
    try:
        return least <= _number(text) <= most
    except ValueError:
        return False


def _number(text: str) -> float:
    """A number with a point or, as some spreadsheets write it, a comma."""
    return float(text.replace(",", "."))
