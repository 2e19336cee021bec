"""What a named expression is: CoMA's twelve and BU-3DFE's six as mixtures of ARKit-style expression units.

A recipe maps a unit without its side ("mouthSmile") to a weight; a model's left and right halves of a unit both follow
it. Units that a model lacks are left out, so that one table serves every face model with ARKit-style names.
"""

from collections.abc import Mapping, Sequence

Recipe = Mapping[str, float]

# Names as CoMA's folders spell them. The weights are chosen by eye, so that a viewer recognises the expression.
COMA_EXPRESSIONS: Mapping[str, Recipe] = {
    "bareteeth": {"mouthUpperUp": 0.9, "mouthLowerDown": 0.9, "mouthStretch": 0.6, "noseSneer": 0.4},
    "cheeks_in": {"mouthPucker": 0.5, "cheekPuff": -0.6, "mouthDimple": 0.3},
    "eyebrow": {"browInnerUp": 1.0, "browOuterUp": 1.0, "eyeWide": 0.6},
    "high_smile": {"mouthSmile": 0.9, "cheekSquint": 0.8, "eyeSquint": 0.5, "mouthUpperUp": 0.3},
    "lips_back": {"mouthRollUpper": 0.8, "mouthRollLower": 0.8, "mouthDimple": 0.5},
    "lips_up": {"mouthUpperUp": 0.7, "mouthShrugUpper": 0.7, "mouthPucker": 0.4, "noseSneer": 0.3},
    "mouth_down": {"mouthFrown": 0.9, "mouthShrugLower": 0.6, "mouthLowerDown": 0.4},
    "mouth_extreme": {"jawOpen": 1.0, "mouthStretch": 0.7, "eyeWide": 0.6, "browInnerUp": 0.4},
    "mouth_middle": {"mouthPucker": 0.9, "mouthFunnel": 0.3},
    "mouth_open": {"jawOpen": 0.7},
    "mouth_side": {"mouthLeft": 0.8, "jawLeft": 0.4},
    "mouth_up": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.5, "jawForward": 0.4},
}

# BU-3DFE's two-letter codes, after the action units of the six prototypic emotions.
BU3DFE_EXPRESSIONS: Mapping[str, Recipe] = {
    "AN": {"browDown": 1.0, "eyeSquint": 0.6, "mouthPress": 0.8, "noseSneer": 0.5, "jawForward": 0.3},
    "DI": {"noseSneer": 1.0, "mouthUpperUp": 0.7, "browDown": 0.4, "mouthFrown": 0.4},
    "FE": {"browInnerUp": 0.9, "browOuterUp": 0.5, "eyeWide": 0.9, "mouthStretch": 0.8, "jawOpen": 0.3},
    "HA": {"mouthSmile": 1.0, "cheekSquint": 0.8, "mouthUpperUp": 0.4, "jawOpen": 0.15},
    "SA": {"browInnerUp": 0.8, "mouthFrown": 1.0, "mouthShrugLower": 0.6},
    "SU": {"browInnerUp": 0.9, "browOuterUp": 1.0, "eyeWide": 1.0, "jawOpen": 0.7},
}

# Expressions that CoMA's subjects perform to both sides under one label.
TWO_SIDED = frozenset({"mouth_side"})

_MIRRORED = {"mouthLeft": "mouthRight", "jawLeft": "jawRight"}
_SIDES = {"_L": "left", "_R": "right", "Left": "left", "Right": "right"}


def split_side(name: str) -> tuple[str, str]:
    """Splits a unit's name into the unit and its side: "left", "right" or "both".

    Example:
      >>> split_side("mouthSmile_L"), split_side("browDownRight"), split_side("jawLeft")
      (('mouthSmile', 'left'), ('browDown', 'right'), ('jawLeft', 'both'))
    """
    if name not in _MIRRORED and name not in _MIRRORED.values():
        for suffix, side in _SIDES.items():
            if name.endswith(suffix):
                return name.removesuffix(suffix), side
    return name, "both"


def mirrored(recipe: Recipe) -> Recipe:
    """The recipe towards the other side of the face."""
    return {_MIRRORED.get(unit, unit): weight for unit, weight in recipe.items()}


def unit_weights(recipe: Recipe, unit_names: Sequence[str]) -> list[float]:
    """One weight per expression unit of a model; 0 for the units outside the recipe."""
    return [recipe.get(split_side(name)[0], 0.0) for name in unit_names]
