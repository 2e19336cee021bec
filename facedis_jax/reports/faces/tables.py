"""Rows of the tables on a face report, from `evaluate`'s results and the paper's numbers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.reports.faces.published import Paper, Published, methods, published
from facedis_jax.reports.sections import mean_and_deviation, percent, verdict

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
    ("expression on another person (mm)", "transfer_mm", "mean"),
)


_EXPRESSION_ERRORS = {
    "expression_disentanglement_mm": "Eq. 14 of expressions (mm)",
    "expression_disentanglement_per_vertex_mm": "Jiang et al.'s error (mm)",
}


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
    information = results["mutual_information_nats"]
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
        *_classifier_rows(results, row),
    ]
    found = results["rank_1"]
    if found:
        meaning = f"chance {percent(found['chance'])}; by predicted neutrals {percent(found['neutrals'])}"
        rows.append(row("test people, by the nearest face", percent(found["identity_codes"]), None, meaning))
    return rows


def _classifier_rows(results: Mapping[str, Any], row: Callable[..., Row]) -> list[Row]:
    """What linear classifiers read from either code of this model and of the linear one."""
    probes, linear = results["probes"], (results["baselines"]["linear"] or {}).get("probes", {})

    def accuracy(name: str, of: Mapping[str, Any] = probes) -> str | None:
        return percent(of[name]["accuracy"]) if of.get(name) else None

    rows = []
    for factor, leak in (("subject", "expression"), ("expression", "identity")):
        names = (f"{factor}_from_identity", f"{factor}_from_expression")
        chance = probes[f"{factor}_from_{leak}"]
        meaning = "too few classes" if chance is None else f"chance {percent(chance['chance'])}"
        given_away = accuracy("subject_from_true_offsets") if factor == "subject" else None
        if given_away:
            meaning += f"; from true offsets {given_away}"
        rows.append(row(f"{factor}, accuracy of a linear classifier", *map(accuracy, names), meaning))
        rest = accuracy("subject_from_expression_at_rest") if factor == "subject" else None
        if rest:
            rows.append(row("subject, of faces at rest", None, rest, "where nobody moves in their own way"))
        if linear:
            values = (accuracy(name, linear) for name in names)
            rows.append(row(f"{factor}, from the linear model's codes", *values, "as many latents"))
    return rows


def transfer_rows(results: Mapping[str, Any], *, is_synthetic: bool) -> list[Row]:
    """What becomes of expressions on other people: rows of `measure`, `ours`, `linear model` and `meaning`.

    Args:
      results: from `evaluate`.
      is_synthetic: whether the truth is known.
    """
    linear = results["baselines"]["linear"] or {}
    truth = "their neutral, the donor's expression units" if is_synthetic else "their neutral + the donor's offset"
    people = results["transfer"].get("people")
    varies = {name: _at(results, (name, "true")) for name in _EXPRESSION_ERRORS}
    twins = [
        (label, (name, "mean"), _millimetres, f"of one expression over people; of the true faces {varies[name]:.3f}")
        for name, label in _EXPRESSION_ERRORS.items()
        if varies[name] is not None
    ]
    measures: list[tuple[str, tuple[str, ...], Callable[[float], str], str]] = [
        ("error (mm)", ("transfer_mm", "mean"), _millimetres, f"from the truth: {truth}"),
        (
            "reconstruction of these (mm)",
            ("transfer", "reconstruction_mm", "mean"),
            _millimetres,
            "of the donors' faces",
        ),
        ("donor's share", ("donor_share",), percent, "of the two neutrals' difference that is in the error"),
        ("donor's share, average apart", ("transfer", "error_shares", "donor"), percent, "towards the donor's neutral"),
        ("average's share", ("transfer", "error_shares", "average"), percent, "towards the average face"),
        (
            "nearest to their own person",
            ("transfer", "own_person"),
            percent,
            f"of {people} people with that expression",
        ),
        ("at rest, own code (mm)", ("transfer", "rest_mm", "own"), _millimetres, "distance to the true neutral"),
        ("at rest, donor's code (mm)", ("transfer", "rest_mm", "donor"), _millimetres, "distance to the true neutral"),
        *twins,
    ]
    rows: list[Row] = []
    for label, path, shown, meaning in measures:
        ours, theirs = (_at(of, path) for of in (results, linear))
        if ours is not None:
            beside = None if theirs is None else shown(theirs)
            rows.append({"measure": label, "ours": shown(ours), "linear model": beside, "meaning": meaning})
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


def expression_rows(results: Mapping[str, Any], predictions: Predictions, face_set: FaceSet) -> list[Row]:
    """Kept motion and mean errors of the test faces by expression."""
    kept, linear = results["kept_motion"] or {}, (results["baselines"]["linear"] or {}).get("kept_motion") or {}
    level = face_set.true_levels(predictions.index, predictions.level)
    errors = {
        "reconstruction (mm)": vertex_distances(predictions.reconstruction, predictions.vertices).mean(axis=1),
        "neutral (mm)": vertex_distances(predictions.neutral, predictions.neutral_target).mean(axis=1),
    }
    rows: list[Row] = []
    for number in np.unique(predictions.expression):
        own = predictions.expression == number
        name = face_set.expressions[number]
        row: Row = {"expression": name, "test faces": int(own.sum()), "mean level": float(level[own].mean())}
        row |= {"kept motion": kept.get(name), "linear model's": linear.get(name)}
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


def _at(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at a path of names; None where one of them is missing."""
    found: Any = values
    for name in path:
        found = (found or {}).get(name)
    return found


def _millimetres(value: float) -> str:
    return f"{value:.3f}"


def _few_digits(value: float) -> str:
    return f"{value:.4g}"


def _statistic(results: Mapping[str, Any] | None, name: str, statistic: str) -> object:
    if results is None or results.get(name) is None:
        return None
    values = results[name]
    if statistic == "mean" and "std" in values:
        return mean_and_deviation(values, decimals=3)
    return values[statistic]


def _both(values: Mapping[str, float]) -> tuple[float, float]:
    return values["identity"], values["expression"]
