"""Pictures of the site's pages: rows of images, and plots that can be read on light and on dark."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

INK = "#808890"
COLORS = ("#3b82c4", "#d9763b", "#3f9e6b", "#a36bc2")

plt.rcParams.update(
    {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "figure.figsize": (6.4, 3.0),
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": plt.cycler(color=COLORS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "text.color": INK,
        **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    }
)


def row(images: Iterable[np.ndarray], *, enlarge: int = 1) -> Image.Image:
    """Images [height, width, 3 or 4], uint8 or in [0, 1], side by side.

    Args:
      images: of one size.
      enlarge: how many pixels each becomes along either axis.
    """
    return grid([images], enlarge=enlarge)


def grid(rows: Iterable[Iterable[np.ndarray]], *, enlarge: int = 1) -> Image.Image:
    """Rows of images as of `row`, one below the other."""
    whole = np.concatenate([np.concatenate([_as_bytes(image) for image in images], 1) for images in rows], 0)
    return Image.fromarray(whole.repeat(enlarge, 0).repeat(enlarge, 1))


def _as_bytes(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    return image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
