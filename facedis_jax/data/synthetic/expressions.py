"""The named expressions of CoMA and BU-3DFE as mixtures of ARKit-style expression units.

A recipe maps a unit without its side ("mouthSmile") to a weight, which holds for the left and the right half of the
unit. Units that a model lacks are skipped, so that one table serves every face model with ARKit-style names.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from facedis_jax.errors import InputError

Recipe = Mapping[str, float]

# Names as CoMA's folders spell them; weights chosen by eye.
COMA_EXPRESSIONS: Mapping[str, Recipe] = {
    "bareteeth": {"mouthUpperUp": 0.9, "mouthLowerDown": 0.9, "mouthStretch": 0.6, "noseSneer": 0.4},
    "cheeks_in": {"mouthPucker": 0.6, "cheekPuff": -0.8},
    "eyebrow": {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 0.6},
    "high_smile": {"mouthSmile": 0.9, "cheekSquint": 0.6, "eyeSquint": 0.2, "mouthUpperUp": 0.3},
    "lips_back": {"mouthRollUpper": 0.7, "mouthRollLower": 0.7, "mouthDimple": 0.6},
    "lips_up": {"mouthUpperUp": 0.7, "mouthShrugUpper": 0.7, "mouthPucker": 0.4, "noseSneer": 0.3},
    "mouth_down": {"mouthFrown": 0.9, "mouthShrugLower": 0.6, "mouthLowerDown": 0.4},
    "mouth_extreme": {"jawOpen": 1.0, "mouthStretch": 0.7, "eyeWide": 0.6, "browInnerUp": 0.4},
    "mouth_middle": {"mouthPucker": 0.8, "mouthFunnel": 0.4},
    "mouth_open": {"jawOpen": 0.7},
    "mouth_side": {"mouthLeft": 0.8, "jawLeft": 0.4},
    "mouth_up": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.5, "jawForward": 0.4},
}

# The six prototypic emotions by their action units, and the face at rest; names as in `bu3dfe.EXPRESSIONS`.
BU3DFE_EXPRESSIONS: Mapping[str, Recipe] = {
    "angry": {"browDown": 1.0, "eyeSquint": 0.4, "mouthPress": 0.5, "noseSneer": 0.5, "jawForward": 0.3},
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.4, "browDown": 0.4, "mouthFrown": 0.5},
    "fear": {"browInnerUp": 0.9, "browOuterUp": 0.5, "eyeWide": 0.9, "mouthStretch": 0.8, "jawOpen": 0.3},
    "happy": {"mouthSmile": 1.0, "cheekSquint": 0.6, "mouthUpperUp": 0.4, "jawOpen": 0.15},
    "neutral": {},
    "sad": {"browInnerUp": 0.9, "mouthFrown": 0.9, "mouthShrugLower": 0.4},
    "surprise": {"browInnerUp": 0.9, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.7},
}

# Expressions that CoMA's subjects perform to both sides under one label.
TWO_SIDED = frozenset({"mouth_side"})

_OPPOSITE = {
    "mouthLeft": "mouthRight",
    "mouthRight": "mouthLeft",
    "jawLeft": "jawRight",
    "jawRight": "jawLeft",
}
_SIDES = {"_L": "left", "_R": "right", "Left": "left", "Right": "right"}


def split_side(name: str) -> tuple[str, str]:
    """Splits a unit's name into the unit and its side: "left", "right" or "both".

    Example:
      >>> split_side("mouthSmile_L"), split_side("browDownRight"), split_side("jawLeft")
      (('mouthSmile', 'left'), ('browDown', 'right'), ('jawLeft', 'both'))
    """
    if name not in _OPPOSITE:
        for suffix, side in _SIDES.items():
            if name.endswith(suffix):
                return name.removesuffix(suffix), side
    return name, "both"


def mirrored(recipe: Recipe) -> Recipe:
    """The recipe of the mirrored expression."""
    return {_OPPOSITE.get(unit, unit): weight for unit, weight in recipe.items()}


def unit_weights(recipe: Recipe, unit_names: Sequence[str]) -> np.ndarray:
    """The weights [units] float32 of a model's units in a recipe; 0 for units that it does not name.

    Raises:
      InputError: where the model has none of the recipe's units.
    """
    units = [split_side(name)[0] for name in unit_names]
    if recipe and not recipe.keys() & set(units):
        expected = f"one of the expression units {', '.join(recipe)}"
        raise InputError("face model", expected, ", ".join(sorted(set(units))) or "none")
    return np.array([recipe.get(unit, 0.0) for unit in units], np.float32)
