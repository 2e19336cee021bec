"""Random looks of synthetic people: skin from light to dark, hair, eyes, clothes and backgrounds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from facedis_jax.data.synthetic.portrait import MATERIALS

# Skin under white light, from light to dark, chosen by eye from images of people.
_SKIN = np.array([(247, 214, 194), (233, 192, 162), (207, 157, 121), (164, 117, 84), (118, 80, 58), (78, 52, 40)]) / 255
_HAIR = np.array(
    [(22, 17, 16), (40, 28, 22), (62, 42, 30), (104, 70, 42), (126, 60, 32), (104, 102, 102), (176, 138, 84)]
)
_IRIS = np.array([(52, 32, 22), (78, 50, 30), (96, 84, 48), (84, 112, 138), (86, 110, 86)])
_DARKER_THAN_SKIN = 0.58  # hair and irises, at least by this factor, where there are any


@dataclass(frozen=True)
class Style:
    """The range of looks in a set of images, by which it differs from other sets.

    Attributes:
      skin: lightest and darkest, 0 (light) to 1 (dark).
      hue: of backgrounds, lowest and highest, in turns of the colour wheel.
      saturation, brightness: of backgrounds, lowest and highest.
      tint: mean RGB of the lamp.
    """

    skin: tuple[float, float] = (0.0, 1.0)
    hue: tuple[float, float] = (0.5, 0.75)
    saturation: tuple[float, float] = (0.0, 0.3)
    brightness: tuple[float, float] = (0.25, 0.9)
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


# "studio": cool and grey screens, white light; "garden": greens and browns in the light of the evening.
STYLES: Mapping[str, Style] = {
    "studio": Style(),
    "garden": Style(
        skin=(0.1, 0.7), hue=(0.08, 0.36), saturation=(0.3, 0.65), brightness=(0.2, 0.6), tint=(1.1, 0.95, 0.78)
    ),
}


def draw_person(rng: np.random.Generator, style: Style) -> dict[str, np.ndarray]:
    """The looks of a random person: the fields of `camera.Looks` for one image.

    In place of colours, `background` [3] is the mean hue, saturation and brightness of the person's backgrounds, for
    `draw_background`.
    """
    skin = _interpolated(_SKIN, rng.uniform(*style.skin)) * rng.normal(1, [0.015, 0.015, 0.02])
    colors = {
        "skin": skin,
        "lips": skin * (0.86, 0.66, 0.66) + rng.uniform(0.0, 0.08) * np.array([1.0, 0.1, 0.3]),
        "hair": _picked(rng, _HAIR, skin),
        "iris": _picked(rng, _IRIS, skin),
        "eye": np.array([0.80, 0.78, 0.76]),
        "tooth": np.array([0.86, 0.83, 0.77]),
        "dark": np.array([0.13, 0.06, 0.05]),
        "clothes": hsv(rng.uniform(), rng.uniform(0.1, 0.6), rng.uniform(0.15, 0.8)),
    }
    colors["brow"] = rng.uniform(0.55, 0.9) * (colors["hair"] - skin) + skin
    return {
        "colors": np.clip(np.stack([colors[name] for name in MATERIALS]), 0.02, 1).astype(np.float32),
        "background": np.array(
            [rng.uniform(*style.hue), rng.uniform(*style.saturation), rng.uniform(*style.brightness)]
        ),
        "hairline": np.float32(rng.normal(-14, 4)),
        "hair_length": np.float32(rng.choice([rng.uniform(15, 45), rng.uniform(90, 150)])),
    }


def draw_background(rng: np.random.Generator, person: np.ndarray) -> np.ndarray:
    """A background [2, 3], RGB at the top and the bottom, near a person's own hue, saturation and brightness."""
    hue, saturation, brightness = person + rng.normal(0, [0.02, 0.04, 0.06])
    slope = rng.normal(0, 0.05)
    return np.stack([hsv(hue, saturation, brightness + slope), hsv(hue, saturation, brightness - slope)])


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGB [3] of a hue, in turns, and of a saturation and a value, which are clipped to 0..1."""
    saturation, value = np.clip([saturation, value], 0, 1)
    ramp = np.abs((hue + np.array([0, 2 / 3, 1 / 3])) % 1 * 6 - 3) - 1
    return value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))


def _interpolated(colors: np.ndarray, share: float) -> np.ndarray:
    at = np.linspace(0, 1, len(colors))
    return np.array([np.interp(share, at, colors[:, channel]) for channel in range(3)])


def _picked(rng: np.random.Generator, palette: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """One of the colours of a palette that go with a skin; the darkest, its first, goes with all."""
    colors = palette / 255
    fitting = np.flatnonzero(colors.sum(-1) < _DARKER_THAN_SKIN * skin.sum())
    return colors[rng.choice(fitting) if len(fitting) else 0] * rng.uniform(0.9, 1.15)
