"""Parts that the pages of several experiments share."""

from collections.abc import Mapping, Sequence
from typing import Any

from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.page import IllustratedPage


def run_details(data: str, shape: Sequence[int | str], model: Mapping[str, Any], device: str) -> str:
    """One line on a run, for below a page's title.

    Args:
      data: name of the data set.
      shape: of an example.
      model: "steps" and "seconds" of its training.
      device: what it ran on.

    Example:
      >>> run_details("MNIST", (32, 32), {"steps": 9, "seconds": 30.0}, "1 x cpu")
      'MNIST, 32 x 32, 9 steps in 0.5 min on 1 x cpu'
    """
    sizes = " x ".join(map(str, shape))
    return f"{data}, {sizes}, {model['steps']} steps in {model['seconds'] / 60:.1f} min on {device}"


def mean_and_deviation(entry: Mapping[str, float], *, decimals: int = 2, scale: float = 1.0) -> str:
    """Mean and standard deviation as a table's cell shows them, both times `scale`.

    Example:
      >>> mean_and_deviation({"mean": 0.5, "std": 0.031}, decimals=1, scale=100)
      '50.0 ± 3.1'
    """
    mean, deviation = scale * entry["mean"], scale * entry["std"]
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def percent(share: float) -> str:
    """A share from 0 to 1 in per cent, with one decimal, so that one in ninety is not none.

    Example:
      >>> percent(1 / 90)
      '1.1%'
    """
    return f"{100 * share:.1f}%"


def training_time(model: Mapping[str, Any]) -> dict[str, object]:
    """Cells "steps" and "minutes" of a model's row; both None for a model that was not trained in this run."""
    steps = model["steps"] or None
    return {"steps": steps, "minutes": model["seconds"] / 60 if steps else None}


def verdict(met: bool) -> str:
    """Whether a requirement is met, in a word."""
    return "met" if met else "missed"


def show_training_curves(
    page: IllustratedPage,
    rows: Sequence[Mapping[str, Any]],
    *,
    model: str,
    caption: str,
    name: str = "curves",
) -> None:
    """Adds the curves of one model.

    Args:
      page: to add to.
      rows: of the model's metrics.jsonl.
      model: what the model is called.
      caption: below the curves.
      name: of the figure's file.
    """
    page.illustration(name, training_curves(rows), alt=f"Training curves of the {model}", caption=caption)
