"""Rows of tables from `evaluate`'s results, the paper's figures beside them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.reports.faces.published import Paper, methods, published

Row = dict[str, object]

_ERRORS = (
    # What the table says, and the name in the results; the mean's row has the deviation beside it.
    ("reconstruction (mm)", "reconstruction_mm", "mean"),
    ("reconstruction, median (mm)", "reconstruction_mm", "median"),
    ("reconstruction, pooled (mm)", "reconstruction_pooled_mm", "mean"),
    ("reconstruction, pooled, median (mm)", "reconstruction_pooled_mm", "median"),
    ("neutral (mm)", "neutral_mm", "mean"),
    ("neutral, median (mm)", "neutral_mm", "median"),
    ("disentanglement (mm)", "disentanglement_mm", "mean"),
    ("disentanglement, median (mm)", "disentanglement_mm", "median"),
    ("disentanglement by vertex (mm)", "disentanglement_per_vertex_mm", "mean"),
    ("disentanglement by vertex, median (mm)", "disentanglement_per_vertex_mm", "median"),
)


def result_rows(results: Mapping[str, Any], paper: Paper, *, conditional: bool = False) -> list[Row]:
    """Errors of the model, of both linear models and of the paper's model, which saw other data.

    Args:
      results: from `evaluate`.
      paper: whose figures stand beside ours.
      conditional: whether the paper's conditional model is the one to stand beside.

    Returns:
      Rows of `measure`, `ours`, `PCA`, `linear model`, `bar` (what ours must be below, and whether it is),
      `paper` and `where` (in the paper).
    """
    theirs = published(paper, conditional=conditional)
    floors = results["baselines"]
    bars = _bars(results, paper)
    rows: list[Row] = []

    def add(measure: str, ours: object, name: str = "", **others: object) -> None:
        figure = theirs.get(name)
        rows.append(
            {
                "measure": measure,
                "ours": ours,
                "PCA": others.get("pca"),
                "linear model": others.get("linear"),
                "bar": bars.get(measure),
                "paper": others.get("paper", figure and figure.value),
                "where": figure and figure.where,
            }
        )

    for measure, name, statistic in _ERRORS:
        deviation = theirs.get(f"{name}.std") if statistic == "mean" else None
        figure = theirs.get(f"{name}.{statistic}")
        add(
            measure,
            _statistic(results, name, statistic),
            f"{name}.{statistic}",
            pca=_statistic(floors["pca"], name, statistic),
            linear=_statistic(floors["linear"], name, statistic),
            **({"paper": f"{figure.value:.3f} ± {deviation.value:.3f}"} if figure and deviation else {}),
        )
    truth = results.get("truth")
    if truth:
        add("reconstruction to noise-free face (mm)", truth["reconstruction_mm"])
        add("noise of the input (mm)", truth["input_noise_mm"])
        add("neutral to true neutral (mm)", truth["neutral_mm"])
        add("noise of the neutral target (mm)", truth["neutral_target_noise_mm"])
    crossing = results["self_intersections"]
    for place, kind in (("input", "true"), ("reconstruction", "reconstructed")):
        name = f"self_intersections.{kind}"
        paper_count = {"paper": _few_digits(theirs[name].value)} if name in theirs else {}
        add(f"self-intersections, {place}", _few_digits(crossing[kind]), name, **paper_count)
    return rows


def code_rows(results: Mapping[str, Any]) -> list[Row]:
    """What each code holds: rows of `measure`, `identity code`, `expression code` and `meaning`."""
    probes, information = results["probes"], results["mutual_information_nats"]
    most = information["most"]

    def row(measure: str, identity: object, expression: object, meaning: str) -> Row:
        return {
            "measure": measure,
            "identity code": identity,
            "expression code": expression,
            "meaning": meaning,
        }

    def active(name: str) -> str:
        return f"{results['active_latents'][name]} of {results['latents'][name]}"

    def accuracy(name: str) -> str | None:
        found = probes[name]
        return None if found is None else f"{100 * found['accuracy']:.1f}%"

    rows = [
        row(
            "active latents",
            active("identity"),
            active("expression"),
            "the others have collapsed to the prior",
        ),
        row("KL to the prior (nats)", *_both(results["kl_nats"]), "per test face"),
        row(
            "mutual information with the face (nats)",
            *_both(information),
            f"over {results['code_faces']} training faces, so at most {most:.2f}",
        ),
    ]
    for factor, leak in (("subject", "expression"), ("expression", "identity")):
        chance = probes[f"{factor}_from_{leak}"]
        rows.append(
            row(
                f"{factor} named by a linear classifier",
                accuracy(f"{factor}_from_identity"),
                accuracy(f"{factor}_from_expression"),
                "too few classes" if chance is None else f"chance {100 * chance['chance']:.1f}%",
            )
        )
    return rows


def score_rows(results: Mapping[str, Any]) -> list[Row]:
    """MIG, SAP and DCI over all latents together; none where they could not be taken."""
    names = {
        "mig": ("MIG", "lead of the most informative latent over the second, for each factor"),
        "sap": ("SAP", "lead of the best linear predictor over the second, for each factor"),
        "dci_disentanglement": ("DCI disentanglement", "how far each latent serves one factor alone"),
        "dci_completeness": ("DCI completeness", "how far each factor is served by one latent alone"),
        "dci_informativeness": ("DCI informativeness", "how well the factors are read from all latents"),
    }
    scores = results["latent_scores"] or {}
    return [
        {"score": label, "value": scores[name], "meaning": meaning}
        for name, (label, meaning) in names.items()
        if name in scores
    ]


def expression_rows(predictions: Predictions, face_set: FaceSet) -> list[Row]:
    """Errors of the test faces by expression."""
    errors = {
        "reconstruction (mm)": vertex_distances(predictions.reconstruction, predictions.vertices).mean(axis=1),
        "neutral (mm)": vertex_distances(predictions.neutral, predictions.neutral_target).mean(axis=1),
    }
    rows: list[Row] = []
    for number in np.unique(predictions.expression):
        own = predictions.expression == number
        row: Row = {"expression": face_set.expressions[number], "test faces": int(own.sum())}
        row["mean level"] = float(predictions.level[own].mean())
        rows.append(row | {name: float(values[own].mean()) for name, values in errors.items()})
    return rows


def paper_rows(paper: Paper) -> list[Row]:
    """The paper's own comparison, in mm."""
    return [
        {
            "method": method.name,
            "disentanglement (mm)": method.disentanglement,
            "reconstruction (mm)": method.reconstruction,
            "neutral (mm)": method.neutral,
        }
        for method in methods(paper)
    ]


def data_rows(face_set: FaceSet) -> list[Row]:
    """What the model was trained and tested on."""
    facts = {
        "set and split": face_set.name,
        "training faces": len(face_set.train),
        "test faces": len(face_set.test),
        "subjects": len(face_set.subjects),
        "expressions": len(face_set.expressions),
        "vertices of a face": face_set.neutrals.shape[1],
        "triangles of a face": len(face_set.triangles),
        "unit": f"mm; the networks see mm / {face_set.scale:g}",
        "content (sha256)": face_set.content_hash,
    }
    return [{"data": name, "value": str(value)} for name, value in facts.items()]


def _bars(results: Mapping[str, Any], paper: Paper) -> dict[str, str]:
    """What must be undercut, by measure; people who were never seen are no match for their own neutrals."""
    reconstruction, neutral = results["reconstruction_mm"]["mean"], results["neutral_mm"]["mean"]
    pca = results["baselines"]["pca"]["reconstruction_mm"]["mean"]
    bars = {"reconstruction (mm)": ("PCA", reconstruction < pca)}
    if paper == "coma":
        bars["neutral (mm)"] = ("¼ reconstruction", neutral < reconstruction / 4)
    return {measure: f"{bar}: {'met' if met else 'missed'}" for measure, (bar, met) in bars.items()}


def _few_digits(value: float) -> str:
    return f"{value:.4g}"


def _statistic(results: Mapping[str, Any] | None, name: str, statistic: str) -> object:
    if results is None or name not in results:
        return None
    values = results[name]
    if statistic == "mean" and "std" in values:
        return f"{values['mean']:.3f} ± {values['std']:.3f}"
    return values[statistic]


def _both(values: Mapping[str, float]) -> tuple[float, float]:
    return values["identity"], values["expression"]
