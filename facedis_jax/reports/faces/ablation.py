"""The page of models with several weights of the bottleneck (Figure 3 and the ablation of Table 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from facedis_jax.reports.figures import tradeoff
from facedis_jax.reports.page import IllustratedPage
from facedis_jax.reports.sections import mean_and_deviation
from facedis_jax.training import RunFolder

TABLE_1 = {"Ours - No IB": (1.0, 0.0), "Ours - beta_mi = 0": (10.0, 0.0), "Ours": (10.0, 50.0)}
"""Rows of the paper's Table 1, with the weights beta_id and beta_mi of each."""

_ERRORS = ("disentanglement", "reconstruction", "neutral")


def summarise(rows: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Mean and half-width of the 95 % interval (Student's t) over seeds, for each pair of weights.

    Args:
      rows: one per model: `beta_id`, `beta_mi`, `disentanglement_mm`, `reconstruction_mm` and `neutral_mm`.

    Returns:
      Rows of `beta_id`, `beta_mi`, `seeds`, the means under the names of the errors, and the half-widths under these
      names with "_interval"; NaN for a single seed.
    """
    summary = []
    for beta_id, beta_mi in sorted({(row["beta_id"], row["beta_mi"]) for row in rows}):
        same = [row for row in rows if (row["beta_id"], row["beta_mi"]) == (beta_id, beta_mi)]
        entry: dict[str, Any] = {"beta_id": beta_id, "beta_mi": beta_mi, "seeds": len(same)}
        for name in (f"{error}_mm" for error in _ERRORS):
            values = np.array([row[name] for row in same])
            entry[name] = float(values.mean())
            half_width = float("nan")
            if len(values) > 1:
                half_width = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
            entry[f"{name}_interval"] = half_width
        summary.append(entry)
    return summary


def write_ablation_report(
    folder: RunFolder,
    rows: Sequence[Mapping[str, float]],
    summary: Sequence[Mapping[str, Any]],
    *,
    subtitle: str,
    command: str,
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      rows: one per model, as for `summarise`.
      summary: from `summarise`.
      subtitle: what was trained, and on what.
      command: what made the run, as it is typed.
    """
    page = IllustratedPage("Weights of the bottleneck", subtitle, folder.figures)
    page.command(command)
    page.illustration(
        "figure_3_tradeoff",
        tradeoff(rows),
        alt="Disentanglement and reconstruction error against beta_mi, one line for each beta_id",
        caption="Figure 3: mean over seeds, in a band from the lowest to the highest seed. A low disentanglement error "
        "is of use only with a low neutral error (below), because an uninformative identity code predicts the same "
        "neutral for all subjects.",
    )
    page.heading("Table 1, the ablation rows")
    by_weights = {(entry["beta_id"], entry["beta_mi"]): entry for entry in summary}
    page.table(
        [
            {"model": label, **_cells(by_weights[weights])}
            for label, weights in TABLE_1.items()
            if weights in by_weights
        ],
        caption="Mean and 95 % interval over seeds. The paper's disentanglement errors, on CoMA: 0.025, 0.016 and "
        "0.006 mm.",
    )
    page.heading("All weights")
    page.table([_cells(entry) for entry in summary], caption="Mean and 95 % interval over seeds.")
    page.write(folder.report_file)


def _cells(entry: Mapping[str, Any]) -> dict[str, object]:
    """A row of a table: both weights, and the errors with their intervals."""
    weights = {name: entry[name] for name in ("beta_id", "beta_mi")}
    return weights | {f"{error} (mm)": _interval(entry, f"{error}_mm") for error in _ERRORS}


def _interval(entry: Mapping[str, Any], name: str) -> str:
    mean, half_width = entry[name], entry[f"{name}_interval"]
    if not np.isfinite(half_width):
        return f"{mean:.4f}"
    return mean_and_deviation({"mean": mean, "std": half_width}, decimals=4)
