"""Images side by side in one figure, with labels for rows and columns."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from facedis_jax.reports.figures import STYLE, WIDTH

# Inches, but for the widths of lines of text, which are in characters.
_LARGEST_CELL = 2.1
_ROW_LABEL, _ROW_LABEL_CHARACTERS = 1.25, 15
_CHARACTERS_PER_INCH = 11
_COLOR_BAR, _COLOR_BAR_WIDTH, _TALLEST_COLOR_BAR = 0.75, 0.11, 3.0
_LINE, _GAP, _TITLE = 0.16, 0.08, 0.32
# Around all of it, so that no label touches the border.
_MARGIN = 0.08


class ColorScale(NamedTuple):
    """What the colours of a heat map mean: `cmap` from `low` to `high`; `label` has the unit.

    `largest` is the largest value that is shown. Where it is above `high`, the bar ends in an arrow and says so.
    """

    low: float
    high: float
    label: str
    cmap: str = "viridis"
    largest: float = -math.inf

    @property
    def is_cut(self) -> bool:
        """Whether some values are shown as smaller than they are."""
        return self.largest > self.high


@matplotlib.rc_context(STYLE)
def grid_figure(
    images: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    colorbar: ColorScale | None = None,
) -> Figure:
    """A figure of images in rows and columns, as large as the page's width allows.

    Args:
      images: rows of images [height, width, 3 or 4] uint8 of one size; None leaves a cell empty.
      row_labels, column_labels: one per row and column, or none at all.
      title: above the grid.
      colorbar: the scale that all heat maps among the images share, drawn at the right.
    """
    columns = max(len(row) for row in images)
    height, width = next(image for row in images for image in row if image is not None).shape[:2]
    left, right = (_ROW_LABEL if row_labels else 0.0), (_COLOR_BAR if colorbar else 0.0)
    cell = min((WIDTH - 2 * _MARGIN - left - right) / columns, _LARGEST_CELL)
    characters = max(8, int(cell * _CHARACTERS_PER_INCH))
    head = [textwrap.fill(label, characters, break_long_words=False) for label in column_labels]
    lines = max((label.count("\n") + 1 for label in head), default=0)
    layout = _Layout(
        rows=len(images),
        columns=columns,
        cell_width=cell,
        cell_height=cell * height / width,
        left=left,
        right=right,
        top=_LINE * lines + (_GAP if lines else 0.0) + (_TITLE if title else 0.0),
    )
    figure = Figure(figsize=(layout.width, layout.height))
    # One set of axes for all cells, in inches: to make and draw one for each takes longer than all else of a page.
    axes = layout.add_axes(figure, layout.left, 0.0, layout.grid_width, layout.grid_height)
    axes.set_axis_off()
    for i, row in enumerate(images):
        for j, image in enumerate(row):
            if image is not None:
                axes.imshow(image, aspect="auto", interpolation="lanczos", extent=layout.cell(i, j))
    axes.set(xlim=(0, layout.grid_width), ylim=(0, layout.grid_height))
    _add_labels(figure, layout, row_labels, head, title)
    if colorbar:
        _add_color_bar(figure, layout, colorbar)
    return figure


@dataclass(frozen=True)
class _Layout:
    """Where the cells of a grid are: sizes in inches, from the lower left corner of what is inside the margin."""

    rows: int
    columns: int
    cell_width: float
    cell_height: float
    left: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.left + self.grid_width + self.right + 2 * _MARGIN

    @property
    def grid_width(self) -> float:
        return self.cell_width * self.columns

    @property
    def grid_height(self) -> float:
        return self.cell_height * self.rows

    @property
    def height(self) -> float:
        return self.grid_height + self.top + 2 * _MARGIN

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place in inches as shares of the figure's width and height."""
        return (_MARGIN + x) / self.width, (_MARGIN + y) / self.height

    def add_axes(self, figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
        return figure.add_axes((*self.at(x, y), width / self.width, height / self.height))

    def cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of a cell, from the grid's lower left corner."""
        x, y = self.cell_width * column, self.cell_height * (self.rows - 1 - row)
        return x, x + self.cell_width, y, y + self.cell_height


def _add_labels(
    figure: Figure, layout: _Layout, row_labels: Sequence[str], column_labels: Sequence[str], title: str
) -> None:
    for i, label in enumerate(row_labels):
        x, y = layout.at(0.0, layout.cell_height * (layout.rows - 0.5 - i))
        text = textwrap.fill(label, _ROW_LABEL_CHARACTERS)
        figure.text(x, y, text, va="center", parse_math=False)
    for j, label in enumerate(column_labels):
        x, y = layout.at(layout.left + layout.cell_width * (j + 0.5), layout.grid_height + 0.06)
        figure.text(x, y, label, ha="center", linespacing=1.1, parse_math=False)
    if title:
        x, y = layout.at(0.0, layout.grid_height + layout.top)
        figure.text(x, y, title, ha="left", va="top", fontsize=10.5)


def _add_color_bar(figure: Figure, layout: _Layout, colors: ColorScale) -> None:
    height = min(layout.grid_height * 0.86, _TALLEST_COLOR_BAR)
    left = layout.left + layout.grid_width + _COLOR_BAR - 0.62
    bottom = (layout.grid_height - height) / 2
    axes = layout.add_axes(figure, left, bottom, _COLOR_BAR_WIDTH, height)
    scale = ScalarMappable(Normalize(colors.low, colors.high), colors.cmap)
    bar = figure.colorbar(scale, cax=axes, extend="max" if colors.is_cut else "neither")
    bar.outline.set_visible(False)  # type: ignore[operator]
    cut = f"; cut, the largest is {colors.largest:.3g}" if colors.is_cut else ""
    bar.set_label(f"{colors.label}{cut}")
    axes.grid(False)
