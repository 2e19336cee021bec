"""The page that shows what a critic adds to the deformable generator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.inference.images import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.images.deformable import basis_functions, recombinations
from facedis_jax.reports.images.figures import bent_grid, image_grid
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.training import RunFolder

LABELS = {"likelihood": "likelihood alone", "adversarial": "with the critic"}
_SHOWN = 6


@dataclass(frozen=True)
class AdversarialResults:
    """Both models on the same unseen images; mappings are by the names in `LABELS`.

    Attributes:
      numbers: as in results.json.
      codecs: of the models.
      images: [images, size, size, channels] uint8.
      latents, predictions: of those.
      rows: of metrics.jsonl.
    """

    numbers: Mapping[str, Any]
    codecs: Mapping[str, ImageCodec]
    images: np.ndarray
    latents: Mapping[str, Latents]
    predictions: Mapping[str, np.ndarray]
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_adversarial_report(
    folder: RunFolder, results: AdversarialResults, *, command: str, subtitle: str, traversal_range: tuple[float, float]
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG.

    Args:
      folder: of the run.
      results: of both models.
      command: what made the run, as it is typed.
      subtitle: what it ran on.
      traversal_range: how far dimensions of the appearance and of the geometric code are moved.
    """
    numbers = results.numbers
    page = IllustratedPage("Sharper with a critic", f"{subtitle}, on {numbers['device']}", folder.figures)
    page.heading("At a glance")
    real = numbers["sharpness_of_photographs"]
    page.facts(
        [
            Fact(
                f"Sharpness, {label}",
                f"{100 * numbers[name]['sharpness'] / real:.0f}%",
                f"of the photographs'; squared error per image {numbers[name]['squared_error']['mean']:.1f}",
            )
            for name, label in LABELS.items()
        ]
    )
    page.command(command)
    _reconstructions(page, results)
    page.heading("What the dimensions of the codes do")
    codec, latents = results.codecs["adversarial"], results.latents["adversarial"]
    rows = evenly_spaced(len(results.images), 8)
    basis_functions(page, codec, latents.appearance[rows[:4]], traversal_range)
    page.heading("Codes recombined")
    recombinations(page, codec, results.images[rows], Latents(*(z[rows] for z in latents)))
    page.heading("Results")
    page.table(
        [
            {
                "model": label,
                "squared error per image": f"{numbers[name]['squared_error']['mean']:.2f} "
                f"± {numbers[name]['squared_error']['std']:.2f}",
                "sharpness": numbers[name]["sharpness"],
                "steps": numbers[name]["steps"],
                "minutes": numbers[name]["seconds"] / 60,
            }
            for name, label in LABELS.items()
        ]
        + [{"model": "the photographs themselves", "sharpness": real}],
        decimals={"sharpness": 4, "minutes": 1},
        caption=f"{len(results.images)} unseen images: squared error summed over pixels and channels in [0, 1], mean "
        "and standard deviation over images, and the root mean square of the Laplacian.",
    )
    page.heading("Training")
    for name, label in LABELS.items():
        page.illustration(
            f"curves_{name}",
            training_curves(results.rows[name]),
            alt=f"Curves, {label}",
            caption=f"Metrics over the steps of training, {label}.",
        )
    page.write(folder.report_file)


def _reconstructions(page: IllustratedPage, results: AdversarialResults) -> None:
    page.heading("Reconstructions")
    rows = evenly_spaced(len(results.images), _SHOWN)
    codec, latents = results.codecs["adversarial"], results.latents["adversarial"]
    canonical, flows = codec.canonical(latents.appearance[rows]), codec.flow(latents.geometry[rows])
    predictions = results.predictions["adversarial"][rows]
    columns = [
        results.images[rows] / np.float32(255),
        results.predictions["likelihood"][rows],
        predictions,
        canonical,
        [bent_grid(image, flow) for image, flow in zip(predictions, flows, strict=True)],
        [bent_grid(image) for image in canonical],
    ]
    page.illustration(
        "reconstructions",
        image_grid(
            list(zip(*columns, strict=True)),
            column_labels=["unseen photograph", *LABELS.values(), "appearance", "bent grid", "straight grid"],
        ),
        alt="Photographs, reconstructions with and without the critic, appearance and grids",
        caption="Unseen photographs, their reconstructions by the likelihood alone and with the critic, and of the "
        "latter the appearance before it is bent, with the grids (the paper's Figure 9).",
    )
