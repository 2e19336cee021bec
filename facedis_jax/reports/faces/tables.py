"""Rows of the tables on a face report, from `evaluate`'s results and the paper's numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.reports.faces.published import Paper, Published, methods, published
from facedis_jax.reports.sections import mean_and_deviation, verdict

Row = dict[str, object]

_ERRORS = (
    # The label in the table, the name in the results, and which statistic; beside means stand standard deviations.
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
    """Errors of the model, of both linear models, and of the paper's model on its own data.

    Args:
      results: from `evaluate`.
      paper: whose numbers stand beside ours.
      conditional: whether the paper's conditional model is the one to compare with.

    Returns:
      Rows of `measure`, `ours`, `PCA`, `linear model`, `required below` (what ours must be below, and whether it is),
      `paper` and `where` (in the paper).
    """
    theirs = published(paper, conditional=conditional)
    rows = [
        *(_error_row(results, theirs, *measure) for measure in _ERRORS),
        *_truth_rows(results),
        *_intersection_rows(results, theirs),
    ]
    required = _required(results, paper)
    columns = ("measure", "ours", "PCA", "linear model", "required below", "paper", "where")
    rows = [row | {"required below": required.get(str(row["measure"]))} for row in rows]
    return [{column: row.get(column) for column in columns} for row in rows]


def _error_row(
    results: Mapping[str, Any], theirs: Mapping[str, Published], measure: str, name: str, statistic: str
) -> Row:
    rivals, paper = results["baselines"], theirs.get(f"{name}.{statistic}")
    deviation = theirs.get(f"{name}.std") if statistic == "mean" else None
    row: Row = {
        "measure": measure,
        "ours": _statistic(results, name, statistic),
        "PCA": _statistic(rivals["pca"], name, statistic),
        "linear model": _statistic(rivals["linear"], name, statistic),
    }
    if paper:
        shown = f"{paper.value:.3f} ± {deviation.value:.3f}" if deviation else paper.value
        row |= {"paper": shown, "where": paper.where}
    return row


def _truth_rows(results: Mapping[str, Any]) -> list[Row]:
    """Distances to the faces without noise, where those are known."""
    labels = {
        "reconstruction_mm": "reconstruction to noise-free face (mm)",
        "input_noise_mm": "noise of the input (mm)",
        "neutral_mm": "neutral to true neutral (mm)",
        "neutral_target_noise_mm": "noise of the neutral target (mm)",
    }
    truth = results.get("truth", {})
    return [{"measure": label, "ours": truth[name]} for name, label in labels.items() if name in truth]


def _intersection_rows(results: Mapping[str, Any], theirs: Mapping[str, Published]) -> list[Row]:
    rows: list[Row] = []
    for place, kind in (("input", "true"), ("reconstruction", "reconstructed")):
        row: Row = {
            "measure": f"self-intersections, {place}",
            "ours": _few_digits(results["self_intersections"][kind]),
        }
        paper = theirs.get(f"self_intersections.{kind}")
        rows.append(row | ({"paper": _few_digits(paper.value), "where": paper.where} if paper else {}))
    return rows


def code_rows(results: Mapping[str, Any]) -> list[Row]:
    """Measures of both codes: rows of `measure`, `identity code`, `expression code` and `meaning`."""
    probes, information = results["probes"], results["mutual_information_nats"]
    most = information["upper_bound"]

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
                f"{factor}, accuracy of a linear classifier",
                accuracy(f"{factor}_from_identity"),
                accuracy(f"{factor}_from_expression"),
                "too few classes" if chance is None else f"chance {100 * chance['chance']:.1f}%",
            )
        )
    return rows


def score_rows(results: Mapping[str, Any]) -> list[Row]:
    """MIG, SAP and DCI over all latents together; no rows where they could not be computed."""
    names = {
        "mig": ("MIG", "difference between the two most informative latents, mean over factors"),
        "sap": ("SAP", "difference between the two best linear predictors, mean over factors"),
        "dci_disentanglement": ("DCI disentanglement", "whether each latent is used for one factor alone"),
        "dci_completeness": ("DCI completeness", "whether each factor is predicted from one latent alone"),
        "dci_informativeness": ("DCI informativeness", "how well the factors are predicted from all latents"),
    }
    scores = results["latent_scores"] or {}
    return [
        {"score": label, "value": scores[name], "meaning": meaning}
        for name, (label, meaning) in names.items()
        if name in scores
    ]


def expression_rows(predictions: Predictions, face_set: FaceSet) -> list[Row]:
    """Mean errors of the test faces by expression."""
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
    """The paper's comparison of methods, means in mm."""
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
    """The data that the model was trained and tested on."""
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


def _required(results: Mapping[str, Any], paper: Paper) -> dict[str, str]:
    """What errors must be below, and whether they are, by measure.

    The neutral error has a requirement only where test subjects are in the training data (CoMA).
    """
    reconstruction, neutral = results["reconstruction_mm"]["mean"], results["neutral_mm"]["mean"]
    pca = results["baselines"]["pca"]["reconstruction_mm"]["mean"]
    required = {"reconstruction (mm)": f"PCA: {verdict(reconstruction < pca)}"}
    if paper == "coma":
        required["neutral (mm)"] = f"¼ reconstruction: {verdict(neutral < reconstruction / 4)}"
    return required


def _few_digits(value: float) -> str:
    return f"{value:.4g}"


def _statistic(results: Mapping[str, Any] | None, name: str, statistic: str) -> object:
    if results is None or name not in results:
        return None
    values = results[name]
    if statistic == "mean" and "std" in values:
        return mean_and_deviation(values, decimals=3)
    return values[statistic]


def _both(values: Mapping[str, float]) -> tuple[float, float]:
    return values["identity"], values["expression"]
