import json

import numpy as np
import pytest

from facedis_jax.data.faces import bu3dfe
from facedis_jax.data.synthetic.expressions import (
    ARKIT_NAMES,
    ARKIT_UNITS,
    BU3DFE_EXPRESSIONS,
    COMA_EXPRESSIONS,
    EVERYTHING,
    OWN_UNITS,
    TWO_SIDED,
    Recipes,
    arkit_name,
    mirrored,
    read_recipes,
    split_side,
    unit_weights,
)
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_bu3dfe, synthetic_coma
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
        ("MouthSmile.L", ("MouthSmile", "left")),
        ("brow_down_right", ("brow_down", "right")),
        ("mouth_left", ("mouth_left", "both")),
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


@pytest.mark.parametrize("name", ["MouthSmileLeft", "mouth_smile_l", "Mouth Smile.L", "MOUTHSMILE-L"])
def test_spellings_of_a_unit_are_one(name):
    assert unit_weights({"mouthSmile": 0.9}, [name, "other"]).tolist() == pytest.approx([0.9, 0])


def test_a_half_has_its_own_weight_before_that_of_both():
    weights = unit_weights({"mouthSmile": 0.5, "mouthSmileLeft": 1.0}, ["mouthSmile_R", "mouthSmileLeft"])
    assert weights.tolist() == [0.5, 1.0]


OWN = ("Kiefer", "Grinsen.L", "Grinsen.R", "Brauen", "nach links", "nach rechts")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A face model whose units have names of its own, and no landmarks."""
    rng = np.random.default_rng(0)
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-60, 60, 8), np.linspace(-80, 80, 9)))
    corner = (np.arange(8)[:, None] * 8 + np.arange(7)).ravel()
    path = tmp_path_factory.mktemp("stranger") / "stranger.npz"
    np.savez(
        path,
        neutral=np.stack([x, y, 60 - (x**2 + y**2) / 150], 1),
        identity=rng.normal(scale=3, size=(2, 72, 3)),
        expression=rng.normal(scale=5, size=(len(OWN), 72, 3)),
        expression_names=np.array(OWN),
        quads=np.stack([corner, corner + 1, corner + 9, corner + 8], 1),
    )
    return path


def write(tmp_path, content):
    path = tmp_path / "recipes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


CONFIG = SyntheticFaceConfig(num_subjects=2, frames=(4, 5), gain_spread=0, asymmetry=0)


def test_a_stranger_is_told_which_names_are_wanted(stranger):
    with pytest.raises(
        InputError, match=r"mouthUpperUp, mouthLowerDown.*found Brauen, Grinsen, Kiefer, .*recipes=FILE"
    ):
        synthetic_coma(load_face_model(stranger), CONFIG)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_model_performs_by_arkits_names_of_its_units(stranger, tmp_path, wrapped):
    units = {
        "Kiefer": "jawOpen",
        "Grinsen.L": "mouthSmileLeft",
        "Grinsen.R": "mouthSmileRight",
        "Brauen": "browInnerUp",
    }
    model = load_face_model(stranger, write(tmp_path, {"units": units} if wrapped else units))
    assert model.expression_names == (*units.values(), "nach links", "nach rechts")
    smile = synthetic_coma(model, SyntheticFaceConfig(num_subjects=1, expressions=("high_smile",)))
    assert np.all(smile.truth.factors["performed"].max(0) > [-1, 0.5, 0.5, -1, -1, -1])
    assert not smile.truth.factors["performed"][:, [0, 3, 4, 5]].any()
    assert model.content_hash != load_face_model(stranger).content_hash


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_model_performs_expressions_of_its_own(stranger, tmp_path, wrapped):
    expressions = {"Grins": {"Grinsen": 0.8, "Kiefer": 0.2}, "Aha": {"Brauen": 1}, "seitlich": {"nach links": 1}}
    more = {"opposite": {"nach links": "nach rechts"}, "two_sided": ["seitlich"]}
    content = {"expressions": expressions, **more} if wrapped else expressions
    model = load_face_model(stranger, write(tmp_path, content))
    found = synthetic_coma(model, CONFIG)
    assert found.expressions == ("Aha", "Grins", "seitlich")
    performed = found.truth.factors["performed"]
    level = found.truth.factors["level"][:, 0]
    expression = found.truth.factors["expression"][:, 0]
    np.testing.assert_allclose(performed[expression == 1], level[expression == 1, None] * [0.2, 0.8, 0.8, 0, 0, 0])
    assert (performed[expression == 2][:, 5].max() > 0) == wrapped
    scans = synthetic_bu3dfe(model, CONFIG)
    assert scans.expressions == ("Aha", "Grins", "neutral", "seitlich")
    assert list(scans.names) == sorted(scans.names)


def test_units_with_two_names_are_known_by_either(stranger, tmp_path):
    content = {
        "units": {"Kiefer": "jawOpen"},
        "expressions": {"a": {"Kiefer": 0.5, "Brauen": 1}, "b": {"jawOpen": 0.5}},
    }
    model = load_face_model(stranger, write(tmp_path, content))
    performed = [unit_weights(recipe, model.expression_names) for recipe in model.recipes.expressions.values()]
    np.testing.assert_array_equal(performed, np.float32([[0.5, 0, 0, 1, 0, 0], [0.5, 0, 0, 0, 0, 0]]))


def test_a_model_performs_its_units_when_asked(stranger):
    model = load_face_model(stranger, OWN_UNITS)
    found = synthetic_coma(model, CONFIG)
    assert found.expressions == ("Brauen", "Grinsen.L", "Grinsen.R", "Kiefer", "nach links", "nach rechts")
    performed = found.truth.factors["performed"] > 0
    assert performed.any(0).all()
    assert performed.sum(1).max() == 1
    assert found.content_hash != synthetic_coma(load_face_model(None, OWN_UNITS), CONFIG).content_hash


def test_own_units_are_called_as_arkit_calls_them():
    names = ["eyeBlink_L", "eyeBlink_R", "browInnerUp_L", "browInnerUp_R", "jaw_left", "jawOpen", "Zunge.L"]
    recipes = Recipes(own_units=True).of({}, names)
    assert list(recipes) == ["Zunge.L", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight", "jawLeft", "jawOpen"]
    weights = np.stack([unit_weights(recipe, names) for recipe in recipes.values()])
    np.testing.assert_array_equal(np.argwhere(weights), [[0, 6], [1, 2], [1, 3], [2, 0], [3, 1], [4, 4], [5, 5]])
    assert len(ARKIT_NAMES) == 52
    assert {*recipes} - {*ARKIT_NAMES} == {"Zunge.L"}
    # By these names other programs find them again.
    np.testing.assert_array_equal(unit_weights({"eyeBlinkRight": 1}, names), np.eye(7, dtype=np.float32)[1])


def test_everything_is_performed_when_asked():
    model = load_face_model(None, EVERYTHING)
    found = synthetic_bu3dfe(model, SyntheticFaceConfig(num_subjects=2, levels=1))
    assert {*_RECIPES, *map(arkit_name, model.expression_names)} == set(found.expressions)
    assert len(found.names) == 2 * len(found.expressions)
    level, neutral = found.truth.factors["level"][:, 0], found.expressions.index("neutral")
    np.testing.assert_array_equal(level, found.truth.factors["expression"][:, 0] != neutral)


def test_images_take_the_emotions_among_them(stranger, tmp_path):
    recipes = load_face_model(stranger, write(tmp_path, {"expressions": {"happy": {"Grinsen": 1}}})).recipes
    assert recipes.instead_of(BU3DFE_EXPRESSIONS)["happy"] == {"Grinsen": 1}
    assert recipes.instead_of(BU3DFE_EXPRESSIONS)["sad"] == BU3DFE_EXPRESSIONS["sad"]
    assert Recipes().instead_of(BU3DFE_EXPRESSIONS) == BU3DFE_EXPRESSIONS


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "a JSON file"),
        ("[]", "a JSON object with units or expressions"),
        ({}, "a JSON object with units or expressions"),
        ({"two_sided": []}, "recipes by names"),
        ({"units": {}, "unit": {}}, "alone, found units, unit"),
        ({"units": {"Kiefer": 1}}, "names by names as units"),
        ({"units": {"Kiefer": "jawOpen", "Brauen": "jawOpen"}}, "each meant once"),
        ({"units": {"Kiefer": "jawOpn"}}, r"units as ARKit calls them \(browDown, .*found jawOpn"),
        ({"units": {"Zunge": "tongueOut"}}, r"units that the face model has \(Kiefer, .*found Zunge"),
        ({"expressions": {}}, "recipes by names"),
        ({"expressions": {"a/b": {"Kiefer": 1}}}, "without a slash"),
        ({"expressions": {"a": {"Kiefer": True}}}, "recipes by names"),
        ('{"a": {"Kiefer": NaN}}', "recipes by names"),
        ({"a": {"Kiefer": 1e9}}, "recipes by names"),
        ({"a": {"Kiefer": 10**400}}, "recipes by names"),
        ({"a": {"Kiefer": 1}, "b": "c"}, "recipes by names"),
        ({"units": {"Kiefer": "jawOpen"}, "two_sided": "a"}, "a list of names"),
        ({"units": {"Kiefer": "jawOpen"}, "opposite": [1]}, "names by names as opposite"),
    ],
)
def test_what_is_no_recipe_is_one_line(stranger, tmp_path, content, line):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=line) as told:
        load_face_model(stranger, path)
    assert str(told.value).startswith(str(path))
    assert "\n" not in str(told.value)


def test_built_in_recipes_are_of_arkits_units():
    assert {unit for recipe in _RECIPES.values() for unit in recipe} <= set(ARKIT_UNITS)
    with pytest.raises(InputError, match="a JSON file"):
        read_recipes("nowhere.json")
