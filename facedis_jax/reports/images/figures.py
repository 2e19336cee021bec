"""Figures of the deformable generator: pictures in rows, bent grids, and what the codes have to do with the view."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from facedis_jax.reports.figures import COLORS, MARKERS, MUTED, STYLE, WIDTH, face_grid

PICTURE = 160  # pixels; small photographs are shown at least so large, so that a grid on them is legible
GRID_LINES = 9
_GAP = 3  # pixels of white around each picture of a grid
GRID_COLOR = np.array([0.05, 0.35, 0.95])


def picture(image: np.ndarray) -> np.ndarray:
    """An image [size, size, 1 or 3] in [0, 1] as uint8 RGB, as large as pictures are shown."""
    image = np.clip(np.asarray(image, np.float32), 0, 1)
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    return np.round(255 * _enlarged(image)).astype(np.uint8)


def bent_grid(image: np.ndarray, flow: np.ndarray | None = None) -> np.ndarray:
    """A picture with the canonical grid on it, bent as the image was (Figure 2).

    Args:
      image: [size, size, channels] in [0, 1].
      flow: [size, size, 2] = (dx, dy) in pixels, as of `geometry.warp`; None for a straight grid.

    Returns:
      RGB uint8, as of `picture`.
    """
    shown = picture(image).astype(np.float32) / 255
    size, factor = len(shown), len(shown) / len(image)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if flow is not None:
        displacement = _enlarged(np.asarray(flow, np.float32), order=1) * factor
        x, y = x + displacement[..., 0], y + displacement[..., 1]
    spacing = (size - 1) / GRID_LINES
    # How far each pixel's source lies from the nearest line of the canonical grid; at the border the source is clipped,
    # and there is no line to be drawn all over what lies outside.
    inside = (x > -1) & (x < size) & (y > -1) & (y < size)
    nearest = np.minimum(*(np.abs((u + spacing / 2) % spacing - spacing / 2) for u in (x, y)))
    width = np.maximum(np.hypot(*np.gradient(x)), np.hypot(*np.gradient(y)))
    strength = np.clip(1.4 * np.maximum(width, 0.3) - nearest, 0, 1) * inside * 0.75
    mixed = (1 - strength[..., None]) * shown + strength[..., None] * GRID_COLOR
    return np.round(255 * mixed).astype(np.uint8)


def image_grid(
    rows: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Images in rows: [size, size, channels] in [0, 1], or uint8 pictures as `bent_grid` makes them."""

    def shown(image: np.ndarray | None) -> np.ndarray | None:
        if image is None:
            return None
        pixels = image if image.dtype == np.uint8 else picture(image)
        return np.pad(pixels, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)

    images = [[shown(image) for image in row] for row in rows]
    return face_grid(images, row_labels=row_labels, column_labels=column_labels, title=title)


@matplotlib.rc_context(STYLE)
def covariance_bars(covariances: Mapping[str, np.ndarray]) -> Figure:
    """Covariance with the view of every dimension of each code (Figure 6), on one scale.

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
    """Mean latents against the viewing angle (Figure 7a).

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
    """An image [size, size, channels] by a whole factor, to at least `PICTURE` pixels; the corners stay corners."""
    size = len(image)
    factor = -(-PICTURE // size)
    if factor == 1:
        return image
    places = (np.arange(size * factor) + 0.5) / factor - 0.5
    grid = np.meshgrid(places, places, indexing="ij")
    channels = [map_coordinates(channel, grid, order=order, mode="nearest") for channel in np.moveaxis(image, -1, 0)]
    return np.clip(np.stack(channels, -1), image.min(), image.max())
