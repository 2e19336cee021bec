"""Errors of geometry that is transferred to another set of faces, over independent runs (section 5.2, Table 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def errors_over_runs(runs: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Errors by view, with their mean and deviation over independent runs.

    Args:
      runs: view -> mean error per image, of each run.

    Returns:
      For each view "mean" and "std" over the runs (NaN for a single run), and "runs", the error of each.

    Example:
      >>> errors_over_runs([{"0": 2.0}, {"0": 4.0}])["0"]["mean"]
      3.0
    """
    table = {}
    for view in runs[0]:
        values = np.array([run[view] for run in runs])
        deviation = values.std(ddof=1) if len(values) > 1 else np.nan
        table[view] = {"mean": float(values.mean()), "std": float(deviation), "runs": values.tolist()}
    return table


def margins(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """Margin by view: the part by which the deformable generator's mean error is below the better rival's.

    Args:
      table: model -> view -> as of `errors_over_runs`.
    """
    rivals = [name for name in table if name != "deformable"]
    return {
        view: 1 - entry["mean"] / min(table[name][view]["mean"] for name in rivals)
        for view, entry in table["deformable"].items()
    }
