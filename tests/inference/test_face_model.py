import jax
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_model import FaceCodes, TrainedFaceModel


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def model(request):
    return example_face_model(conditional=request.param)


def test_codes_and_faces_are_those_of_evaluation(model):
    faces = model.trained.neutrals
    labels = model.labels("smile", np.float32([0.0, 0.2, 0.5, 1.0])) if model.config.conditional else None
    codes = model.encode(faces, labels)
    mean, logvar = model.codec.encode(faces, labels)
    np.testing.assert_allclose(np.concatenate([codes.identity.mean, codes.expression.mean], 1), mean, atol=1e-5)
    stds = np.concatenate([codes.identity.std, codes.expression.std], 1)
    np.testing.assert_allclose(stds, np.exp(logvar / 2), rtol=1e-5)
    full, neutral = model.codec.decode(*np.split(mean, [3], axis=1), labels)
    np.testing.assert_allclose(model.decode(codes).full, full, atol=1e-3)
    np.testing.assert_allclose(model.neutral(codes), neutral, atol=1e-3)


def test_points_have_the_codes_of_the_mesh_that_they_are(model):
    faces = model.trained.neutrals
    expected, found = model.encode(faces), model.encode_points(list(faces))
    for part in ("identity", "expression"):
        np.testing.assert_allclose(getattr(found, part).mean, getattr(expected, part).mean, atol=1e-5)
        np.testing.assert_allclose(getattr(found, part).std, getattr(expected, part).std, rtol=1e-4)


def test_one_face_and_faces_in_any_arrangement_are_the_same(model):
    faces = model.trained.neutrals
    label = "smile" if model.config.conditional else None
    labels = model.labels(label, 0.5)
    rows, square, one = (model.encode(x, labels) for x in (faces, faces.reshape(2, 2, *faces.shape[1:]), faces[3]))
    for name in ("identity", "expression"):
        found, expected = getattr(square, name).mean, getattr(rows, name).mean
        np.testing.assert_allclose(np.reshape(found, expected.shape), expected, atol=1e-5)
        np.testing.assert_allclose(getattr(one, name).mean, expected[3], atol=1e-5)
    np.testing.assert_allclose(model.decode(one).full, model.decode(rows).full[3], atol=1e-3)
    assert model.expression(square, "smile", 0.3).shape == (2, 2, *faces.shape[1:])
    assert model.transfer(rows, one).shape == faces.shape


def test_verbs_can_be_jitted_vmapped_and_differentiated(model):
    codes = model.encode(model.trained.neutrals)
    for verb in (model.neutral, lambda c: model.expression(c, "smile", 0.7), lambda c: model.between(c, c, 0.5)):
        expected = verb(codes)
        for way in (jax.jit(verb), jax.vmap(verb) if codes.labels is None else jax.jit(verb)):
            np.testing.assert_allclose(way(codes), expected, atol=1e-3)
    slope = jax.jacobian(lambda level: model.expression(codes, "smile", level))(0.5)
    np.testing.assert_allclose(
        model.expression(codes, "smile", 0.5) + 0.01 * slope, model.expression(codes, "smile", 0.51), atol=1e-2
    )
    grow = jax.jit(lambda level: model.neutral(model.encode(model.trained.neutrals[0] * level)).sum())
    assert np.isfinite(jax.grad(grow)(1.0))

    def error(params):
        found: FaceCodes = model.functions.encode(params, model.trained.neutrals, model.labels(None))
        return np.float32(1e-3) * model.functions.decode(params, found[0].mean, found[1].mean, found.labels).full.sum()

    gradients = jax.grad(error)(model.params)
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradients)) > 0


def test_between_begins_at_one_and_ends_at_the_other(model):
    one, other = (model.encode(face) for face in model.trained.neutrals[:2])
    way = model.between(one, other, [0.0, 1.0])
    np.testing.assert_allclose(way[0], model.transfer(one, one), atol=1e-3)
    np.testing.assert_allclose(way[1], model.transfer(other, other), atol=1e-3)
    assert model.between(one, other, 0.5).shape == way.shape[1:]


def test_samples_follow_the_key(model):
    first, again, other = (np.asarray(model.sample(jax.random.key(seed), 3)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all()
    assert np.abs(first - other).max() > 1e-3


def test_what_cannot_be_is_refused(model):
    codes = model.encode(model.trained.neutrals[0])
    with pytest.raises(InputError, match="expression: expected one of jaw_open, smile, found grin"):
        model.expression(codes, "grin")
    with pytest.raises(InputError, match=r"level: expected 0 to 1, found 1\.5"):
        model.expression(codes, "smile", 1.5)
    with pytest.raises(InputError, match=r"vertices: expected \[..., 36, 3\], found \[4, 30, 3\]"):
        model.encode(model.trained.neutrals[:, :30])


def test_many_scans_are_fitted_in_their_order_and_refused_ones_say_why(monkeypatch):
    def fit(self, points, triangles, *, where, **settings):
        if not len(points):
            raise InputError(where, "points", "none")
        return len(points), triangles, settings["unit"]

    monkeypatch.setattr(TrainedFaceModel, "fit", fit)
    scans = [(np.zeros([count, 3]), None) for count in (5, 0, 7, 1)]
    found = example_face_model().fit_many(scans, unit="cm")
    assert [found[0], *found[2:]] == [(5, None, "cm"), (7, None, "cm"), (1, None, "cm")]
    assert str(found[1]) == "scan 1: expected points, found none"
    named = example_face_model().fit_many(scans, names=["a", "b.ply", "c", "d"])
    assert str(named[1]).startswith("b.ply:")
    assert example_face_model().fit_many([]) == []
