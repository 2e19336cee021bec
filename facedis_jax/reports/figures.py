"""Charts of a report, all in one style: identity codes, training curves, the trade-off of Figure 3, histograms.

Each function returns a matplotlib `Figure` and touches no global state.
"""

import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter

from facedis_jax.formats.whole import write_whole

WIDTH = 10.0  # inches, of a figure as wide as the page
DPI = 160

INK, MUTED, GRID = "#262626", "#6b6b6b", "#e4e4e4"
# Okabe and Ito's colours, distinct with any colour vision, without the yellow, which is too pale for a line.
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
    # Inches, so that no label touches the border.
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
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


@matplotlib.rc_context(STYLE)
def code_scatter(
    points: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    explained: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Scatter plot of codes in the plane of their first two principal components, labelled by subject (Figure 5).

    Args:
      points: [n, 2].
      labels: [n], indices into `names`.
      names: one per subject.
      explained: share of the variance along each component, from 0 to 1.
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
    """Line plots over the training steps, one panel for each quantity, with a line for each split.

    Args:
      rows: of `metrics.jsonl`: `step`, `split` ("train" or "test") and numbers by name, which may end in a unit
        ("kl_nats").
      quantities: which ones to show, in this order; by default all of `metric_names`.
    """
    quantities = quantities or metric_names(rows)
    columns = min(3, max(1, len(quantities)))
    panels = math.ceil(len(quantities) / columns)
    figure = Figure(figsize=(WIDTH, 2.2 * max(1, panels) + 0.3), layout=ConstrainedLayoutEngine(h_pad=0.09, w_pad=0.06))
    lines = {}
    for i, quantity in enumerate(quantities):
        axes = figure.add_subplot(panels, columns, i + 1, title=quantity_label(quantity))
        shown = []
        for split, color in zip(("train", "test"), COLORS, strict=False):
            curve = [(r["step"], r[quantity]) for r in rows if r.get("split") == split and quantity in r]
            steps, values = np.array(curve, float).reshape(-1, 2).T
            if len(steps):
                marker = "o" if len(steps) < 15 else ""
                (lines[split],) = axes.plot(steps, values, color=color, marker=marker, markersize=3, label=split)
                shown.append(values[np.isfinite(values)])
        every = np.concatenate([*shown, np.empty(0)])
        if every.size and every.min() > 0 and every.max() > 20 * every.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if i >= len(quantities) - columns:
            axes.set_xlabel("step")
    if figure.axes:
        # One legend for all panels, in one that has lines of both splits where there is such a panel.
        max(figure.axes, key=lambda axes: len(axes.lines)).legend(list(lines.values()), list(lines))
    return figure


def metric_names(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of the metrics in rows of `metrics.jsonl`: all numbers but counters, rates and speeds."""
    names = {key: None for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    return [key for key in names if key not in _NOT_METRICS and not key.endswith("_per_second")]


@matplotlib.rc_context(STYLE)
def tradeoff(rows: Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """Line plots of disentanglement and reconstruction error over the weight of the mutual information (Figure 3).

    Each weight of the identity loss has a line, the mean over seeds, in a band from the lowest to the highest seed.

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
    """Histograms of an error per face, for one or several models, with their means.

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


@matplotlib.rc_context(STYLE)
def share_bars(shares: Mapping[str, Mapping[str, float]], *, label: str) -> Figure:
    """Horizontal bars of shares, a group for each name, with a line at 1.

    Args:
      shares: name of the model -> name of the group -> share; all models have the groups of the first.
      label: of the horizontal axis.
    """
    groups = list(next(iter(shares.values())))
    thickness = 0.8 / len(shares)
    figure = Figure(figsize=(WIDTH * 0.72, 0.6 + 0.17 * len(groups) * (1 + len(shares))), layout="constrained")
    axes = figure.add_subplot(xlabel=label)
    places = np.arange(len(groups), dtype=float)
    for k, ((name, values), color) in enumerate(zip(shares.items(), COLORS, strict=False)):
        widths = [values[group] for group in groups]
        bars = axes.barh(places + (k + 0.5) * thickness - 0.4, widths, thickness, color=color, alpha=0.85, label=name)
        halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
        labels = [f"{width:.2f}" for width in widths]
        axes.bar_label(bars, labels, padding=2, fontsize=7.5, color=INK, path_effects=halo)
    axes.axvline(1, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0.5)
    axes.set_yticks(places, [group.replace("_", " ") for group in groups])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    figure.legend(loc="outside upper right", ncols=len(shares))
    return figure


def _plain(value: float, position: int | None = None) -> str:
    return f"{value:g}"


def quantity_label(name: str) -> str:
    """The label of a metric on an axis, with its unit in parentheses.

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
