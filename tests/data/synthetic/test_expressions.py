import numpy as np
import pytest

from facedis_jax.data.faces import bu3dfe
from facedis_jax.data.synthetic.expressions import (
    BU3DFE_EXPRESSIONS,
    COMA_EXPRESSIONS,
    TWO_SIDED,
    mirrored,
    split_side,
    unit_weights,
)
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.errors import InputError

_RECIPES = COMA_EXPRESSIONS | BU3DFE_EXPRESSIONS


def test_names_are_those_of_the_real_sets():
    assert len(COMA_EXPRESSIONS) == 12
    assert list(COMA_EXPRESSIONS) == sorted(COMA_EXPRESSIONS)
    assert list(BU3DFE_EXPRESSIONS) == [bu3dfe.EXPRESSIONS[code] for code in sorted(bu3dfe.EXPRESSIONS)]
    # File names are made from the first two letters.
    assert all(code == name[:2].upper() for code, name in bu3dfe.EXPRESSIONS.items())
    assert [name for name, recipe in BU3DFE_EXPRESSIONS.items() if not recipe] == ["neutral"]
    assert set(COMA_EXPRESSIONS) >= TWO_SIDED


def test_the_embedded_face_has_every_unit_of_every_recipe():
    units = {split_side(name)[0] for name in load_face_model().expression_names}
    for recipe in _RECIPES.values():
        assert recipe.keys() <= units
        assert mirrored(recipe).keys() <= units


def test_embedded_expressions_move_the_face_and_differ():
    model = load_face_model()
    weights = np.stack([unit_weights(recipe, model.expression_names) for recipe in _RECIPES.values()])
    offsets = np.tensordot(weights, model.expression, 1)
    largest = np.linalg.norm(offsets, axis=-1).max(axis=-1)
    assert np.all((largest > 4) | ~weights.any(axis=1))
    assert largest.max() < 50
    apart = np.linalg.norm(offsets[:, None] - offsets[None], axis=-1).max(axis=-1)
    assert apart[~np.eye(len(apart), dtype=bool)].min() > 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mouthSmile_L", ("mouthSmile", "left")),
        ("mouthSmileRight", ("mouthSmile", "right")),
        ("jawOpen", ("jawOpen", "both")),
        ("jawLeft", ("jawLeft", "both")),
        ("mouthRight", ("mouthRight", "both")),
        ("browInnerUp_R", ("browInnerUp", "right")),
    ],
)
def test_split_side(name, expected):
    assert split_side(name) == expected


def test_mirrored_twice_is_the_same():
    for recipe in _RECIPES.values():
        assert mirrored(mirrored(recipe)) == recipe
    assert mirrored({"mouthLeft": 0.8, "jawRight": 0.4, "jawOpen": 1.0}) == {
        "mouthRight": 0.8,
        "jawLeft": 0.4,
        "jawOpen": 1.0,
    }


def test_unit_weights_serve_both_ways_of_naming_sides():
    recipe = {"mouthSmile": 0.9, "jawOpen": 0.2, "cheekPuff": 0.1}
    names = ["mouthSmile_L", "mouthSmileRight", "browDown_L", "jawOpen"]
    np.testing.assert_array_equal(unit_weights(recipe, names), np.float32([0.9, 0.9, 0, 0.2]))


def test_a_model_without_any_unit_of_a_recipe():
    with pytest.raises(InputError, match="one of the expression units cheekPuff, jawOpen, found browDown"):
        unit_weights({"cheekPuff": 0.1, "jawOpen": 1.0}, ["browDown_L", "browDown_R"])
    assert not unit_weights({}, ["browDown_L"]).any()
