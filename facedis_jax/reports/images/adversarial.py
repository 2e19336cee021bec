"""The page of a deformable generator learned with a critic, beside the same one learned by likelihood alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import to_unit_range
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import grid_overlays, image_grid
from facedis_jax.reports.images.sections import UNSEEN, show_recombinations, show_traversals
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import mean_and_deviation, show_training_curves, training_time
from facedis_jax.training import RunFolder

LABELS = {"likelihood": "likelihood alone", "adversarial": "with the critic"}
_SHOWN = 6


@dataclass(frozen=True)
class AdversarialResults:
    """Results of both models on the same unseen images; mappings are by the names in `LABELS`.

    Attributes:
      numbers: as in results.json.
      codecs: of the models.
      images: [images, size, size, channels] uint8.
      latents, predictions: the codes and the reconstructions of those images.
      rows: of metrics.jsonl.
    """

    numbers: Mapping[str, Any]
    codecs: Mapping[str, ImageCodec]
    images: Pixels
    latents: Mapping[str, Latents]
    predictions: Mapping[str, np.ndarray | Decoded]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_adversarial_report(
    folder: RunFolder, results: AdversarialResults, *, command: str, subtitle: str, traversal_range: tuple[float, float]
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      results: of both models.
      command: what made the run, as it is typed.
      subtitle: what it ran on.
      traversal_range: of the appearance and of the geometric code, in standard deviations of the prior.
    """
    numbers = results.numbers
    page = IllustratedPage("Sharper with a critic", f"{subtitle}, on {numbers['device']}", folder.figures)
    _glance(page, numbers)
    page.command(command)
    _reconstructions(page, results)
    codec, latents = results.codecs["adversarial"], results.latents["adversarial"]
    rows = evenly_spaced(len(results.images), 8)
    show_traversals(page, codec, latents.appearance[rows[:4]], traversal_range)
    show_recombinations(page, codec, results.images[rows], Latents(*(z[rows] for z in latents)))
    _table(page, numbers)
    page.heading("Training")
    for name, label in LABELS.items():
        caption = f"Metrics over the steps of training, {label}."
        show_training_curves(
            page, results.rows[name], model=f"generator, {label}", caption=caption, name=f"curves_{name}"
        )
    page.write(folder.report_file)


def _glance(page: IllustratedPage, numbers: Mapping[str, Any]) -> None:
    page.heading("At a glance")
    page.facts(
        [
            Fact(
                f"Sharpness, {label}",
                f"{100 * numbers[name]['sharpness'] / numbers['sharpness_of_images']:.0f}%",
                f"of that of the images; squared error per image {numbers[name]['squared_error']['mean']:.1f}",
            )
            for name, label in LABELS.items()
        ]
    )


def _table(page: IllustratedPage, numbers: Mapping[str, Any]) -> None:
    page.heading("Results")
    page.table(
        [
            {
                "model": label,
                "squared error per image": mean_and_deviation(numbers[name]["squared_error"]),
                "sharpness": numbers[name]["sharpness"],
                "of canonical images": numbers[name].get("sharpness_of_canonical"),
                "high frequencies": numbers[name].get("high_frequency_share"),
                "perceptual distance": numbers[name].get("perceptual_distance", {}).get("mean"),
                "diversity": numbers[name].get("diversity"),
                **training_time(numbers[name]),
            }
            for name, label in LABELS.items()
        ]
        + [{"model": "the images themselves", "sharpness": numbers["sharpness_of_images"]}],
        decimals={"sharpness": 4, "of canonical images": 4, "minutes": 1},
        caption=f"{numbers['images']['test']} unseen images. Squared error: summed over pixels and channels in [0, 1], "
        "mean and standard deviation over images. Sharpness: root mean square of the Laplacian, mean over images. High "
        "frequencies: power at the upper half of the frequencies, as a share of that of the images. Perceptual "
        "distance: of features of patches that are learned from the training images, from 0 (the same) on. Diversity: "
        "mean squared difference between images from the prior, as a share of that between unseen images.",
    )


def _reconstructions(page: IllustratedPage, results: AdversarialResults) -> None:
    page.heading("Reconstructions")
    rows = evenly_spaced(len(results.images), _SHOWN)
    codec, latents = results.codecs["adversarial"], results.latents["adversarial"]
    canonical, flows = codec.canonical(latents.appearance[rows]), codec.flow(latents.geometry[rows])
    predictions = results.predictions["adversarial"][rows]
    columns = {
        UNSEEN: to_unit_range(results.images[rows]),
        LABELS["likelihood"]: results.predictions["likelihood"][rows],
        LABELS["adversarial"]: predictions,
        "canonical image": canonical,
        "warped grid": grid_overlays(predictions, flows),
        "canonical grid": grid_overlays(canonical),
    }
    page.illustration(
        "reconstructions",
        image_grid(list(zip(*columns.values(), strict=True)), column_labels=list(columns)),
        alt="Images, reconstructions with and without the critic, canonical images and grids",
        caption="Unseen images, and their reconstructions by the likelihood alone and with the critic; for the latter, "
        "the canonical images, and the grids on reconstructions and on canonical images (the paper's Figure 9).",
    )
