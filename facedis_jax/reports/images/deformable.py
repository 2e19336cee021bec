"""The page of a deformable generator that was learned from photographs, and its pictures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import strongest_dimensions, traversal
from facedis_jax.inference.images import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import training_curves
from facedis_jax.reports.images.figures import bent_grid, covariance_bars, image_grid, latents_against_view
from facedis_jax.reports.page import Fact, IllustratedPage
from facedis_jax.training import RunFolder

MODEL_NAMES = {"deformable": "deformable generator", "abp": "non-deformable ABP", "vae": "VAE"}


@dataclass(frozen=True)
class DeformableResults:
    """What was found out about a deformable generator.

    Attributes:
      numbers: as in results.json.
      codec: of the deformable generator.
      images: [images, size, size, channels] uint8, unseen ones.
      latents, predictions, canonical: of those.
      covariances: from `view_results`, or None where no view is known.
      rows: of metrics.jsonl, by model.
      labels: of the images.
    """

    numbers: Mapping[str, Any]
    codec: ImageCodec
    images: np.ndarray
    latents: Latents
    predictions: np.ndarray
    canonical: np.ndarray
    covariances: Mapping[str, Any] | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]


def write_deformable_report(
    folder: RunFolder,
    image_set: ImageSet,
    results: DeformableResults,
    *,
    command: str,
    traversal_range: tuple[float, float],
    title: str = "Appearance apart from geometry",
) -> None:
    """Writes one self-contained HTML page, and every picture on it as a PNG.

    Args:
      folder: of the run.
      image_set: the data.
      results: what was measured.
      command: what made the run, as it is typed.
      traversal_range: how far dimensions of the appearance and of the geometric code are moved.
      title: of the page.
    """
    steps = results.numbers["deformable"]["steps"]
    minutes = results.numbers["deformable"]["seconds"] / 60
    subtitle = f"{image_set.name}, {image_set.size} x {image_set.size}, {steps} steps in {minutes:.1f} min"
    page = IllustratedPage(title, f"{subtitle} on {results.numbers['device']}", folder.figures)
    _glance(page, results)
    page.command(command)
    _reconstructions(page, results)
    page.heading("What the dimensions of the codes do")
    basis_functions(page, results.codec, results.latents.appearance[_spread(results, 4)], traversal_range)
    _views(page, results, traversal_range)
    page.heading("Codes recombined")
    rows = _spread(results, 8)
    recombinations(page, results.codec, results.images[rows], Latents(*(z[rows] for z in results.latents)))
    _tables(page, results)
    page.write(folder.report_file)


def _glance(page: IllustratedPage, results: DeformableResults) -> None:
    numbers = results.numbers
    page.heading("At a glance")
    others = [name for name in ("abp", "vae") if name in numbers]
    beside = ", ".join(f"{MODEL_NAMES[name]}: {numbers[name]['squared_error']['mean']:.1f}" for name in others)
    error = numbers["deformable"]["squared_error"]["mean"]
    facts = [Fact("Squared error per unseen image", f"{error:.1f}", beside)]
    if "view_covariance" in numbers:
        ratio = numbers["view_covariance"]["ratio"]
        facts.append(Fact("View in the geometric code", f"{ratio:.1f}×", "as much as in the appearance code (Eq. 21)"))
    if "canonical_spread" in numbers:
        ratio = numbers["canonical_spread"]["ratio"]
        note = "what is left of one person's differences between poses in the canonical faces"
        facts.append(Fact("Pose left in the appearance", f"{100 * ratio:.0f}%", note))
    page.facts(facts)


def _reconstructions(page: IllustratedPage, results: DeformableResults) -> None:
    page.heading("Photographs taken apart")
    rows = _spread(results, 8)
    flows = results.codec.flow(results.latents.geometry[rows])
    page.illustration(
        "reconstructions",
        image_grid(
            [
                list(results.images[rows] / np.float32(255)),
                [bent_grid(image) for image in results.canonical[rows]],
                [bent_grid(image, flow) for image, flow in zip(results.predictions[rows], flows, strict=True)],
                list(results.predictions[rows]),
            ],
            row_labels=["unseen photograph", "appearance, straight grid", "bent by the geometry", "reconstruction"],
        ),
        alt="Photographs, their canonical appearance, and the same bent",
        caption="Unseen photographs; what the appearance code alone says of them, under a straight grid; the same bent "
        "by the geometric code, with the grid bent along (the paper's Figure 2).",
    )


def basis_functions(
    page: IllustratedPage, codec: ImageCodec, persons: np.ndarray, traversal_range: tuple[float, float]
) -> None:
    """Figures 3 to 5: the strongest dimensions of both codes.

    Args:
      page: to add to.
      codec: of the model.
      persons: [n, latents], appearance codes of a few images.
      traversal_range: how far dimensions of the appearance and of the geometric code are moved.
    """
    origin = _origin(codec)
    appearance_values, geometry_values = (np.linspace(-r, r, 10, dtype=np.float32) for r in traversal_range)
    appearance = strongest_dimensions(codec, "appearance", origin, traversal_range[0], 4)
    page.illustration(
        "appearance_basis",
        image_grid(
            [list(traversal(codec, "appearance", origin, k, appearance_values)) for k in appearance],
            row_labels=[f"appearance {k}" for k in appearance],
            column_labels=[f"{value:+.1f}" for value in appearance_values],
        ),
        alt="Images along dimensions of the appearance code",
        caption="The four dimensions of the appearance code that change the image most, all others at zero (the "
        "paper's Figure 3).",
    )
    base = origin._replace(appearance=persons[0])
    geometry = strongest_dimensions(codec, "geometry", base, traversal_range[1], 4)
    page.illustration(
        "geometry_basis",
        image_grid(
            [list(traversal(codec, "geometry", base, k, geometry_values)) for k in geometry],
            row_labels=[f"geometry {k}" for k in geometry],
            column_labels=[f"{value:+.1f}" for value in geometry_values],
        ),
        alt="Images along dimensions of the geometric code",
        caption="The four dimensions of the geometric code that change the image most, on the appearance of one "
        "photograph, all others at zero (the paper's Figure 4).",
    )
    page.illustration(
        "geometry_on_others",
        image_grid(
            [
                list(traversal(codec, "geometry", origin._replace(appearance=person), geometry[0], geometry_values))
                for person in persons
            ],
            column_labels=[f"{value:+.1f}" for value in geometry_values],
        ),
        alt="One dimension of the geometric code on several appearances",
        caption=f"Dimension {geometry[0]} of the geometric code on the appearances of four photographs: it moves all "
        "of them alike and leaves them who they are (the paper's Figure 5).",
    )


def _views(page: IllustratedPage, results: DeformableResults, traversal_range: tuple[float, float]) -> None:
    covariances = results.covariances
    if covariances is None:
        return
    page.heading("Where the view is")
    page.illustration(
        "view_covariance",
        covariance_bars({f"{name} code": covariances[name]["covariance"] for name in ("geometry", "appearance")}),
        alt="Covariance of every dimension with the view",
        caption="Absolute covariance of every dimension's mean with the view, Eq. 21 (the paper's Figure 6).",
    )
    geometry = np.argsort(-covariances["geometry"]["covariance"])[:2]
    appearance = int(np.argmax(covariances["appearance"]["covariance"]))
    lines = {f"geometry {k}": covariances["geometry"]["mean"][:, k] for k in geometry}
    lines[f"appearance {appearance}"] = covariances["appearance"]["mean"][:, appearance]
    page.illustration(
        "latents_against_view",
        latents_against_view(covariances["angles"], lines),
        alt="Mean latents against the view",
        caption="The two dimensions of the geometric code, and the one of the appearance code, that have most to do "
        "with the view (the paper's Figure 7a).",
    )
    base = _origin(results.codec)._replace(appearance=results.latents.appearance[_spread(results, 1)[0]])
    rows = [("geometry", int(k), traversal_range[1]) for k in geometry] + [
        ("appearance", appearance, traversal_range[0])
    ]
    page.illustration(
        "view_traversals",
        image_grid(
            [
                list(traversal(results.codec, which, base, k, np.linspace(-r, r, 10, dtype=np.float32)))
                for which, k, r in rows
            ],
            row_labels=[f"{which} {k}" for which, k, _ in rows],
        ),
        alt="Images along the dimensions that have most to do with the view",
        caption="The same dimensions from one end to the other (the paper's Figure 7b).",
    )


def recombinations(page: IllustratedPage, codec: ImageCodec, images: np.ndarray, codes: Latents) -> None:
    """Figure 11: the first image's appearance with the others' geometry, and the reverse.

    Args:
      page: to add to.
      codec: of the model.
      images: [n, size, size, channels] uint8.
      codes: of those, [n, latents].
    """
    first = Latents(*(np.repeat(z[:1], len(images), axis=0) for z in codes))
    bent = codec.decode(Latents(first.appearance, codes.geometry))
    dressed = codec.decode(Latents(codes.appearance, first.geometry))
    page.illustration(
        "recombinations",
        image_grid(
            [list(images / np.float32(255)), [None, *bent[1:]], [None, *dressed[1:]]],
            row_labels=["unseen photograph", "appearance of the first", "geometry of the first"],
        ),
        alt="Appearance and geometry of different photographs combined",
        caption="The first photograph's appearance with the others' geometry, and the others' appearance with the "
        "first one's geometry (the paper's Figure 11).",
    )


def _tables(page: IllustratedPage, results: DeformableResults) -> None:
    numbers = results.numbers
    page.heading("Results")
    rows = []
    for name, label in MODEL_NAMES.items():
        if name in numbers:
            error = numbers[name]["squared_error"]
            spread = f"{error['mean']:.2f} ± {error['std']:.2f}"
            rows.append(
                {
                    "model": label,
                    "squared error per image": spread,
                    "median": error["median"],
                    "steps": numbers[name]["steps"],
                    "minutes": numbers[name]["seconds"] / 60,
                }
            )
    page.table(
        rows,
        decimals={"median": 2, "minutes": 1},
        caption=f"Squared error of {numbers['images']['test']} unseen images, summed over pixels and channels in "
        "[0, 1], mean and standard deviation over images. Every model has as many latents and sees the training "
        "images as often.",
    )
    if "view_covariance" in numbers:
        covariance = numbers["view_covariance"]
        page.table(
            [
                {
                    "code": name,
                    "largest covariance with the view": covariance[name],
                }
                for name in ("geometry", "appearance")
            ],
            caption=f"Eq. 21; their ratio is {covariance['ratio']:.1f}.",
        )
    if "canonical_spread" in numbers:
        spread = numbers["canonical_spread"]
        page.table(
            [{"photographs": spread["input"], "canonical faces": spread["canonical"], "ratio": spread["ratio"]}],
            decimals=4,
            caption="Mean squared difference of pixels between images of one person at different poses, all else "
            "equal.",
        )
    page.heading("Training")
    for name, curve in results.rows.items():
        page.illustration(
            f"curves_{name}",
            training_curves(curve),
            alt=f"Curves of the {MODEL_NAMES[name]}",
            caption=f"The {MODEL_NAMES[name]}: training images with the codes of their chains, test images with codes "
            "inferred from the prior on."
            if name != "vae"
            else "The VAE: training images with sampled codes, test images with posterior means.",
        )


def _origin(codec: ImageCodec) -> Latents:
    return Latents(
        np.zeros(codec.appearance_latents, np.float32),
        np.zeros(codec.geometry_latents, np.float32),
    )


def _spread(results: DeformableResults, count: int) -> np.ndarray:
    """Rows of images spread over the set, of several people and, where they are known, several views."""
    total = len(results.images)
    if "sitting" not in results.labels:
        return evenly_spaced(total, count)
    sittings = np.unique(results.labels["sitting"])
    chosen = []
    for i in range(min(count, total)):
        own = np.flatnonzero(results.labels["sitting"] == sittings[i % len(sittings)])
        chosen.append(own[(2 + 2 * i) % len(own)])
    return np.array(chosen)
