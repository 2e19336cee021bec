"""The page of a deformable generator (section 5.1), with its figures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import to_unit_range, zero_latents
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import (
    Traversal,
    covariance_bars,
    grid_overlays,
    image_grid,
    latents_against_view,
    traversal_grid,
)
from facedis_jax.reports.images.sections import UNSEEN, show_recombinations, show_traversals
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import mean_and_deviation, percent, run_details, show_training_curves, training_time
from facedis_jax.training import RunFolder

MODEL_NAMES = {
    "deformable": "deformable generator",
    "abp": "non-deformable ABP",
    "vae": "VAE",
    "deforming_autoencoder": "deforming autoencoder",
}
_COMPARED = {**MODEL_NAMES, "pca": "PCA"}

_SAMPLED = "training images with the codes of their chains, test images with codes inferred from the prior."
_CURVES = {
    "deformable": _SAMPLED,
    "abp": _SAMPLED,
    "vae": "training images with sampled codes, test images with posterior means.",
    "deforming_autoencoder": "training and test images with the codes of the encoder.",
}


@dataclass(frozen=True)
class DeformableResults:
    """Results of a deformable generator, and of its rivals where there are any.

    Attributes:
      numbers: as in results.json.
      codec: of the deformable generator.
      images: [images, size, size, channels] uint8, unseen ones.
      latents, predictions, canonical: the codes of those images, and the reconstructed and canonical images.
      covariances: from `view_results`, or None where no view is known.
      rows: of metrics.jsonl, by model.
      labels: of the images, each [images].
      rivals: the codec and the codes of those images, by rival.
    """

    numbers: Mapping[str, Any]
    codec: ImageCodec
    images: Pixels
    latents: Latents
    predictions: np.ndarray | Decoded
    canonical: np.ndarray | Decoded
    covariances: Mapping[str, Any] | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]
    rivals: Mapping[str, tuple[ImageCodec, Latents]] = field(default_factory=dict)


def write_deformable_report(
    folder: RunFolder,
    image_set: ImageSet,
    results: DeformableResults,
    *,
    command: str,
    traversal_range: tuple[float, float],
    title: str = "Appearance apart from geometry",
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      image_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: of the appearance and of the geometric code, in standard deviations of the prior.
      title: of the page.
    """
    numbers, size = results.numbers, image_set.size
    subtitle = run_details(image_set.name, (size, size), numbers["deformable"], numbers["device"])
    page = IllustratedPage(title, subtitle, folder.figures)
    _glance(page, numbers)
    page.command(command)
    _reconstructions(page, results)
    if results.rivals:
        _rivals(page, results)
    show_traversals(page, results.codec, results.latents.appearance[_rows_shown(results, 4)], traversal_range)
    if results.covariances is not None:
        _views(page, results, results.covariances, traversal_range)
    rows = _rows_shown(results, 8)
    show_recombinations(page, results.codec, results.images[rows], Latents(*(z[rows] for z in results.latents)))
    _tables(page, numbers)
    page.heading("Training")
    for name, curve in results.rows.items():
        label = MODEL_NAMES[name]
        caption = f"The {label}: {_CURVES[name]}"
        show_training_curves(page, curve, model=label, caption=caption, name=f"curves_{name}")
    page.write(folder.report_file)


def _glance(page: IllustratedPage, numbers: Mapping[str, Any]) -> None:
    page.heading("At a glance")
    error = numbers["deformable"]["squared_error"]["mean"]
    rivals = [name for name in _COMPARED if name != "deformable" and name in numbers]
    note = ", ".join(f"{_COMPARED[name]}: {numbers[name]['squared_error']['mean']:.1f}" for name in rivals)
    facts = [Fact("Squared error per unseen image", f"{error:.1f}", note)]
    if "view_covariance" in numbers:
        ratio = numbers["view_covariance"]["ratio"]
        note = "that of the appearance code (Eq. 21, the largest of each)"
        facts.append(Fact("Covariance of the geometric code with the view", f"{ratio:.1f}×", note))
    if "pose_difference" in numbers:
        ratio = numbers["pose_difference"]["ratio"]
        note = "of that between the images themselves, both of one person at several poses"
        facts.append(Fact("Difference between canonical images", f"{100 * ratio:.0f}%", note))
    if "canonical_truth" in numbers:
        note = "of the variance of the true frontal images, after one warp of all; the images themselves: "
        note += f"{100 * numbers['canonical_truth_of_images']:.0f}%"
        facts.append(Fact("Canonical from true frontal images", f"{100 * numbers['canonical_truth']:.0f}%", note))
    if "folds" in numbers:
        facts.append(Fact("Pixels where the warp folds", f"{100 * numbers['folds']:.2f}%", "mean over unseen images"))
    page.facts(facts)


def _reconstructions(page: IllustratedPage, results: DeformableResults) -> None:
    page.heading("Reconstructions")
    rows = _rows_shown(results, 8)
    predictions, flows = results.predictions[rows], results.codec.flow(results.latents.geometry[rows])
    shown = {
        UNSEEN: list(to_unit_range(results.images[rows])),
        "canonical image": list(results.canonical[rows]),
        "canonical grid": grid_overlays(results.canonical[rows]),
        "warped image": grid_overlays(predictions, flows),
        "reconstruction": list(predictions),
    }
    caption = (
        "Unseen images; the canonical images of their appearance codes, without a grid and under the canonical grid; "
        "the same warped by the flows of their geometric codes, grid included; and the reconstructions, without a grid "
        "(the paper's Figure 2)."
    )
    front = _frontal(results, rows)
    if front is not None:
        shown["true frontal image"] = list(to_unit_range(results.images[front]))
        caption += " Last, the true images of the same people from the front, in the same light."
    page.illustration(
        "reconstructions",
        image_grid(list(shown.values()), row_labels=list(shown)),
        alt="Images, their canonical images under a grid, and both warped",
        caption=caption,
    )


def _rivals(page: IllustratedPage, results: DeformableResults) -> None:
    rows = _rows_shown(results, 8)
    shown = {UNSEEN: list(to_unit_range(results.images[rows])), "deformable": list(results.predictions[rows])}
    caption = "The same unseen images, and what each model makes of them."
    for name, (codec, latents) in results.rivals.items():
        own = Latents(*(None if z is None else z[rows] for z in latents))
        predictions = codec.decode(own)
        shown[MODEL_NAMES[name]] = list(predictions)
        if codec.geometry_latents:
            shown[f"{MODEL_NAMES[name]}, canonical"] = grid_overlays(codec.canonical(own.appearance))
            shown[f"{MODEL_NAMES[name]}, warped"] = grid_overlays(predictions, codec.flow(own.geometry))
            caption += f" Of the {MODEL_NAMES[name]} also the canonical images under a grid, and both warped."
    page.illustration(
        "rivals",
        image_grid(list(shown.values()), row_labels=list(shown)),
        alt="Images, and the reconstructions of all models",
        caption=caption,
    )


def _views(
    page: IllustratedPage,
    results: DeformableResults,
    covariances: Mapping[str, Any],
    traversal_range: tuple[float, float],
) -> None:
    """Figures 6 and 7: which dimensions depend on the view, and what they do."""
    page.heading("Which dimensions depend on the view")
    page.illustration(
        "view_covariance",
        covariance_bars({f"{name} code": covariances[name]["covariance"] for name in ("geometry", "appearance")}),
        alt="Covariance of every dimension with the view",
        caption="Absolute covariance of each dimension's mean with the view, Eq. 21 (the paper's Figure 6).",
    )
    base = zero_latents(results.codec)._replace(appearance=results.latents.appearance[_rows_shown(results, 1)[0]])
    strongest = [
        Traversal(which, base, int(dimension), span)
        for which, count, span in (("geometry", 2, traversal_range[1]), ("appearance", 1, traversal_range[0]))
        for dimension in np.argsort(-covariances[which]["covariance"], kind="stable")[:count]
    ]
    means = {f"{each.which} {each.dimension}": covariances[each.which]["mean"][:, each.dimension] for each in strongest}
    page.illustration(
        "latents_against_view",
        latents_against_view(covariances["angles"], means),
        alt="Mean latents against the view",
        caption="Means over the images of each view, of the two dimensions of the geometric code and the one of the "
        "appearance code that covary most with the view (the paper's Figure 7a).",
    )
    page.illustration(
        "view_traversals",
        traversal_grid(results.codec, strongest),
        alt="Images along the dimensions that covary most with the view",
        caption="The same dimensions on the appearance code of one image: the geometric code's from "
        f"-{traversal_range[1]:g} to {traversal_range[1]:g}, the appearance code's from -{traversal_range[0]:g} to "
        f"{traversal_range[0]:g} standard deviations of the prior (the paper's Figure 7b).",
    )


def _tables(page: IllustratedPage, numbers: Mapping[str, Any]) -> None:
    page.heading("Results")
    page.table(
        [
            {
                "model": label,
                "squared error per image": mean_and_deviation(numbers[name]["squared_error"]),
                "median": numbers[name]["squared_error"]["median"],
                **(training_time(numbers[name]) if "steps" in numbers[name] else {}),
            }
            for name, label in _COMPARED.items()
            if name in numbers
        ],
        decimals={"median": 2, "minutes": 1},
        caption=f"Squared error of {numbers['images']['test']} unseen images, summed over pixels and channels in "
        "[0, 1], mean and standard deviation over images. Every model has as many latents and sees the training "
        "images as often; the PCA has as many components.",
    )
    models = {"deformable": numbers}
    models |= {name: numbers[name] for name in MODEL_NAMES if "folds" in numbers.get(name, {})}
    if "folds" in numbers:
        _classifier_table(page, models, numbers["images"]["test"])
        _warp_table(page, models, numbers["images"]["test"])
    if "view_covariance" in numbers:
        covariance = numbers["view_covariance"]
        ratios = ", ".join(f"{MODEL_NAMES[name]} {of['view_covariance']['ratio']:.1f}" for name, of in models.items())
        page.table(
            [
                {
                    "code": code if name == "deformable" else f"{code}, {MODEL_NAMES[name]}",
                    "largest covariance with the view": of["view_covariance"][code],
                }
                for name, of in models.items()
                for code in ("geometry", "appearance")
            ],
            caption=f"Eq. 21 on {covariance['images']} images of {covariance['data']}; their ratio: {ratios}.",
        )
    if "pose_difference" in numbers:
        ratios = ", ".join(f"{MODEL_NAMES[name]} {of['pose_difference']['ratio']:.3f}" for name, of in models.items())
        of_images = numbers["pose_difference"]["input"]
        page.table(
            [
                {"images": "as given", "difference between poses": of_images},
                *(
                    {
                        "images": "canonical" if name == "deformable" else f"canonical, {MODEL_NAMES[name]}",
                        "difference between poses": of["pose_difference"]["canonical"],
                    }
                    for name, of in models.items()
                ),
            ],
            decimals=4,
            caption="Mean squared difference of pixels in [0, 1] between images of one person at different poses; "
            f"their ratio: {ratios}.",
        )


def _classifier_table(page: IllustratedPage, models: Mapping[str, Mapping[str, Any]], count: int) -> None:
    """Classifiers of view and person, of every model with a warp."""
    read = {"appearance": "appearance code", "canonical": "canonical image", "geometry": "geometric code"}
    rows: list[dict[str, object]] = []
    for name, numbers in models.items():
        chance = numbers.get("chance", {})
        whose = "" if name == "deformable" else f", {MODEL_NAMES[name]}"
        rows += [
            {"read from": f"{label}{whose}"}
            | {factor: _share(numbers.get(f"{factor}_from_{part}")) for factor in chance}
            for part, label in read.items()
            if chance
        ]
    chance = models["deformable"].get("chance", {})
    if chance:
        page.table(
            [*rows, {"read from": "chance"} | {factor: _share(share) for factor, share in chance.items()}],
            caption=f"Accuracy of linear classifiers on those of {count} unseen images that they were not fitted to, "
            "30 %; views are told on people who were not fitted to. Appearance should name the person and not the "
            "view. Images of one sitting also share the expression and the place in the image, by which a geometric "
            "code names the person.",
        )


_WARP_MEASURES: Mapping[str, tuple[str, ...]] = {
    "pixels where the warp folds (%)": ("folds",),
    "bending energy of the flow (pixels^-2)": ("bending_energy",),
    "canonical from true frontal images (share of variance)": ("canonical_truth",),
    "the images themselves from true frontal images (share of variance)": ("canonical_truth_of_images",),
    "points carried from the front to 30 degrees (pixels, median)": ("dense_correspondence", "median"),
    "points left where they were (pixels, median)": ("dense_correspondence", "unmoved"),
}


def _warp_table(page: IllustratedPage, models: Mapping[str, Mapping[str, Any]], count: int) -> None:
    """The warps, and canonical images against true ones, of every model with a warp."""

    def value(numbers: Any, keys: tuple[str, ...]) -> float | None:
        for key in keys:
            numbers = numbers.get(key)
            if numbers is None:
                return None
        return 100 * numbers if keys == ("folds",) else numbers

    rows: list[dict[str, object]] = [
        {"measure": label} | {MODEL_NAMES[name]: value(numbers, keys) for name, numbers in models.items()}
        for label, keys in _WARP_MEASURES.items()
        if value(models["deformable"], keys) is not None
    ]
    page.table(
        rows,
        decimals=4,
        caption=f"Means over {count} unseen images. The warp folds where its Jacobian determinant is 0 or less. "
        "Canonical images are compared with the true frontal images of the same people in the same light after one "
        "smooth warp, the same for all; the variance is that of the true images over people, so that their mean image "
        "has 1.",
    )


def _share(value: float | None) -> str | None:
    return None if value is None else percent(value)


def _frontal(results: DeformableResults, rows: np.ndarray) -> np.ndarray | None:
    """Indices of the frontal images of the same sittings, or None where one of them is not known."""
    labels = results.labels
    if "sitting" not in labels or "view" not in labels:
        return None
    front = {labels["sitting"][row]: row for row in np.flatnonzero(labels["view"] == 0)}
    found = [front.get(labels["sitting"][row]) for row in rows]
    return None if None in found else np.array(found)


def _rows_shown(results: DeformableResults, count: int) -> np.ndarray:
    """Indices of images, of several people and, where they are known, at several views."""
    total = len(results.images)
    if "sitting" not in results.labels:
        return evenly_spaced(total, count)
    sittings = np.unique(results.labels["sitting"])
    chosen = []
    for i in range(min(count, total)):
        own = np.flatnonzero(results.labels["sitting"] == sittings[i % len(sittings)])
        chosen.append(own[(2 + 2 * i) % len(own)])
    return np.array(chosen)
