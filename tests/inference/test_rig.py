from dataclasses import replace

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.rig import (
    FaceRig,
    expression_ways,
    face_rig,
    identity_basis,
    linearisation_error,
    person_weights,
)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def model(request):
    return example_face_model(conditional=request.param)


def test_shapes_are_the_models_expressions(model):
    codes = model.encode(model.trained.neutrals[1])
    rig = face_rig(model, codes)
    np.testing.assert_allclose(rig.faces([0.0, 0.0]), model.neutral(codes), atol=1e-4)
    for index, name in enumerate(rig.names):
        np.testing.assert_allclose(rig.faces(np.eye(2)[index]), model.expression(codes, name), atol=1e-4)
    error = linearisation_error(model, codes, rig)
    half = rig.faces([0.5, 0.0]) - np.asarray(model.expression(codes, rig.names[0], 0.5))
    np.testing.assert_allclose(error[0], np.linalg.norm(half, axis=-1).mean(), rtol=1e-5)


def test_weights_are_found_again_and_none_is_negative():
    rng = np.random.default_rng(0)
    neutral = rng.normal(scale=50, size=(30, 3))
    rig = FaceRig(neutral, tuple("abcd"), neutral + rng.normal(scale=4, size=(4, 30, 3)))
    weights = rng.uniform(0, 1.2, size=(5, 4)) * (rng.uniform(size=(5, 4)) < 0.6)
    np.testing.assert_allclose(rig.weights(rig.faces(weights)), weights, atol=1e-9)
    against = rig.weights(rig.faces(-weights))
    assert (against >= 0).all()
    # Of the best weights, all that are above 0 have no slope, and no other would lower the error.
    offsets = rig.offsets.reshape(4, -1)
    slope = (rig.faces(against) - rig.faces(-weights)).reshape(5, -1) @ offsets.T
    assert (np.where(against > 0, np.abs(slope), np.maximum(-slope, 0)) < 1e-6).all()


def test_what_no_face_shows_or_what_moves_nothing_is_no_shape(model):
    trained = replace(model.trained, expression=np.zeros_like(model.trained.expression))
    if not model.config.conditional:
        model = replace(model, trained=trained)
        assert face_rig(model, model.encode(trained.neutrals[0])).names == ("jaw_open",)
    still = replace(model, functions=model.functions._replace(decode=lambda *_: type(DECODED)(FACE, FACE)))
    with pytest.raises(InputError, match="none that moves a face"):
        face_rig(still, model.encode(trained.neutrals[0]))


FACE = np.zeros([36, 3])
DECODED = example_face_model().decode(example_face_model().encode(FACE))


def test_weights_of_a_person_who_is_not_the_rigs():
    """Whose own shape is as large as the expressions are: known, found of many frames, or within the identity code."""
    rng = np.random.default_rng(1)
    neutral = rng.normal(scale=50, size=(60, 3))
    rig = FaceRig(neutral, tuple("abcdef"), neutral + rng.normal(scale=3, size=(6, 60, 3)))
    weights = rng.uniform(0.2, 1, size=(30, 6)) * (rng.uniform(size=(30, 6)) < 0.3)
    identity = rng.normal(scale=2, size=(3, 60, 3))
    own = rng.normal(scale=3, size=(60, 3))
    faces = rig.faces(weights) + own
    plain = rig.weights(faces)

    def error(found):
        return np.abs(found - weights).mean()

    assert error(person_weights(rig, faces, identity).weights) < 0.5 * error(plain)
    known = person_weights(rig, faces, identity, neutral=neutral + own)
    assert error(known.weights) < 0.02
    np.testing.assert_allclose(known.offset, own, atol=1e-9)
    one = rig.faces(weights[:1]) + np.tensordot([1.0, -2.0, 0.5], identity, 1)
    found = person_weights(rig, one, identity)
    assert (found.weights >= 0).all()
    assert np.abs(found.weights - weights[:1]).mean() < 0.3 * np.abs(rig.weights(one) - weights[:1]).mean()


def test_a_shape_that_moves_a_face_little_gets_its_weight():
    rng = np.random.default_rng(4)
    neutral, sizes = rng.normal(scale=50, size=(60, 3)), np.array([3.0, 3, 3, 0.15])
    rig = FaceRig(neutral, tuple("abcd"), neutral + sizes[:, None, None] * rng.normal(size=(4, 60, 3)))
    found = person_weights(rig, rig.faces(0.8 * np.eye(4)), np.zeros([0, 60, 3]), neutral=neutral)
    np.testing.assert_allclose(found.weights, 0.8 * np.eye(4), atol=0.1)


def test_what_arkits_units_make_up_gets_no_weight():
    rng = np.random.default_rng(2)
    neutral, (left, right, other) = rng.normal(scale=50, size=(60, 3)), rng.normal(scale=3, size=(3, 60, 3))
    offsets = np.stack([0.8 * (left + right), left, right, other, -left])
    rig = FaceRig(neutral, ("happy", "mouthSmileLeft", "mouthSmileRight", "own", "other way"), neutral + offsets)
    np.testing.assert_array_equal(rig.weighed, [False, True, True, True, True])
    for weights in (rig.weights(rig.shapes), person_weights(rig, rig.shapes, offsets[:1], neutral=neutral).weights):
        expected = np.eye(5)
        expected[0] = [0, 0.8, 0.8, 0, 0]
        np.testing.assert_allclose(weights, expected, atol=0.02)
    nameless = FaceRig(neutral, ("happy", "left", "right", "own", "other way"), neutral + offsets)
    assert nameless.weighed.all()


def test_motions_are_counted_from_where_expressions_begin():
    rng = np.random.default_rng(3)
    neutral, shift = rng.normal(scale=50, size=(60, 3)), rng.normal(scale=2, size=(60, 3))
    motions = rng.normal(scale=1, size=(3, 60, 3))
    rig = FaceRig(neutral, tuple("abc"), neutral + shift + motions, neutral + shift).moved(1.0)
    np.testing.assert_allclose(rig.motions, motions, atol=1e-9)
    weights = np.eye(3) * 0.7
    found = person_weights(rig, rig.neutral + np.tensordot(weights, motions, 1), motions[:1], neutral=rig.neutral)
    np.testing.assert_allclose(found.weights, weights, atol=0.03)


def test_faces_that_differ_in_known_ways_get_no_other_weights():
    rng = np.random.default_rng(4)
    neutral, motions = rng.normal(scale=50, size=(60, 3)), rng.normal(scale=2, size=(3, 60, 3))
    rig = FaceRig(neutral, tuple("abc"), neutral + motions)
    # People differ by what is half another expression.
    ways = 20 * (motions[:1] / 2 + rng.normal(scale=1, size=(1, 60, 3)))
    weights = np.eye(3)[1:] * 0.8
    faces = rig.faces(weights) + 0.05 * ways
    identity = rng.normal(scale=1, size=(2, 60, 3))
    errors = [
        np.abs(person_weights(rig, faces, identity, neutral=neutral, ways=each).weights - weights).max()
        for each in (None, ways)
    ]
    assert errors[1] < 0.1 * errors[0]


def test_expressions_differ_as_training_people_show_them(model):
    codes = model.encode(model.trained.neutrals[1])
    rig = face_rig(model, codes)
    ways = expression_ways(model, codes, rig)
    assert 1 <= len(ways) <= len(model.trained.codes)
    flat = ways.reshape(len(ways), -1)
    scatter = flat @ flat.T
    np.testing.assert_allclose(scatter, np.diag(np.diag(scatter)), atol=1e-3 * scatter.max())
    nameless = replace(rig, names=("a", "b"))
    assert expression_ways(model, codes, nameless).shape == (0, *rig.neutral.shape)


def test_the_identity_basis_is_what_codes_change(model):
    codes = model.encode(model.trained.neutrals[1])
    basis = identity_basis(model, codes)
    step = np.float32([0, model.trained.codes[:, 1].std(), 0])
    up, down = (
        model.neutral(codes._replace(identity=codes.identity._replace(mean=codes.identity.mean + s)))
        for s in (step, -step)
    )
    np.testing.assert_allclose(basis[1], (up - down) / 2, atol=1e-3)
