"""Figures of a report, in one quiet style; each function returns a `Figure` and touches no global state.

The figures of the IB-VAE paper that they answer to: faces side by side (4, 6, 7), identity codes (5), the
trade-off of the information bottleneck (3).
"""

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from facedis_jax.formats.whole import write_whole

WIDTH = 10.0  # inches, of a figure as wide as the page
DPI = 160

INK, MUTED, GRID = "#262626", "#6b6b6b", "#e4e4e4"
# Okabe and Ito's colours, told apart with any colour vision, the yellow left out as too pale for a line.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b5b5b")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
_NOT_METRICS = ("step", "epoch", "learning_rate", "redrawn_chains")
UNITS = {"mm": "mm", "nats": "nats", "percent": "%", "seconds": "s"}

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


class ColorScale(NamedTuple):
    """What the colours of a heat map mean: `cmap` from `low` to `high`; `label` has the unit."""

    low: float
    high: float
    label: str
    cmap: str = "viridis"


@matplotlib.rc_context(STYLE)
def face_grid(
    images: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    colorbar: ColorScale | None = None,
) -> Figure:
    """Pictures in rows and columns, as large as the page's width allows.

    Args:
      images: rows of pictures [height, width, 3 or 4] uint8 of one size; None leaves a place empty.
      row_labels, column_labels: one per row and column, or none at all.
      title: above the grid.
      colorbar: the scale that the heat maps among the pictures share, drawn at the right.
    """
    rows, columns = len(images), max(len(row) for row in images)
    height, width = next(image for row in images for image in row if image is not None).shape[:2]
    left = 1.15 if row_labels else 0.0
    right = 0.75 if colorbar else 0.0
    cell = min((WIDTH - left - right) / columns, 2.1)
    cell_height = cell * height / width
    head = [textwrap.fill(label, max(8, int(cell * 11)), break_long_words=False) for label in column_labels]
    lines = max((label.count("\n") + 1 for label in head), default=0)
    top = 0.16 * lines + (0.08 if lines else 0.0) + (0.32 if title else 0.0)
    figure_width, figure_height = left + cell * columns + right, top + cell_height * rows
    figure = Figure(figsize=(figure_width, figure_height))

    def place(x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / figure_width, y / figure_height, w / figure_width, h / figure_height))

    for i, row in enumerate(images):
        bottom = cell_height * (rows - 1 - i)
        if row_labels:
            text = textwrap.fill(row_labels[i], 16)
            figure.text(0.0, (bottom + cell_height / 2) / figure_height, text, va="center", parse_math=False)
        for j, image in enumerate(row):
            axes = place(left + cell * j, bottom, cell, cell_height)
            axes.set_axis_off()
            if image is not None:
                axes.imshow(image, aspect="auto", interpolation="lanczos")
    for j, label in enumerate(head):
        x, y = left + cell * (j + 0.5), cell_height * rows + 0.06
        x, y = x / figure_width, y / figure_height
        figure.text(x, y, label, ha="center", linespacing=1.1, parse_math=False)
    if title:
        figure.text(0.0, 1.0, title, ha="left", va="top", fontsize=10.5)
    if colorbar:
        tall = min(cell_height * rows * 0.86, 3.0)
        axes = place(figure_width - 0.62, (cell_height * rows - tall) / 2, 0.11, tall)
        scale = ScalarMappable(Normalize(colorbar.low, colorbar.high), colorbar.cmap)
        bar = figure.colorbar(scale, cax=axes)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_label(colorbar.label)
        axes.grid(False)
    return figure


@matplotlib.rc_context(STYLE)
def code_scatter(
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    explained: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Codes in the plane of their first two principal components, each subject's points named (Figure 5).

    Args:
      points: [n, 2].
      labels: [n], indices into `names`.
      names: one per subject.
      explained: the share of the variance along each component, 0 to 1.
      title: above the figure.
    """
    crowded = len(names) > 30
    figure = Figure(figsize=(WIDTH, 7.0) if crowded else (WIDTH * 0.75, 5.2), layout="constrained")
    axes = figure.add_subplot(title=title)
    halo = [patheffects.withStroke(linewidth=1.8, foreground="white")]
    for k, name in enumerate(names):
        own = points[np.asarray(labels) == k]
        if not len(own):
            continue
        color, marker = COLORS[k % len(COLORS)], MARKERS[k // len(COLORS) % len(MARKERS)]
        axes.scatter(own[:, 0], own[:, 1], s=9 if crowded else 22, c=color, marker=marker, alpha=0.6, linewidths=0)
        # Above the points, so as not to hide them, and darker: in their colour a name is too pale.
        axes.annotate(
            name,
            (own[:, 0].mean(), own[:, 1].max()),
            xytext=(0, 2 if crowded else 4),
            textcoords="offset points",
            color=0.6 * np.array(to_rgb(color)),
            fontsize=6.5 if crowded else 8.5,
            ha="center",
            va="bottom",
            parse_math=False,
            path_effects=halo,
        )
    for which, axis in enumerate((axes.xaxis, axes.yaxis)):
        share = f" ({explained[which]:.0%} of the variance)" if explained else ""
        axis.set_label_text(f"principal component {which + 1}{share}")
    axes.margins(0.06)
    return figure


@matplotlib.rc_context(STYLE)
def training_curves(rows: Sequence[Mapping[str, object]], *, quantities: Sequence[str] = ()) -> Figure:
    """One small panel for each quantity over the steps, training and held-out faces together.

    Args:
      rows: of `metrics.jsonl`: `step`, `split` ("train" or "test") and numbers by name, which may
        end in a unit ("kl_nats").
      quantities: which ones to show, in this order; by default all of `metric_names`.
    """
    quantities = quantities or metric_names(rows)
    columns = min(3, max(1, len(quantities)))
    panels = math.ceil(len(quantities) / columns)
    figure = Figure(figsize=(WIDTH, 2.2 * max(1, panels) + 0.3), layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.06))
    for i, quantity in enumerate(quantities):
        axes = figure.add_subplot(panels, columns, i + 1, title=quantity_label(quantity))
        shown = []
        for split, color in zip(("train", "test"), COLORS, strict=False):
            curve = [(r["step"], r[quantity]) for r in rows if r.get("split") == split and quantity in r]
            steps, values = np.array(curve, float).reshape(-1, 2).T
            if len(steps):
                marker = "o" if len(steps) < 15 else ""
                axes.plot(steps, values, color=color, marker=marker, markersize=3, label=split)
                shown.append(values[np.isfinite(values)])
        every = np.concatenate([*shown, np.empty(0)])
        if every.size and every.min() > 0 and every.max() > 20 * every.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if i >= len(quantities) - columns:
            axes.set_xlabel("step")
    if figure.axes:
        # Not all quantities are measured of both splits.
        max(figure.axes, key=lambda axes: len(axes.lines)).legend()
    return figure


def metric_names(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The metrics among the numbers in rows of `metrics.jsonl`, without counters, clocks and rates."""
    names = {key: None for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    return [key for key in names if key not in _NOT_METRICS and not key.endswith("_per_second")]


@matplotlib.rc_context(STYLE)
def tradeoff(rows: Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """Disentanglement and reconstruction error against the weight of the mutual information (Figure 3).

    One line for each weight of the identity loss: the mean over seeds, in a band from lowest to highest.

    Args:
      rows: one per trained model: `beta_mi`, `beta_id`, `disentanglement_mm`, `reconstruction_mm`.
      title: above the figure.
    """
    figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
    for i, quantity in enumerate(("disentanglement_mm", "reconstruction_mm")):
        axes = figure.add_subplot(1, 2, i + 1)
        for k, beta_id in enumerate(sorted({row["beta_id"] for row in rows})):
            line = [row for row in rows if row["beta_id"] == beta_id]
            weights = sorted({row["beta_mi"] for row in line})
            seeds = [[row[quantity] for row in line if row["beta_mi"] == weight] for weight in weights]
            color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
            axes.fill_between(weights, list(map(min, seeds)), list(map(max, seeds)), color=color, alpha=0.18, lw=0)
            label = f"$\\beta_{{id}}$ = {beta_id:g}"
            axes.plot(weights, list(map(np.mean, seeds)), color=color, marker=marker, markersize=4.5, label=label)
        axes.set_xlabel(r"$\beta_{mi}$")
        axes.set_ylabel(quantity_label(quantity).replace(" (", " error ("))
        if i == 0:
            axes.legend()
    return figure


@matplotlib.rc_context(STYLE)
def error_histogram(errors: Mapping[str, np.ndarray], *, label: str, title: str = "") -> Figure:
    """How an error per face is distributed, for one or several models, with their means.

    Args:
      errors: name -> [faces].
      label: of the horizontal axis, with the unit.
      title: above the figure.
    """
    figure = Figure(figsize=(WIDTH * 0.72, 2.9), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=label, ylabel="faces")
    bins = np.linspace(0, max(float(np.max(values)) for values in errors.values()) * 1.02, 51).tolist()
    for (name, values), color in zip(errors.items(), COLORS, strict=False):
        mean = float(np.mean(values))
        axes.hist(values, bins, color=color, alpha=0.25)
        axes.hist(values, bins, histtype="step", color=color, linewidth=1.4, label=f"{name}, mean {mean:.3f}")
        axes.axvline(mean, color=color, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(0, bins[-1])
    axes.legend()
    return figure


def _plain(value: float, position: int | None = None) -> str:
    return f"{value:g}"


def quantity_label(name: str) -> str:
    """What an axis says for a metric's name.

    Example:
      >>> quantity_label("expression_kl_nats")
      'expression KL (nats)'
    """
    words = [word.upper() if word in ("kl", "mi", "pca") else word for word in name.split("_")]
    if len(words) > 1 and words[-1] in UNITS:
        return f"{' '.join(words[:-1])} ({UNITS[words[-1]]})"
    return " ".join(words)


def png(figure: Figure, *, dpi: int = DPI) -> bytes:
    """The figure as PNG; the same bytes for the same figure."""
    buffer = io.BytesIO()
    options = {"compress_level": 6}
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs=options)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = DPI) -> None:
    """Writes the figure as PNG, whole or not at all."""
    write_whole(path, png(figure, dpi=dpi))
