"""The page of deformable generators beyond faces (section 5.4): digits, objects, and transferred deformations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import to_unit_range, zero_latents
from facedis_jax.geometry import warp
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import grid_overlays, image_grid, traversal_grid
from facedis_jax.reports.images.sections import strongest_traversals
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.reports.sections import show_training_curves
from facedis_jax.training import RunFolder

_CLASSES = np.eye(10, dtype=np.float32)  # the appearance code of each digit's template


@dataclass(frozen=True)
class Digits:
    """Held-out digits, classified by the template of lowest energy.

    Attributes:
      codec: of the generator whose canonical images are the ten templates.
      images: [images, size, size, 1] uint8.
      truth, predicted: [images], which digit.
      energies: [images, 10] nats.
      geometry: [images, 10, latents], the codes that warp each template towards each image.
      name: of the data set.
    """

    codec: ImageCodec
    images: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    energies: np.ndarray
    geometry: np.ndarray
    name: str

    @property
    def accuracy(self) -> float:
        """Share of the images that are classified correctly, 0 to 1."""
        return float(np.mean(self.truth == self.predicted))


@dataclass(frozen=True)
class TransferredDeformations:
    """A generator learned on one set, and images of another set that its flows are to warp.

    Attributes:
      codec: of the generator.
      images: [images, size, size, channels] uint8.
      name: of the other set.
    """

    codec: ImageCodec
    images: np.ndarray
    name: str


@dataclass(frozen=True)
class ObjectResults:
    """All that the page shows.

    Attributes:
      digits: digits and their templates.
      cars: generator of cars, or None where none was trained.
      transferred: deformations of faces on other images.
      rows: of metrics.jsonl, by model.
    """

    digits: Digits
    cars: ImageCodec | None
    transferred: TransferredDeformations
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_objects_report(
    folder: RunFolder, results: ObjectResults, *, command: str, traversal_range: float, device: str
) -> None:
    """Writes one self-contained HTML page, and every figure on it as a PNG.

    Args:
      folder: of the run.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: of the geometric code, in standard deviations of the prior.
      device: what it ran on.
    """
    digits, transferred = results.digits, results.transferred
    page = IllustratedPage(
        "Deformations beyond faces", f"{digits.name}, {transferred.name}, on {device}", folder.figures
    )
    page.heading("At a glance")
    note = f"of {len(digits.images)} held-out digits, by the template of lowest energy"
    page.facts([Fact("Digits classified correctly", f"{100 * digits.accuracy:.1f}%", note)])
    page.command(command)
    page.heading("Digits as warped templates")
    _templates(page, digits.codec, traversal_range)
    _explained_digits(page, digits)
    _confused_digits(page, digits)
    _accuracy_table(page, digits)
    if results.cars is not None:
        _cars(page, results.cars, traversal_range)
    _transferred(page, transferred, traversal_range)
    page.heading("Training")
    for name, rows in results.rows.items():
        caption = f"{name.capitalize()}: metrics over the steps of training."
        show_training_curves(page, rows, model=f"generator of {name}", caption=caption, name=f"curves_{name}")
    page.write(folder.report_file)


def _templates(page: IllustratedPage, codec: ImageCodec, traversal_range: float) -> None:
    """Figure 13: every template along the two strongest dimensions."""
    templates = codec.canonical(_CLASSES)
    base = zero_latents(codec)._replace(appearance=_CLASSES[3])
    for number, strongest in enumerate(strongest_traversals(codec, "geometry", base, traversal_range, 2), 1):
        traversals = [strongest._replace(base=base._replace(appearance=code)) for code in _CLASSES]
        page.illustration(
            f"digits_{number}",
            image_grid(
                [[template, *each.images(codec)] for template, each in zip(templates, traversals, strict=True)],
                column_labels=["template", *strongest.column_labels],
            ),
            alt="Templates warped along one dimension of the geometric code",
            caption=f"The ten templates, and each warped along dimension {strongest.dimension} of the geometric code, "
            f"from -{traversal_range:g} to {traversal_range:g} standard deviations of the prior, all other dimensions "
            "at zero (the paper's Figure 13).",
        )


def _explained_digits(page: IllustratedPage, digits: Digits) -> None:
    """One held-out digit of each class with its template, as it is and warped."""
    rows = np.array([np.flatnonzero(digits.truth == k)[0] for k in range(10) if np.any(digits.truth == k)])
    truth, predicted = digits.truth[rows], digits.predicted[rows]
    geometry = digits.geometry[rows, predicted]
    warped = digits.codec.decode(Latents(_CLASSES[predicted], geometry))
    page.illustration(
        "digits_explained",
        image_grid(
            [
                list(to_unit_range(digits.images[rows])),
                grid_overlays(digits.codec.canonical(_CLASSES[predicted])),
                grid_overlays(warped, digits.codec.flow(geometry)),
            ],
            row_labels=["held-out digit", "template", "warped template"],
            column_labels=[f"{a}" if a == b else f"{a} as {b}" for a, b in zip(truth, predicted, strict=True)],
        ),
        alt="Held-out digits, the templates of lowest energy, and these warped",
        caption="Held-out digits, the template of lowest energy under the canonical grid, and the same warped towards "
        "the digit.",
    )


def _confused_digits(page: IllustratedPage, digits: Digits) -> None:
    wrong = np.flatnonzero(digits.truth != digits.predicted)[:10]
    if not len(wrong):
        return
    page.illustration(
        "digits_confused",
        image_grid(
            [list(to_unit_range(digits.images[wrong]))],
            column_labels=[f"{digits.truth[i]} as {digits.predicted[i]}" for i in wrong],
        ),
        alt="Digits classified wrongly",
        caption="Digits for which the template of another class had the lowest energy.",
    )


def _accuracy_table(page: IllustratedPage, digits: Digits) -> None:
    page.table(
        [
            {"digit": str(k), "images": int(own.sum()), "accuracy": float(np.mean(digits.predicted[own] == k))}
            for k in range(10)
            if (own := digits.truth == k).any()
        ],
        caption="Share of the held-out digits of each class for which their own template has the lowest energy.",
    )


def _cars(page: IllustratedPage, codec: ImageCodec, traversal_range: float) -> None:
    page.heading("Cars")
    appearances = np.asarray(jax.random.normal(jax.random.key(0), (4, codec.appearance_latents)))
    traversals = [
        strongest_traversals(codec, "geometry", zero_latents(codec)._replace(appearance=code), traversal_range, 1)[0]
        for code in appearances
    ]
    page.illustration(
        "cars",
        traversal_grid(codec, traversals),
        alt="Cars along a dimension of the geometric code",
        caption="Rows: appearance codes drawn from the prior, each along the dimension of the geometric code that "
        f"changes it most, from -{traversal_range:g} to {traversal_range:g} standard deviations of the prior (the "
        "paper's Figure 12 b).",
    )


def _transferred(page: IllustratedPage, transferred: TransferredDeformations, traversal_range: float) -> None:
    """Figure 12 a: images of another set, warped by the flows of the two strongest dimensions."""
    codec = transferred.codec
    page.heading("Deformations transferred to other images")
    rows = evenly_spaced(len(transferred.images), 3)
    images = to_unit_range(transferred.images[rows])
    base = zero_latents(codec)
    for number, strongest in enumerate(strongest_traversals(codec, "geometry", base, traversal_range, 2), 1):
        code = np.zeros((len(strongest.values), codec.geometry_latents), np.float32)
        code[:, strongest.dimension] = strongest.values
        flows = jnp.asarray(codec.flow(code))
        warped = [np.asarray(jax.vmap(warp, in_axes=(None, 0))(jnp.asarray(image), flows)) for image in images]
        page.illustration(
            f"transferred_{number}",
            image_grid(
                [[image, *row] for image, row in zip(images, warped, strict=True)],
                column_labels=["as given", *strongest.column_labels],
            ),
            alt="Images of another set warped by flows that were learned on faces",
            caption=f"Images of a set that the model was not trained on, warped by the flows of dimension "
            f"{strongest.dimension} of the geometric code that it learned on faces, from -{traversal_range:g} to "
            f"{traversal_range:g} standard deviations of the prior (the paper's Figure 12 a).",
        )
