"""Figures of the deformable generator: images in rows, warped grids, and how codes depend on the view."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from facedis_jax.evaluation.images import traversal
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.figures import COLORS, MARKERS, MUTED, STYLE, WIDTH
from facedis_jax.reports.grids import grid_figure

DISPLAY_SIZE = 160  # pixels; smaller images are enlarged to at least this size, so that a grid on them is legible
GRID_LINES = 9
GRID_COLOR = np.array([0.05, 0.35, 0.95])
TRAVERSAL_STEPS = 10  # images along a dimension, as in the paper
_GAP = 3  # white pixels around each image of a grid


def display_image(image: np.ndarray) -> np.ndarray:
    """RGB uint8 of an image [size, size, 1 or 3] in [0, 1], enlarged to at least `DISPLAY_SIZE` pixels."""
    image = np.clip(np.asarray(image, np.float32), 0, 1)
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    return np.round(255 * _enlarged(image)).astype(np.uint8)


def grid_overlay(image: np.ndarray, flow: np.ndarray | None = None) -> np.ndarray:
    """An image under the canonical grid, or under that grid warped by a flow as the image was (Figure 2).

    Args:
      image: [size, size, channels] in [0, 1].
      flow: [size, size, 2] = (dx, dy) in pixels, as of `geometry.warp`; None for the canonical grid.

    Returns:
      RGB uint8, as of `display_image`.
    """
    shown = display_image(image).astype(np.float32) / 255
    size, factor = len(shown), len(shown) / len(image)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if flow is not None:
        displacement = _enlarged(np.asarray(flow, np.float32), order=1) * factor
        x, y = x + displacement[..., 0], y + displacement[..., 1]
    spacing = (size - 1) / GRID_LINES
    # How far each pixel's source lies from the nearest line of the canonical grid. Sources outside of the image are
    # clipped to its border, where the outermost line is, which would otherwise cover all that lies outside.
    inside = (x > -1) & (x < size) & (y > -1) & (y < size)
    nearest = np.minimum(*(np.abs((u + spacing / 2) % spacing - spacing / 2) for u in (x, y)))
    width = np.maximum(np.hypot(*np.gradient(x)), np.hypot(*np.gradient(y)))
    strength = np.clip(1.4 * np.maximum(width, 0.3) - nearest, 0, 1) * inside * 0.75
    mixed = (1 - strength[..., None]) * shown + strength[..., None] * GRID_COLOR
    return np.round(255 * mixed).astype(np.uint8)


def grid_overlays(images: Iterable[np.ndarray], flows: Iterable[np.ndarray] | None = None) -> list[np.ndarray]:
    """`grid_overlay` of each image [images, size, size, channels], with its flow [images, size, size, 2] if given."""
    if flows is None:
        return [grid_overlay(image) for image in images]
    return [grid_overlay(image, flow) for image, flow in zip(images, flows, strict=True)]


def image_grid(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """A figure of images in rows: [size, size, channels] in [0, 1], or uint8 as of `display_image`."""

    def shown(image: np.ndarray | None) -> np.ndarray | None:
        if image is None:
            return None
        pixels = image if image.dtype == np.uint8 else display_image(image)
        return np.pad(pixels, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)

    images = [[shown(image) for image in row] for row in rows]
    return grid_figure(images, row_labels=row_labels, column_labels=column_labels, title=title)


class Traversal(NamedTuple):
    """One dimension of a code that goes from minus to plus `traversal_range`, all others as in `base`.

    Attributes:
      which: "appearance" or "geometry".
      base: latents [latents] of one image.
      dimension: index into the code.
      traversal_range: in standard deviations of the prior.
    """

    which: str
    base: Latents
    dimension: int
    traversal_range: float

    @property
    def values(self) -> np.ndarray:
        """[TRAVERSAL_STEPS], evenly spaced."""
        return np.linspace(-self.traversal_range, self.traversal_range, TRAVERSAL_STEPS, dtype=np.float32)

    @property
    def column_labels(self) -> list[str]:
        return [f"{value:+.1f}" for value in self.values]

    def images(self, codec: ImageCodec) -> list[np.ndarray]:
        """One image for each of `values`."""
        return list(traversal(codec, self.which, self.base, self.dimension, self.values))


def traversal_grid(codec: ImageCodec, traversals: Sequence[Traversal], *, row_labels: bool = True) -> Figure:
    """A figure with a row for each traversal (Figures 3 to 5 and 7b).

    Args:
      codec: of the model.
      traversals: one per row; columns are labelled by the values if all have the same.
      row_labels: whether rows are labelled by their dimensions.
    """
    same_values = len({each.traversal_range for each in traversals}) == 1
    return image_grid(
        [each.images(codec) for each in traversals],
        row_labels=[f"{each.which} {each.dimension}" for each in traversals] if row_labels else (),
        column_labels=traversals[0].column_labels if same_values else (),
    )


@matplotlib.rc_context(STYLE)
def covariance_bars(covariances: Mapping[str, np.ndarray]) -> Figure:
    """Bar charts of the covariance of each code's dimensions with the view (Figure 6), on one scale.

    Args:
      covariances: name of the code -> [dims], of Eq. 21.
    """
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    top = max(float(values.max()) for values in covariances.values()) * 1.05
    for i, (name, values) in enumerate(covariances.items()):
        axes = figure.add_subplot(1, len(covariances), i + 1, title=name, xlabel="dimension", ylim=(0, top))
        axes.bar(np.arange(len(values)), values, color=COLORS[i], width=0.8)
        if i == 0:
            axes.set_ylabel("|covariance with the view|")
    return figure


@matplotlib.rc_context(STYLE)
def latents_against_view(angles: np.ndarray, latents: Mapping[str, np.ndarray]) -> Figure:
    """Line plots of mean latents against the viewing angle (Figure 7a), on one scale.

    Args:
      angles: [views], degrees.
      latents: name of the dimension -> [views], means over the images of each view.
    """
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    bound = max(float(np.abs(values).max()) for values in latents.values()) * 1.1
    for i, (name, values) in enumerate(latents.items()):
        axes = figure.add_subplot(1, len(latents), i + 1, title=name, xlabel="view (degrees)", ylim=(-bound, bound))
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.plot(angles, values, color=COLORS[i % len(COLORS)], marker=MARKERS[0])
        axes.set_xticks(angles)
        if i == 0:
            axes.set_ylabel("mean latent")
    return figure


def _enlarged(image: np.ndarray, *, order: int = 3) -> np.ndarray:
    """An image [size, size, channels] by a whole factor, to at least `DISPLAY_SIZE` pixels, edges aligned."""
    size = len(image)
    factor = -(-DISPLAY_SIZE // size)
    if factor == 1:
        return image
    places = (np.arange(size * factor) + 0.5) / factor - 0.5
    grid = np.meshgrid(places, places, indexing="ij")
    channels = [map_coordinates(channel, grid, order=order, mode="nearest") for channel in np.moveaxis(image, -1, 0)]
    return np.clip(np.stack(channels, -1), image.min(), image.max())
