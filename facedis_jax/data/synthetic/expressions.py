"""The named expressions of CoMA and BU-3DFE as mixtures of the expression units that a face model has.

A recipe maps a unit without its side ("mouthSmile") to a weight, which holds for the left and the right half of the
unit; or one half by its whole name ("mouthSmileLeft"). The built-in ones are in ARKit's names, in
`facedis_jax/data/assets/recipes.json`. Units that a model lacks are skipped, so that one table serves every face model
with such names, whatever its capitals and underscores and however it calls sides; `read_recipes` reads what serves
others.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from facedis_jax.errors import InputError, printable
from facedis_jax.formats.json_files import read_json

Recipe: TypeAlias = Mapping[str, float]

_ARKIT = json.loads((resources.files("facedis_jax.data") / "assets" / "recipes.json").read_text("utf-8"))["arkit"]

ARKIT_UNITS: Sequence[str] = tuple(_ARKIT["units"])
"""ARKit's names of expression units, without sides."""

# Names as CoMA's folders spell them; weights chosen by eye.
COMA_EXPRESSIONS: Mapping[str, Recipe] = _ARKIT["coma"]

# The six prototypic emotions by their action units, and the face at rest; names as in `bu3dfe.EXPRESSIONS`.
BU3DFE_EXPRESSIONS: Mapping[str, Recipe] = _ARKIT["bu3dfe"]

# Expressions that CoMA's subjects perform to both sides under one label.
TWO_SIDED = frozenset(_ARKIT["two_sided"])

# ARKit's units that have no halves.
_UNDIVIDED = frozenset(_ARKIT["undivided"])

ARKIT_NAMES: Sequence[str] = tuple(
    f"{unit}{side}" for unit in ARKIT_UNITS for side in ([""] if unit in _UNDIVIDED else ["Left", "Right"])
)
"""ARKit's 52 names of expression units."""

_OPPOSITE: Mapping[str, str] = _ARKIT["opposite"]
_SIDES = {
    f"{before}{letters}": side
    for side, names in {
        "left": ("L", "l", "left", "Left", "LEFT"),
        "right": ("R", "r", "right", "Right", "RIGHT"),
    }.items()
    for before in ("_", ".", "-", " ")
    for letters in names
} | {"Left": "left", "Right": "right"}
_MOST_LISTED = 60
_MOST_RECIPES, _LARGEST_WEIGHT = 1000, 100.0

OWN_UNITS = "units"
"""In place of a file of recipes: each unit of a face model is an expression, left and right apart, by ARKit's name
where it is one of ARKit's, else by its own."""

EVERYTHING = "all"
"""The same, and the built-in expressions of CoMA and of BU-3DFE as well."""


@dataclass(frozen=True)
class Recipes:
    """How a face model performs expressions.

    Attributes:
      expressions: recipes by the names of expressions; None for the built-in ones of what is imitated.
      units: ARKit's names of a model's own units, by their names.
      opposite: units and their mirror images, where these are no halves.
      two_sided: expressions that are performed to either side under one name.
      own_units: make an expression of each unit.
      built_in: and of all built-in ones.
    """

    expressions: Mapping[str, Recipe] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    opposite: Mapping[str, str] = field(default_factory=lambda: _OPPOSITE)
    two_sided: frozenset[str] = TWO_SIDED
    own_units: bool = False
    built_in: bool = False

    def of(self, built_in: Mapping[str, Recipe], unit_names: Sequence[str]) -> Mapping[str, Recipe]:
        """The expressions that are performed in place of some built-in ones, sorted by their names."""
        if self.own_units:
            others = {**COMA_EXPRESSIONS, **BU3DFE_EXPRESSIONS} if self.built_in else {}
            moving = {name: recipe for name, recipe in others.items() if recipe}
            return dict(sorted({**moving, **_own_expressions(unit_names)}.items()))
        return built_in if self.expressions is None else dict(sorted(self.expressions.items()))

    def instead_of(self, built_in: Mapping[str, Recipe]) -> Mapping[str, Recipe]:
        """Some built-in expressions, those of the same names replaced."""
        given = self.expressions or {}
        return {name: given.get(name, recipe) for name, recipe in built_in.items()}

    def renamed(self, where: object, unit_names: Sequence[str]) -> tuple[str, ...]:
        """A model's names of units, those that `units` knows by ARKit's.

        Raises:
          InputError: where it knows units that the model does not have.
        """
        unknown = sorted(self.units.keys() - set(unit_names))
        if unknown:
            raise InputError(where, f"units that the face model has ({_listed(unit_names)})", _listed(unknown))
        return tuple(self.units.get(name, name) for name in unit_names)


def read_recipes(path: str | Path) -> Recipes:
    """Recipes from a JSON file, or `OWN_UNITS` or `EVERYTHING` in place of one.

    The file has any of "units", {"own name": "ARKit's name"}; "expressions", {"name": {"unit": weight}}; "opposite",
    {"unit": "unit"}; and "two_sided", ["name"]. One of the first two may stand alone, without its key.

    Raises:
      InputError: where the file cannot be read or holds anything else.
    """
    if str(path) in (OWN_UNITS, EVERYTHING):
        return Recipes(own_units=True, built_in=str(path) == EVERYTHING)
    read = read_json(path)
    if isinstance(read, dict) and read and not read.keys() & {"units", "expressions"}:
        read = {"units" if all(isinstance(value, str) for value in read.values()) else "expressions": read}
    known = ("units", "expressions", "opposite", "two_sided")
    if not isinstance(read, dict) or not read.keys() & {"units", "expressions"} or read.keys() - set(known):
        found = _listed(list(map(str, read))) if isinstance(read, dict) else type(read).__name__
        raise InputError(path, f"a JSON object with units or expressions, and of {', '.join(known)} alone", found)
    units = _names(path, "units", read.get("units", {}))
    halves = {split_side(name)[0] for name in units.values()}
    if halves - set(ARKIT_UNITS):
        expected = f"units as ARKit calls them ({', '.join(ARKIT_UNITS)}), with Left or Right where there are halves"
        raise InputError(path, expected, _listed(sorted(halves - set(ARKIT_UNITS))))
    two_sided = read.get("two_sided", [])
    if not isinstance(two_sided, list) or not all(isinstance(name, str) for name in two_sided):
        raise InputError(path, "a list of names as two_sided", printable(str(two_sided)[:80]))
    # What has two names is called by ARKit's from here on.
    expressions = {
        name: {units.get(unit, unit): weight for unit, weight in recipe.items()}
        for name, recipe in (_expressions(path, read["expressions"]) if "expressions" in read else {}).items()
    }
    pairs = _names(path, "opposite", read.get("opposite", {})).items()
    return Recipes(
        expressions=expressions or None,
        units=units,
        opposite={**_OPPOSITE, **{units.get(one, one): units.get(other, other) for one, other in pairs}},
        two_sided=TWO_SIDED | set(two_sided),
    )


def _names(path: str | Path, key: str, found: Any) -> dict[str, str]:
    """A JSON object from names to names."""
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise InputError(path, f'names by names as {key}, {{"a": "b"}}', printable(str(found)[:80]))
    if len(found) > _MOST_RECIPES or len(set(found.values())) < len(found):
        raise InputError(path, f"at most {_MOST_RECIPES} {key}, each meant once", printable(str(found)[:80]))
    return found


def _expressions(path: str | Path, found: Any) -> dict[str, Recipe]:
    expected = 'recipes by names as expressions, {"smile": {"mouthSmile": 0.9}}'
    if not isinstance(found, dict) or not 0 < len(found) <= _MOST_RECIPES:
        raise InputError(path, expected, printable(str(found)[:80]))
    for name, recipe in found.items():
        if not name or "/" in name:
            raise InputError(path, "names of expressions without a slash", printable(repr(name[:80])))
        if not isinstance(recipe, dict) or not all(_is_weight(weight) for weight in recipe.values()):
            raise InputError(path, expected, printable(f"{name}: {recipe}"[:80]))
    return found


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and abs(weight) <= _LARGEST_WEIGHT


def split_side(name: str) -> tuple[str, str]:
    """Splits a unit's name into the unit and its side: "left", "right" or "both".

    Example:
      >>> split_side("mouthSmile_L"), split_side("browDownRight"), split_side("jawLeft")
      (('mouthSmile', 'left'), ('browDown', 'right'), ('jawLeft', 'both'))
    """
    if _plain(name) not in _WHOLE:
        for suffix, side in _SIDES.items():
            if name.endswith(suffix) and name != suffix:
                return name.removesuffix(suffix), side
    return name, "both"


def arkit_name(name: str) -> str:
    """ARKit's name of a unit, by whatever spelling; its own of one that is none of ARKit's.

    Example:
      >>> arkit_name("eyeBlink_L"), arkit_name("jaw_open"), arkit_name("browInnerUp_R"), arkit_name("Kiefer.L")
      ('eyeBlinkLeft', 'jawOpen', 'browInnerUp', 'Kiefer.L')
    """
    base, side = split_side(name)
    unit = _UNIT_OF.get(_plain(base))
    if unit is None:
        return name
    return unit if side == "both" or unit in _UNDIVIDED else unit + side.capitalize()


def _own_expressions(unit_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """An expression of each unit; of halves that ARKit has as one unit, both together."""
    recipes: dict[str, dict[str, float]] = {}
    for name in unit_names:
        recipes.setdefault(arkit_name(name).replace("/", "_"), {})[name] = 1.0
    return recipes


def mirrored(recipe: Recipe, opposite: Mapping[str, str] = _OPPOSITE) -> Recipe:
    """The recipe of the mirrored expression, by units and their mirror images."""
    return {opposite.get(unit, unit): weight for unit, weight in recipe.items()}


def unit_weights(recipe: Recipe, unit_names: Sequence[str]) -> np.ndarray:
    """The weights [units] float32 of a model's units in a recipe; 0 for units that it does not name.

    Raises:
      InputError: where the model has none of the recipe's units.
    """
    wanted = {_half(unit): weight for unit, weight in recipe.items()}
    halves = [_half(name) for name in unit_names]
    if recipe and not any(half in wanted or (half[0], "both") in wanted for half in halves):
        expected = f"one of the expression units {', '.join(map(printable, recipe))}"
        units = _listed(sorted({split_side(name)[0] for name in unit_names}))
        raise InputError("face model", expected, f"{units}, where recipes=FILE maps names" if units else "none")
    return np.array([wanted.get(half, wanted.get((half[0], "both"), 0.0)) for half in halves], np.float32)


def _half(name: str) -> tuple[str, str]:
    """A unit's name and its side, whatever their spelling."""
    unit, side = split_side(name)
    return _plain(unit), side


def _plain(name: str) -> str:
    """A name without what spellings differ in: capitals, underscores and the like."""
    return re.sub(r"[\W_]+", "", name).casefold() or name


_WHOLE = frozenset(map(_plain, _OPPOSITE))
_UNIT_OF = {_plain(unit): unit for unit in ARKIT_UNITS}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} others" if len(names) > _MOST_LISTED else ""
    return ", ".join(printable(name[:40]) for name in names[:_MOST_LISTED]) + more
