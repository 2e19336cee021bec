"""The page of landmarks regressed from deformation fields (section 5.5), with its figures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.canonical import image_places
from facedis_jax.evaluation.images import to_unit_range
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import COLORS, STYLE, WIDTH
from facedis_jax.reports.images.figures import display_image, grid_overlays, image_grid
from facedis_jax.reports.images.sections import UNSEEN
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import run_details, show_training_curves
from facedis_jax.training import RunFolder

METHODS = {
    "deformation_fields": "deformation fields",
    "geometric_latents": "geometric code",
    "fields_and_latents": "deformation fields and geometric code",
    "both_latents": "both codes",
    "pixels": "raw pixels",
    "mean_shape": "mean shape",
    "deforming_autoencoder": "fields of a deforming autoencoder",
    "equivariant_embedding": "dense equivariant embedding",
    "masked_autoencoder": "tokens of a masked autoencoder",
}

# By rows of Table 2, what stands for them here.
_PUBLISHED_AS = {
    "deforming_autoencoder": "Dense-DAE",
    "equivariant_embedding": "Thewlis et al.",
    "deformation_fields": "deformation fields",
}

TABLE_2: Mapping[str, float] = {
    "deformation fields": 5.18,
    "MTCNN": 5.39,
    "Dense-DAE": 5.45,
    "Thewlis et al.": 5.83,
    "TDCN": 7.95,
}
"""The paper's mean errors on MAFL, percent of the inter-ocular distance."""

TRUE_COLOR = np.array([0.1, 0.85, 0.2])
PREDICTED_COLOR = np.array([0.95, 0.1, 0.1])


@dataclass(frozen=True)
class LandmarkResults:
    """Results of landmark regression, for each kind of features.

    Attributes:
      numbers: as in results.json.
      codec: of the deformable generator.
      images: [images, size, size, channels] uint8, unseen ones.
      latents, predictions: codes of those images, one sample of each, and the reconstructions.
      truth: [images, points, 2], landmarks as (x, y) in pixels.
      landmarks: predicted landmarks [images, points, 2], by method of `METHODS`.
      errors: [images] in percent of the inter-ocular distance, by method.
      rows: of metrics.jsonl.
      rival_rows: of the rivals' metrics.jsonl, by method.
    """

    numbers: Mapping[str, Any]
    codec: ImageCodec
    images: np.ndarray
    latents: Latents
    predictions: np.ndarray
    truth: np.ndarray
    landmarks: Mapping[str, np.ndarray]
    errors: Mapping[str, np.ndarray]
    rows: Sequence[Mapping[str, Any]]
    rival_rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def write_landmark_report(
    folder: RunFolder,
    image_set: ImageSet,
    results: LandmarkResults,
    *,
    command: str,
    title: str = "Landmarks from deformation fields",
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      image_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      title: of the page.
    """
    numbers, size = results.numbers, image_set.size
    subtitle = run_details(image_set.name, (size, size), numbers["deformable"], numbers["device"])
    page = IllustratedPage(title, subtitle, folder.figures)
    _glance(page, results)
    page.command(command)
    _examples(page, results)
    _carried_grid(page, results)
    _best_and_worst(page, results)
    _results(page, results)
    page.heading("Training")
    show_training_curves(
        page,
        results.rows,
        model="deformable generator",
        caption="The deformable generator, which is trained without landmarks: training images with the codes of their "
        "chains, test images with codes inferred from the prior.",
    )
    for name, rows in results.rival_rows.items():
        caption = f"Landmarks from {METHODS[name]}: the model that they are read from, trained without landmarks."
        show_training_curves(page, rows, model=METHODS[name], caption=caption, name=f"curves_{name}")
    page.write(folder.report_file)


def draw_landmarks(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """An image with true landmarks in green and predicted ones in red (Figure 14).

    Args:
      image: [size, size, channels] in [0, 1].
      truth, predicted: [points, 2] as (x, y) in the image's pixels; points outside of the image are not drawn.

    Returns:
      RGB uint8, as of `figures.display_image`.
    """
    count = len(truth)
    return draw_points(
        image, np.concatenate([truth, predicted]), np.repeat([TRUE_COLOR, PREDICTED_COLOR], [count, count], axis=0)
    )


def draw_points(image: np.ndarray, points: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """An image with points as discs, the last on top.

    Args:
      image: [size, size, channels] in [0, 1].
      points: [points, 2] as (x, y) in the image's pixels; those outside of the image are not drawn.
      colors: [points, 3] in [0, 1].

    Returns:
      RGB uint8, as of `figures.display_image`.
    """
    shown = display_image(image).astype(np.float32) / 255
    size, factor = len(shown), len(shown) / len(image)
    radius = size / 45
    y, x = np.mgrid[:size, :size]
    for center, color in zip((np.asarray(points) + 0.5) * factor - 0.5, colors, strict=True):
        distance = np.hypot(x - center[0], y - center[1])
        for disc, paint in ((radius + 1.5, np.zeros(3)), (radius, color)):
            cover = np.clip(disc + 0.5 - distance, 0, 1)[..., None]
            shown = (1 - cover) * shown + cover * paint
    return np.round(255 * shown).astype(np.uint8)


def _glance(page: IllustratedPage, results: LandmarkResults) -> None:
    errors = {name: entry["mean"] for name, entry in results.numbers["landmark_error_percent"].items()}
    ours = errors["deformation_fields"]
    page.heading("At a glance")
    page.facts(
        [
            Fact("Error from deformation fields", f"{ours:.2f}%", "of the distance between the eyes"),
            Fact("Of the mean shape's error", f"{ours / errors['mean_shape']:.0%}", "required: below 50%"),
            Fact("Of the error from raw pixels", f"{ours / errors['pixels']:.0%}", "required: below 100%"),
            *(
                Fact("Points carried to views of 30°", f"{dense['median']:.2f} px", "median distance from their places")
                for dense in [results.numbers.get("dense_correspondence")]
                if dense is not None
            ),
        ]
    )


def _examples(page: IllustratedPage, results: LandmarkResults) -> None:
    page.heading("Unseen images")
    rows = evenly_spaced(len(results.images), 8)
    canonical = results.codec.canonical(results.latents.appearance[rows])
    flows = results.codec.flow(results.latents.geometry[rows])
    page.illustration(
        "landmarks",
        image_grid(
            [
                list(to_unit_range(results.images[rows])),
                grid_overlays(results.predictions[rows], flows),
                grid_overlays(canonical),
                _with_landmarks(results, rows),
            ],
            row_labels=[UNSEEN, "reconstruction", "canonical image", "landmarks"],
        ),
        alt="Images, reconstructions and canonical images under grids, and landmarks",
        caption="Unseen images; their reconstructions under the warped grid; their canonical images under the "
        "canonical grid; true landmarks in green, and those predicted from the deformation field in red (the paper's "
        "Figure 14).",
    )


def _carried_grid(page: IllustratedPage, results: LandmarkResults) -> None:
    """One set of points of the canonical image, carried to several faces."""
    rows = evenly_spaced(len(results.images), 8)
    size = results.images.shape[1]
    places = np.stack(np.meshgrid(np.linspace(0.3, 0.7, 5), np.linspace(0.25, 0.8, 5)), -1).reshape(-1, 2) * (size - 1)
    colors = matplotlib.colormaps["hsv"](np.linspace(0, 0.9, len(places)))[:, :3]
    flows = results.codec.flow(results.latents.geometry[rows])
    images = to_unit_range(results.images[rows])
    canonical = results.codec.canonical(results.latents.appearance[rows])
    shown = [draw_points(image, image_places(flow, places), colors) for image, flow in zip(images, flows, strict=True)]
    caption = (
        "Points of one grid on the canonical images of the upper row, carried by each image's flow to the unseen image "
        "below it: a colour is one point, to be found at one part of all faces. No label is used."
    )
    dense = results.numbers.get("dense_correspondence")
    if dense is not None:
        caption += (
            f" Points of rendered faces, whose true places are known, carried from the front to views of 30 degrees, "
            f"come to lie {dense['median']:.2f} pixels from them (median over {dense['pairs']} pairs of images; points "
            f"left where they were: {dense['unmoved']:.2f})."
        )
    page.illustration(
        "carried_grid",
        image_grid(
            [[draw_points(image, places, colors) for image in canonical], shown],
            row_labels=["canonical image", UNSEEN],
        ),
        alt="Points of the canonical image carried to unseen faces",
        caption=caption,
    )


def _best_and_worst(page: IllustratedPage, results: LandmarkResults) -> None:
    order = np.argsort(results.errors["deformation_fields"], kind="stable")
    page.illustration(
        "best_and_worst",
        image_grid(
            [_with_landmarks(results, order[:8]), _with_landmarks(results, order[::-1][:8])],
            row_labels=["smallest errors", "largest errors"],
        ),
        alt="The images of the smallest and of the largest errors",
        caption="The unseen images of the smallest and of the largest errors from deformation fields; landmarks in the "
        "same colours.",
    )


def _results(page: IllustratedPage, results: LandmarkResults) -> None:
    numbers = results.numbers
    page.heading("Results")
    rows: list[dict[str, object]] = []
    measured = {name: label for name, label in METHODS.items() if name in numbers["landmark_error_percent"]}
    for name, label in measured.items():
        error, chosen = numbers["landmark_error_percent"][name], numbers["regressors"].get(name, {})
        rows.append(
            {
                "landmarks from": label,
                "error (%)": error["mean"],
                "median (%)": error["median"],
                "features": chosen.get("features"),
                "weight decay": chosen.get("weight_decay"),
                "epochs": chosen.get("epochs"),
                "paper": TABLE_2.get(_PUBLISHED_AS.get(name, "")),
            }
        )
    shown = {_PUBLISHED_AS.get(name) for name in measured}
    rows += [{"landmarks from": name, "paper": error} for name, error in TABLE_2.items() if name not in shown]
    page.table(
        rows,
        decimals={"error (%)": 2, "median (%)": 2, "weight decay": 1, "paper": 2},
        caption=f"Table 2: mean distance of {results.truth.shape[1]} landmarks in percent of the distance between the "
        f"eyes, over {numbers['images']['test']} unseen images; the paper's figures are of MAFL. All regressors are "
        f"the same two-layer perceptron, fitted to {numbers['images']['train']} images, with the weight decay and the "
        "number of epochs that were best on a held-out part of these. The paper's Dense-DAE stands beside a deforming "
        "autoencoder, its Thewlis et al. beside an embedding.",
    )
    page.illustration(
        "error_distribution",
        _cumulative(results.errors),
        alt="Share of images below each error",
        caption="Share of unseen images whose error is below the value on the horizontal axis.",
    )


@matplotlib.rc_context(STYLE)
def _cumulative(errors: Mapping[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot(xlabel="error (% of the distance between the eyes)", ylabel="share of images (%)")
    right = max(float(np.percentile(values, 95)) for values in errors.values())
    for i, name in enumerate(name for name in METHODS if name in errors):
        values, dashes = np.sort(errors[name]), "-" if i < len(COLORS) else "--"
        shares = 100 * np.arange(1, len(values) + 1) / len(values)
        axes.plot(values, shares, dashes, color=COLORS[i % len(COLORS)], label=METHODS[name])
    axes.set(xlim=(0, right), ylim=(0, 100))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))  # beside the curves, which leave no room
    return figure


def _with_landmarks(results: LandmarkResults, rows: np.ndarray) -> list[np.ndarray]:
    predicted = results.landmarks["deformation_fields"]
    images = to_unit_range(results.images[rows])
    return [draw_landmarks(image, results.truth[i], predicted[i]) for image, i in zip(images, rows, strict=True)]
