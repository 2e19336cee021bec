"""The page of geometry transferred to another set of faces (section 5.2), with its figures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import to_unit_range, zero_latents
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import COLORS, MARKERS, STYLE, WIDTH
from facedis_jax.reports.images.deformable import MODEL_NAMES
from facedis_jax.reports.images.figures import grid_overlays, image_grid, traversal_grid
from facedis_jax.reports.images.sections import UNSEEN, strongest_traversals
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import mean_and_deviation, show_training_curves
from facedis_jax.training import RunFolder

SHORT_NAMES = {"vae": "VAE", "abp": "ABP", "deforming_autoencoder": "deforming autoencoder", "deformable": "deformable"}

TABLE_1: Mapping[str, Mapping[str, float]] = {
    "vae": {"30": 110.99, "15": 88.98, "0": 48.78, "-15": 87.89, "-30": 107.94, "all": 89.02},
    "abp": {"30": 117.28, "15": 94.81, "0": 48.36, "-15": 94.12, "-30": 120.58, "all": 94.66},
    "deformable": {"30": 89.94, "15": 70.64, "0": 46.10, "-15": 75.11, "-30": 92.66, "all": 76.52},
}
"""The paper's squared errors per image by view in degrees: 64 x 64 images of Multi-PIE, geometry from CelebA."""

REQUIRED_MARGIN = 0.15  # by which the error at 30 degrees is to be below the better rival's, as a part of the latter
_PEOPLE = 4  # whose unseen views are shown
_VIEWS = 5


@dataclass(frozen=True)
class TransferResults:
    """Results of a transfer: numbers over all runs, images and curves of one of them.

    Attributes:
      numbers: as in results.json.
      codec: of the deformable generator after fine-tuning.
      front: [images, size, size, channels] uint8, the frontal images of the target that were trained on.
      images: [images, size, size, channels] uint8, unseen views.
      latents: the codes of those images by the deformable generator.
      predictions: the reconstructions of those images, by model.
      source_rows, target_rows: of metrics.jsonl, by model, for either stage.
      labels: of the images; "view" in degrees, and "sitting" or "subject" where they are known.
    """

    numbers: Mapping[str, Any]
    codec: ImageCodec
    front: np.ndarray
    images: np.ndarray
    latents: Latents
    predictions: Mapping[str, np.ndarray | Decoded]
    source_rows: Mapping[str, Sequence[Mapping[str, Any]]]
    target_rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]


def write_transfer_report(
    folder: RunFolder,
    source: ImageSet,
    target: ImageSet,
    results: TransferResults,
    *,
    command: str,
    traversal_range: float,
    title: str = "Geometry transferred to other faces",
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      source, target: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: of the geometric code, in standard deviations of the prior.
      title: of the page.
    """
    numbers = results.numbers
    stages = [stage for model in numbers["training"].values() for stage in model.values()]
    minutes = sum(stage["seconds"] for stage in stages) / 60
    runs = "1 run" if numbers["runs"] == 1 else f"{numbers['runs']} runs"
    sets = f"From {source.name} to {target.name}, {target.size} x {target.size}"
    page = IllustratedPage(title, f"{sets}; {runs} of {minutes:.1f} min on {numbers['device']}", folder.figures)
    _glance(page, results)
    page.command(command)
    _unseen_views(page, results)
    _grids(page, results)
    _transferred_geometry(page, results, traversal_range)
    _errors(page, results.numbers)
    _training(page, results)
    page.write(folder.report_file)


def _glance(page: IllustratedPage, results: TransferResults) -> None:
    table, margin = results.numbers["squared_error"], results.numbers["margin"]
    page.heading("At a glance")
    largest = max(abs(float(view)) for view in margin if view != "all")
    sides = sorted(view for view in margin if view != "all" and abs(float(view)) == largest)
    facts = []
    for view in sides:
        rivals = ", ".join(
            f"{label} {table[name][view]['mean']:.1f}"
            for name, label in SHORT_NAMES.items()
            if name in table and name != "deformable"
        )
        facts.append(Fact(f"Squared error at {view}°", f"{table['deformable'][view]['mean']:.1f}", rivals))
    required = f"the smaller margin of both sides; required: {REQUIRED_MARGIN:.0%}"
    facts.append(
        Fact(f"Below the better rival at ±{largest:g}°", _percent(min(margin[view] for view in sides)), required)
    )
    facts.append(Fact("Below the better rival over all views", _percent(margin["all"])))
    page.facts(facts)


def _unseen_views(page: IllustratedPage, results: TransferResults) -> None:
    page.heading("Unseen views")
    page.paragraph(
        f"All models were trained on {len(results.front)} frontal images of the target and on no other images of it. "
        "Below are their reconstructions of images of other people in the target, at all views."
    )
    page.illustration(
        "frontal_faces",
        image_grid([list(_few(to_unit_range(results.front), 10))]),
        alt="Frontal images of the target",
        caption="Some of the frontal images of the target that were trained on.",
    )
    views, people = _view_labels(results), _people(results)
    models = [name for name in MODEL_NAMES if name in results.predictions]
    for number in range(0, len(people), 2):
        rows = np.concatenate(people[number : number + 2])
        page.illustration(
            f"unseen_views_{number // 2}",
            image_grid(
                [
                    list(to_unit_range(results.images[rows])),
                    *(list(results.predictions[name][rows]) for name in models),
                ],
                row_labels=[UNSEEN, *(MODEL_NAMES[name] for name in models)],
                column_labels=[views[row] for row in rows],
            ),
            alt="Unseen views of people and their reconstructions by all models",
            caption="Unseen views of people (first row), and each model's reconstructions of them.",
        )


def _grids(page: IllustratedPage, results: TransferResults) -> None:
    page.heading("Appearance and geometry of unseen views")
    rows, views = _people(results)[0], _view_labels(results)
    canonical = results.codec.canonical(results.latents.appearance[rows])
    flows = results.codec.flow(results.latents.geometry[rows])
    page.illustration(
        "grids",
        image_grid(
            [
                list(to_unit_range(results.images[rows])),
                grid_overlays(canonical),
                grid_overlays(results.predictions["deformable"][rows], flows),
            ],
            row_labels=[UNSEEN, "canonical image", "warped image"],
            column_labels=[views[row] for row in rows],
        ),
        alt="Unseen views, their canonical images under a grid, and both warped",
        caption="Unseen views; canonical images of the deformable generator, whose appearance generator was fine-tuned "
        "on frontal images; and the same warped by flows of the geometric generator, which was trained on the source "
        "alone.",
    )


def _transferred_geometry(page: IllustratedPage, results: TransferResults, traversal_range: float) -> None:
    codec, row = results.codec, _people(results)[0][0]
    base = zero_latents(codec)._replace(appearance=results.latents.appearance[row])
    page.illustration(
        "transferred_geometry",
        traversal_grid(codec, strongest_traversals(codec, "geometry", base, traversal_range)),
        alt="An image of the target along dimensions of the geometric code",
        caption="Rows: the four dimensions of the geometric code, learned on the source alone, that change an image of "
        f"the target most, from -{traversal_range:g} to {traversal_range:g} standard deviations of the prior (as in "
        "the paper's Figure 8c).",
    )


def _errors(page: IllustratedPage, numbers: Mapping[str, Any]) -> None:
    table = numbers["squared_error"]
    page.heading("Results")
    page.illustration(
        "error_by_view",
        _error_by_view(table),
        alt="Squared error of each model against the view",
        caption="Squared error per unseen image; bars span one standard deviation over runs to either side.",
    )
    rows = []
    for view in _views(table):
        row: dict[str, object] = {"view": "all" if view == "all" else f"{view}°"}
        row |= {label: _mean_over_runs(table[name][view]) for name, label in SHORT_NAMES.items() if name in table}
        row["below the better rival"] = _percent(numbers["margin"][view])
        row |= {f"{SHORT_NAMES[name]}, paper": published.get(view) for name, published in TABLE_1.items()}
        rows.append(row)
    runs = f"over {numbers['runs']} independent runs" if numbers["runs"] > 1 else "of one run"
    page.table(
        rows,
        decimals=2,
        caption=f"Table 1: squared error per image of {numbers['images']['test']} unseen images, summed over pixels "
        f"and channels in [0, 1], {runs}. All models have as many latents and see both sets equally often. The paper's "
        "figures are of Multi-PIE at 64 x 64: they compare in their order, not in their size.",
    )


def _training(page: IllustratedPage, results: TransferResults) -> None:
    page.heading("Training")
    for stage, curves, caption in (
        ("source", results.source_rows, "Training on the source; test images are unseen ones of the source."),
        ("frontal", results.target_rows, "Fine-tuning on frontal images; test images are the target's, at all views."),
    ):
        rows = [
            {"step": row["step"], "split": row["split"], MODEL_NAMES[name]: row["squared_error"]}
            for name, curve in curves.items()
            for row in curve
        ]
        caption = f"Squared error per image. {caption}"
        show_training_curves(page, rows, model=f"models, {stage} stage", caption=caption, name=f"curves_{stage}")
    steps = [
        {
            "model": MODEL_NAMES[name],
            "steps on the source": stages["source"]["steps"],
            "minutes ": stages["source"]["seconds"] / 60,
            "steps on frontal images": stages["frontal"]["steps"],
            "minutes": stages["frontal"]["seconds"] / 60,
        }
        for name, stages in results.numbers["training"].items()
    ]
    page.table(steps, decimals=1, caption="Training of the models of one run.")


@matplotlib.rc_context(STYLE)
def _error_by_view(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    figure = Figure(figsize=(WIDTH * 0.72, 3.0), layout="constrained")
    axes = figure.add_subplot(xlabel="view (degrees)", ylabel="squared error per image")
    views = [view for view in reversed(_views(table)) if view != "all"]
    degrees = [float(view) for view in views]
    for (name, label), color, marker in zip(MODEL_NAMES.items(), COLORS, MARKERS, strict=False):
        if name not in table:
            continue
        means, deviations = ([table[name][view][key] for view in views] for key in ("mean", "std"))
        axes.errorbar(degrees, means, np.nan_to_num(deviations), color=color, marker=marker, capsize=3, label=label)
    axes.set_xticks(degrees)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _views(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Views in the order of the paper's table: from the largest on, then "all"."""
    return [*sorted((view for view in table["deformable"] if view != "all"), key=lambda view: -float(view)), "all"]


def _percent(share: float) -> str:
    return f"{round(100 * share)}%"


def _mean_over_runs(entry: Mapping[str, Any]) -> str:
    return f"{entry['mean']:.2f}" if np.isnan(entry["std"]) else mean_and_deviation(entry)


def _people(results: TransferResults) -> list[np.ndarray]:
    """Indices of unseen images, one array per person that is shown: an image of each view, in their order."""
    views = results.labels["view"]
    names = [name for name in ("sitting", "subject") if name in results.labels]
    who = results.labels[names[0]] if names else np.zeros_like(views)
    chosen = _few(np.unique(views), _VIEWS)
    everyone = np.unique(who)
    people = []
    # An even number of people where there are two, because a figure shows two.
    for person in _few(everyone, min(_PEOPLE, len(everyone) // 2 * 2 or 1)):
        own = [np.flatnonzero((who == person) & (views == view)) for view in chosen]
        people.append(np.array([rows[0] for rows in own if len(rows)]))
    return people


def _view_labels(results: TransferResults) -> list[str]:
    return [f"{view:g}°" for view in results.labels["view"]]


def _few(values: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the values, evenly spaced."""
    return values[evenly_spaced(len(values), count)]
