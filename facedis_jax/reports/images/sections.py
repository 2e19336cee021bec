"""Sections that the pages of several deformable generators share: traversals of the codes, and recombined codes."""

import numpy as np

from facedis_jax.evaluation.images import strongest_dimensions, to_unit_range, zero_latents
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.figures import Traversal, image_grid, traversal_grid
from facedis_jax.reports.page import IllustratedPage

_DIMENSIONS = 4  # of each code, as in the paper's figures

UNSEEN = "unseen image"


def strongest_traversals(
    codec: ImageCodec, which: str, base: Latents, traversal_range: float, count: int = _DIMENSIONS
) -> list[Traversal]:
    """Traversals of the `count` dimensions of a code that change the image most; arguments as of `Traversal`."""
    dimensions = strongest_dimensions(codec, which, base, traversal_range, count)
    return [Traversal(which, base, int(dimension), traversal_range) for dimension in dimensions]


def show_traversals(
    page: IllustratedPage, codec: ImageCodec, appearances: np.ndarray, traversal_range: tuple[float, float]
) -> None:
    """Adds Figures 3 to 5: traversals of the strongest dimensions of both codes.

    Args:
      page: to add to.
      codec: of the model.
      appearances: [n, latents], appearance codes of a few images, on which the geometric code is shown.
      traversal_range: of the appearance and of the geometric code, in standard deviations of the prior.
    """
    page.heading("Traversals of the codes")
    of_appearance, of_geometry = (f"from -{r:g} to {r:g} standard deviations of the prior" for r in traversal_range)
    origin = zero_latents(codec)
    page.illustration(
        "appearance_basis",
        traversal_grid(codec, strongest_traversals(codec, "appearance", origin, traversal_range[0])),
        alt="Images along dimensions of the appearance code",
        caption="Rows: the four dimensions of the appearance code that change the image most, each "
        f"{of_appearance}; all other dimensions are at zero (the paper's Figure 3).",
    )
    geometry = strongest_traversals(codec, "geometry", origin._replace(appearance=appearances[0]), traversal_range[1])
    page.illustration(
        "geometry_basis",
        traversal_grid(codec, geometry),
        alt="Images along dimensions of the geometric code",
        caption="Rows: the four dimensions of the geometric code that change the image most, each "
        f"{of_geometry}, on the appearance code of one image; all other dimensions are at zero (the paper's Figure 4).",
    )
    bases = [origin._replace(appearance=appearance) for appearance in appearances]
    page.illustration(
        "geometry_on_others",
        traversal_grid(codec, [geometry[0]._replace(base=base) for base in bases], row_labels=False),
        alt="One dimension of the geometric code on several appearance codes",
        caption=f"Dimension {geometry[0].dimension} of the geometric code, {of_geometry}, on the appearance codes of "
        f"{len(appearances)} images; in the paper's Figure 5 all are deformed alike, and their appearance stays.",
    )


def show_recombinations(page: IllustratedPage, codec: ImageCodec, images: np.ndarray, codes: Latents) -> None:
    """Adds Figure 11: the first image's appearance with the others' geometry, and the reverse.

    Args:
      page: to add to.
      codec: of the model.
      images: [n, size, size, channels] uint8.
      codes: of those, [n, latents].
    """
    page.heading("Codes recombined")
    first = Latents(*(np.repeat(z[:1], len(images), axis=0) for z in codes))
    one_appearance = codec.decode(Latents(first.appearance, codes.geometry))
    one_geometry = codec.decode(Latents(codes.appearance, first.geometry))
    page.illustration(
        "recombinations",
        image_grid(
            [list(to_unit_range(images)), [None, *one_appearance[1:]], [None, *one_geometry[1:]]],
            row_labels=[UNSEEN, "appearance of the first", "geometry of the first"],
        ),
        alt="Appearance and geometry of different images combined",
        caption="The first image's appearance code with the geometric codes of the others, and the appearance codes of "
        "the others with the first one's geometric code (the paper's Figure 11).",
    )
