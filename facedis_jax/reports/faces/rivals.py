"""The page of several methods on the same faces: the papers' tables in full, and faces side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.evaluation.faces import Predictions, vertex_distances
from facedis_jax.rendering.faces import Camera, render_faces
from facedis_jax.reports.faces.published import DATA_NAMES, Paper, methods
from facedis_jax.reports.faces.tables import data_rows
from facedis_jax.reports.grids import ColorScale, grid_figure
from facedis_jax.reports.page import IllustratedPage
from facedis_jax.reports.sections import mean_and_deviation, percent
from facedis_jax.training import RunFolder

SIZE = (200, 250)

# Of results.json, by the path of names in a method's row.
MEASURES: Mapping[str, tuple[str, ...]] = {
    "reconstruction_mm": ("reconstruction_mm", "mean"),
    "reconstruction_median_mm": ("reconstruction_mm", "median"),
    "registered_reconstruction_mm": ("registered", "reconstruction_mm", "mean"),
    "neutral_mm": ("neutral_mm", "mean"),
    "disentanglement_mm": ("disentanglement_mm", "mean"),
    "disentanglement_per_vertex_mm": ("disentanglement_per_vertex_mm", "mean"),
    "expression_disentanglement_mm": ("expression_disentanglement_mm", "mean"),
    "transfer_mm": ("transfer_mm", "mean"),
    "expression_from_identity": ("probes", "expression_from_identity", "accuracy"),
    "subject_from_expression": ("probes", "subject_from_expression", "accuracy"),
    "subject_from_identity": ("probes", "subject_from_identity", "accuracy"),
    "expression_from_expression": ("probes", "expression_from_expression", "accuracy"),
    "rank_1_identity_codes": ("rank_1", "identity_codes"),
    "rank_1_neutrals": ("rank_1", "neutrals"),
    "self_intersections": ("self_intersections", "reconstructed"),
    "parameters": ("parameters",),
    "seconds": ("seconds",),
}

# What the paper's tables call the methods.
_IN_PAPER = {
    "ib_vae": "IB-VAE",
    "mesh_ae": "MeshAE",
    "spiral_net": "SpiralNet++",
    "jiang": "Jiang et al.",
    "zhang": "Zhang et al.",
    "linear": "FLAME",
}


@dataclass(frozen=True)
class RivalResults:
    """Results of several methods.

    Attributes:
      rows: of each method and seed, as in results.json.
      summary: of each method, from `summarise`.
      shown: predictions of each method for the same few test faces.
      titles: what the methods are called.
      face_set: the data.
      latents: lengths of the identity and the expression code.
      paper: which of the paper's data sets to compare with.
    """

    rows: Sequence[Mapping[str, Any]]
    summary: Sequence[Mapping[str, Any]]
    shown: Mapping[str, Predictions]
    titles: Mapping[str, str]
    face_set: FaceSet
    latents: tuple[int, int]
    paper: Paper


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each method the mean and the half-width of the 95 % interval (Student's t) over its seeds.

    Args:
      rows: of each method and seed: "method", and the measures by the names of results.json.

    Returns:
      In the order of the methods: "method", "seeds", means under the names of `MEASURES` and half-widths under these
      with "_interval"; None for what a method or a data set has not, and for the interval of a single seed.
    """
    summary = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        entry: dict[str, Any] = {"method": method, "seeds": len(own)}
        for name, path in MEASURES.items():
            values = [_at(row, path) for row in own]
            known = np.array([value for value in values if value is not None], float)
            entry[name] = float(known.mean()) if len(known) else None
            half = None
            if len(known) > 1:
                half = float(stats.t.ppf(0.975, len(known) - 1) * stats.sem(known))
            entry[f"{name}_interval"] = half
        summary.append(entry)
    return summary


def write_rivals_report(folder: RunFolder, results: RivalResults, *, title: str, subtitle: str, command: str) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run; the page is written last.
      results: what was measured.
      title, subtitle: at the top of the page.
      command: what made the run, as it is typed.
    """
    page = IllustratedPage(title, subtitle, folder.figures)
    page.paragraph(_verdict(results))
    page.command(command)
    page.heading("Errors")
    page.table(
        error_rows(results),
        caption="Mean over the test faces, with the 95 % interval over seeds. Disentanglement is Eq. 14, and Jiang et "
        "al.'s form of it. Of methods that do not tell identity from expression, there is only the reconstruction. The "
        f"paper's numbers are of {DATA_NAMES[results.paper]} itself, SpiralNet++'s with 16 latents.",
    )
    page.heading("What codes tell")
    page.table(
        code_rows(results),
        caption="Linear classifiers of training faces' codes: of expressions by the identity code and of people by the "
        "expression code, both of which should be near chance, and the reverse; people recognised by identity codes "
        "and by predicted neutrals; another's expression on a person, against the truth.",
    )
    page.heading("Cost")
    page.table(cost_rows(results), caption="Of the training alone, with compilation, on this device.")
    _faces(page, results)
    page.heading("Data")
    page.table(data_rows(results.face_set))
    page.write(folder.report_file)


def error_rows(results: RivalResults) -> list[dict[str, object]]:
    """The papers' Tables 1 to 3: the errors of each method, with the paper's own numbers beside them."""
    published = {method.name: method for method in methods(results.paper)}
    rows: list[dict[str, object]] = []
    for entry in results.summary:
        paper = published.get(_IN_PAPER.get(entry["method"], ""))
        rows.append(
            {
                "method": results.titles[entry["method"]],
                "reconstruction (mm)": _interval(entry, "reconstruction_mm"),
                "registered (mm)": _interval(entry, "registered_reconstruction_mm"),
                "neutral (mm)": _interval(entry, "neutral_mm"),
                "disentanglement (mm)": _interval(entry, "disentanglement_mm"),
                "per vertex (mm)": _interval(entry, "disentanglement_per_vertex_mm"),
                "paper: reconstruction": None if paper is None else paper.reconstruction,
                "paper: disentanglement": None if paper is None else paper.disentanglement,
            }
        )
    return rows


def code_rows(results: RivalResults) -> list[dict[str, object]]:
    """Classifiers both ways, recognition and transfers of each method that tells identity from expression."""
    names = {
        "expression_from_identity": "expression by identity",
        "subject_from_expression": "person by expression",
        "subject_from_identity": "person by identity",
        "expression_from_expression": "expression by expression",
        "rank_1_identity_codes": "rank 1, codes",
        "rank_1_neutrals": "rank 1, neutrals",
    }
    rows: list[dict[str, object]] = []
    for entry in results.summary:
        if entry["neutral_mm"] is None:
            continue
        row: dict[str, object] = {"method": results.titles[entry["method"]]}
        row |= {label: None if entry[name] is None else percent(entry[name]) for name, label in names.items()}
        rows.append(row | {"transfer (mm)": _interval(entry, "transfer_mm")})
    return rows


def cost_rows(results: RivalResults) -> list[dict[str, object]]:
    """Parameters, time of training and self-intersections of each method."""
    true = next((row["self_intersections"]["true"] for row in results.rows), None)
    rows: list[dict[str, object]] = [
        {
            "method": results.titles[entry["method"]],
            "parameters": f"{entry['parameters']:,.0f}",
            "seconds": f"{entry['seconds']:.0f}" if entry["seconds"] else None,
            "self-intersections": entry["self_intersections"],
        }
        for entry in results.summary
    ]
    return [*rows, {"method": "the faces themselves", "self-intersections": true}]


def _verdict(results: RivalResults) -> str:
    """Whether ours is below each rival in disentanglement, first."""
    entries = {entry["method"]: entry for entry in results.summary}
    ours = entries.get("ib_vae")
    others = {name: e for name, e in entries.items() if name != "ib_vae" and e["disentanglement_mm"] is not None}
    if ours is None or not others:
        return "Methods that tell identity from expression are not compared with ours here."
    better = [
        f"{results.titles[name]} ({entry['disentanglement_mm']:.3f} mm)"
        for name, entry in others.items()
        if entry["disentanglement_mm"] <= ours["disentanglement_mm"]
    ]
    at = f"{ours['disentanglement_mm']:.3f} mm"
    if better:
        return f"Disentanglement: ours, at {at}, is not below {', '.join(better)}."
    return f"Disentanglement: ours, at {at}, is below all {len(others)} others."


def _faces(page: IllustratedPage, results: RivalResults) -> None:
    """Reconstructions, their errors and neutrals of the same faces by all methods."""
    if not results.shown:
        return
    first = next(iter(results.shown.values()))
    triangles = results.face_set.triangles
    camera = Camera.framing(first.vertices, size=SIZE)
    separate = {row["method"] for row in results.rows if row["separates"]}
    errors = {name: vertex_distances(each.reconstruction, each.vertices) for name, each in results.shown.items()}
    high = float(np.ceil(np.quantile(np.concatenate([e.ravel() for e in errors.values()]), 0.99)))

    def draw(faces: np.ndarray, scalars: np.ndarray | None = None) -> list[np.ndarray | None]:
        clim = None if scalars is None else (0.0, high)
        return [*render_faces(faces, triangles, size=SIZE, camera=camera, scalars=scalars, clim=clim)]

    labels = [
        f"{results.face_set.subjects[s]}, {results.face_set.expressions[e]}"
        for s, e in zip(first.subject, first.expression, strict=True)
    ]
    names = {name: results.titles[name] for name in results.shown}
    page.heading("Faces side by side")
    page.illustration(
        "reconstructions",
        grid_figure(
            [draw(first.vertices), *(draw(each.reconstruction) for each in results.shown.values())],
            row_labels=["test face", *names.values()],
            column_labels=labels,
        ),
        alt="Test faces and their reconstructions, one row for each method",
        caption="The same test faces, one of each person, by all methods.",
    )
    page.illustration(
        "errors",
        grid_figure(
            [draw(each.vertices, errors[name]) for name, each in results.shown.items()],
            row_labels=[*names.values()],
            column_labels=labels,
            colorbar=ColorScale(0.0, high, "mm", largest=float(max(e.max() for e in errors.values()))),
        ),
        alt="Heat maps of the distance between faces and reconstructions, one row for each method",
        caption="How far the reconstructions are from these faces.",
    )
    if separate:
        page.illustration(
            "neutrals",
            grid_figure(
                [
                    draw(first.neutral_target),
                    *(draw(results.shown[name].neutral) for name in names if name in separate),
                ],
                row_labels=["neutral face", *(title for name, title in names.items() if name in separate)],
                column_labels=labels,
            ),
            alt="The people's neutral faces and what methods predict them to be",
            caption="The same people at rest, as the identity code alone shows them.",
        )


def _interval(entry: Mapping[str, Any], name: str) -> str | None:
    mean, half = entry[name], entry[f"{name}_interval"]
    if mean is None:
        return None
    return f"{mean:.3f}" if half is None else mean_and_deviation({"mean": mean, "std": half}, decimals=3)


def _at(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = values
    for name in path:
        found = (found or {}).get(name)
    return found
