"""Digits with known truth: ten glyphs of one typeface, each image a random warp of one of them."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.errors import InputError


@dataclass(frozen=True)
class DigitConfig:
    """How many digits there are and how they are warped.

    Attributes:
      train, test: how many images in either half; image i shows the digit i modulo 10.
      turn: standard deviation of the rotation, degrees.
      stretch: standard deviation of the logarithms of width and height.
      slant: standard deviation of the shear.
      shift: standard deviation of the position, as a share of the image's height.
      ripple: standard deviation of a smooth displacement that is added, as a share of the image's height.
      seed: of everything that is drawn.
    """

    train: int = 1000
    test: int = 200
    turn: float = 10.0
    stretch: float = 0.12
    slant: float = 0.15
    shift: float = 0.03
    ripple: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 1:
            raise InputError("digits", "at least one image in either half", f"{self.train} and {self.test}")


def synthetic_digits(config: DigitConfig, *, size: int = 32) -> ImageSet:
    """A set of white digits on black, with the label "category".

    Image i of a half does not depend on how many there are.

    Example:
      >>> digits = synthetic_digits(DigitConfig(train=20, test=10), size=16)
      >>> digits.train.source[3]["image"].shape, digits.train.labels["category"][:4].tolist()
      ((16, 16, 1), [0, 1, 2, 3])
    """
    glyphs = np.stack([_glyph(str(digit), size) for digit in range(10)])

    def half(which: int, count: int) -> ImageSplit:
        images = np.stack([_warped(glyphs[i % 10], config, which, i) for i in range(count)])
        return ImageSplit(
            source=ArrayImages(np.round(255 * images[..., None]).astype(np.uint8)),
            names=tuple(f"digit_{i:05d}" for i in range(count)),
            labels={"category": np.arange(count, dtype=np.int32) % 10},
        )

    return ImageSet(
        name="synthetic digits",
        train=half(0, config.train),
        test=half(1, config.test),
        shape=(size, size, 1),
        content_hash=hashlib.sha256(json.dumps(["digits", asdict(config), size]).encode()).hexdigest(),
        classes={"category": tuple("0123456789")},
    )


def _glyph(text: str, size: int) -> np.ndarray:
    """One character, two thirds as high as the image and in its middle: [size, size] in 0..1."""
    # Imported where it is used: whoever asks an experiment for its `--help` should not wait for it.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=size, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "text.antialiased": True}):
        # Points are 1/72 of an inch, which is the image; a digit is 0.73 of its font's size high.
        figure.text(0.5, 0.48, text, color="white", fontsize=72 * 0.9, ha="center", va="center_baseline")
        canvas.draw()
    return np.asarray(canvas.buffer_rgba(), np.float32)[..., 0] / 255


def _warped(glyph: np.ndarray, config: DigitConfig, which: int, index: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter, map_coordinates

    rng = np.random.default_rng([config.seed, which, index])
    size = len(glyph)
    angle = np.radians(rng.normal(0, config.turn))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1.0, 0.0], [rng.normal(0, config.slant), 1.0]])  # rows are (y, x)
    stretch = np.diag(np.exp(rng.normal(0, config.stretch, 2)))
    middle = (size - 1) / 2
    pixels = np.indices((size, size), dtype=np.float64) - middle
    source = np.tensordot(turn @ slant @ stretch, pixels, 1) + middle
    source += size * rng.normal(0, config.shift, (2, 1, 1))
    ripple = np.stack([gaussian_filter(rng.normal(size=(size, size)), size / 8, mode="nearest") for _ in range(2)])
    source += config.ripple * size * ripple / ripple.std()
    return np.clip(map_coordinates(glyph, source, order=1), 0, 1)
