"""The page of the deformable generator beyond faces: digits, objects, and bends carried over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import strongest_dimensions, traversal
from facedis_jax.geometry import warp
from facedis_jax.inference.images import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.images.figures import bent_grid, image_grid
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.training import RunFolder

_STEPS = 10  # pictures along a dimension, as in the paper


@dataclass(frozen=True)
class Digits:
    """Held-out digits and how the templates explain them.

    Attributes:
      codec: of the templates.
      images: [images, size, size, 1] uint8.
      truth, predicted: [images], which digit.
      energies: [images, 10] nats.
      geometry: [images, 10, latents], the codes that bend each template towards each image.
      name: of the set.
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
        return float(np.mean(self.truth == self.predicted))


@dataclass(frozen=True)
class CarriedBends:
    """Bends learned on one set, and pictures [images, size, size, channels] of another one."""

    codec: ImageCodec
    images: np.ndarray
    name: str


@dataclass(frozen=True)
class ObjectResults:
    """All that the page shows; `cars` is None where none were learned. `rows` are of metrics.jsonl, by model."""

    digits: Digits
    cars: ImageCodec | None
    bends: CarriedBends
    rows: Mapping[str, Sequence[Mapping[str, Any]]]


def write_objects_report(
    folder: RunFolder, results: ObjectResults, *, command: str, traversal_range: float, device: str
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG.

    Args:
      folder: of the run.
      results: what was found.
      command: what made the run, as it is typed.
      traversal_range: how far dimensions of the geometric code are moved.
      device: what it ran on.
    """
    page = IllustratedPage(
        "Bends beyond faces", f"{results.digits.name}, {results.bends.name}, on {device}", folder.figures
    )
    page.heading("At a glance")
    digits = results.digits
    note = f"{len(digits.images)} held-out digits, by the template of lowest energy"
    page.facts([Fact("Digits told apart", f"{100 * digits.accuracy:.1f}%", note)])
    page.command(command)
    _digits(page, digits, traversal_range)
    if results.cars is not None:
        _cars(page, results.cars, traversal_range)
    _bends(page, results.bends, traversal_range)
    page.heading("Training")
    for name, rows in results.rows.items():
        page.illustration(
            f"curves_{name}",
            training_curves(rows),
            alt=f"Curves of {name}",
            caption=f"{name.capitalize()}: metrics over the steps of training.",
        )
    page.write(folder.report_file)


def _digits(page: IllustratedPage, digits: Digits, traversal_range: float) -> None:
    codec, one_hot = digits.codec, np.eye(10, dtype=np.float32)
    page.heading("Digits as bent templates")
    templates = codec.canonical(one_hot)
    origin = Latents(one_hot[3], np.zeros(codec.geometry_latents, np.float32))
    values = np.linspace(-traversal_range, traversal_range, _STEPS, dtype=np.float32)
    strongest = strongest_dimensions(codec, "geometry", origin, traversal_range, 2)
    for place, dimension in enumerate(strongest, 1):
        page.illustration(
            f"digits_{place}",
            image_grid(
                [
                    [
                        templates[k],
                        *traversal(codec, "geometry", origin._replace(appearance=one_hot[k]), dimension, values),
                    ]
                    for k in range(10)
                ],
                column_labels=["template", *(f"{value:+.1f}" for value in values)],
            ),
            alt="Templates bent along one dimension of the geometric code",
            caption=f"The ten templates, and each bent along dimension {dimension} of the geometric code, all others "
            "at zero (the paper's Figure 13).",
        )
    rows = np.array([np.flatnonzero(digits.truth == k)[0] for k in range(10) if np.any(digits.truth == k)])
    own, chosen = digits.truth[rows], digits.predicted[rows]
    bent = codec.decode(Latents(one_hot[chosen], digits.geometry[rows, chosen]))
    flows = codec.flow(digits.geometry[rows, chosen])
    page.illustration(
        "digits_explained",
        image_grid(
            [
                list(digits.images[rows] / np.float32(255)),
                [bent_grid(image) for image in templates[chosen]],
                [bent_grid(image, flow) for image, flow in zip(bent, flows, strict=True)],
            ],
            row_labels=["held-out digit", "its template", "bent"],
            column_labels=[f"{a}" if a == b else f"{a} as {b}" for a, b in zip(own, chosen, strict=True)],
        ),
        alt="Held-out digits, the templates that explain them, and these bent",
        caption="Held-out digits, the template of lowest energy, and the same bent towards the digit.",
    )
    wrong = np.flatnonzero(digits.truth != digits.predicted)[:10]
    if len(wrong):
        page.illustration(
            "digits_confused",
            image_grid(
                [list(digits.images[wrong] / np.float32(255))],
                column_labels=[f"{digits.truth[i]} as {digits.predicted[i]}" for i in wrong],
            ),
            alt="Digits taken for others",
            caption="Digits that another template explained better.",
        )
    page.table(
        [
            {"digit": str(k), "images": int(own.sum()), "told apart": float(np.mean(digits.predicted[own] == k))}
            for k in range(10)
            if (own := digits.truth == k).any()
        ],
        caption="Share of held-out digits of each kind that their own template explains best.",
    )


def _cars(page: IllustratedPage, codec: ImageCodec, traversal_range: float) -> None:
    page.heading("Cars")
    appearance = np.asarray(jax.random.normal(jax.random.key(0), (4, codec.appearance_latents)))
    values = np.linspace(-traversal_range, traversal_range, _STEPS, dtype=np.float32)
    rows = []
    for code in appearance:
        base = Latents(code, np.zeros(codec.geometry_latents, np.float32))
        rows.append(
            list(
                traversal(
                    codec,
                    "geometry",
                    base,
                    strongest_dimensions(codec, "geometry", base, traversal_range, 1)[0],
                    values,
                )
            )
        )
    page.illustration(
        "cars",
        image_grid(rows, column_labels=[f"{value:+.1f}" for value in values]),
        alt="Cars along a dimension of the geometric code",
        caption="Appearances drawn from the prior, each along the dimension of the geometric code that moves it most "
        "(the paper's Figure 12 b).",
    )


def _bends(page: IllustratedPage, bends: CarriedBends, traversal_range: float) -> None:
    codec = bends.codec
    page.heading("Bends carried over")
    base = Latents(np.zeros(codec.appearance_latents, np.float32), np.zeros(codec.geometry_latents, np.float32))
    values = np.linspace(-traversal_range, traversal_range, _STEPS, dtype=np.float32)
    rows = evenly_spaced(len(bends.images), 3)
    for place, dimension in enumerate(strongest_dimensions(codec, "geometry", base, traversal_range, 2), 1):
        code = np.zeros((_STEPS, codec.geometry_latents), np.float32)
        code[:, dimension] = values
        flows = codec.flow(code)
        pictures = []
        for row in rows:
            image = jnp.asarray(bends.images[row] / np.float32(255))
            pictures.append(
                [np.asarray(image), *np.asarray(jax.vmap(warp, in_axes=(None, 0))(image, jnp.asarray(flows)))]
            )
        page.illustration(
            f"bends_{place}",
            image_grid(pictures, column_labels=["as it is", *(f"{value:+.1f}" for value in values)]),
            alt="Pictures of another set bent as faces are",
            caption=f"Pictures that the model has never seen the like of, bent along dimension {dimension} of the "
            "geometric code that it learned on faces (the paper's Figure 12 a).",
        )
