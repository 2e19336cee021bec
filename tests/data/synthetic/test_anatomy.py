from dataclasses import replace

import numpy as np
import pytest

from facedis_jax.data.synthetic.anatomy import face_anatomy
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.errors import InputError
from facedis_jax.rendering.surfaces import boundary_loops


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def closed(model):
    """The embedded face without its named landmarks, and with eyes and mouth closed by a vertex in each."""
    holes = boundary_loops(model.triangles, len(model.neutral))[:-1]
    fans, more = [model.triangles], {key: [getattr(model, key)] for key in ("neutral", "identity", "expression")}
    for k, hole in enumerate(holes):
        middle = np.full(len(hole), len(model.neutral) + k)
        fans.append(np.stack([hole, np.roll(hole, -1), middle], -1))
        for key, parts in more.items():
            parts.append(getattr(model, key)[..., hole, :].mean(-2, keepdims=True))
    arrays = {key: np.concatenate(parts, -2) for key, parts in more.items()}
    return replace(model, landmarks={}, triangles=np.concatenate(fans).astype(np.int32), **arrays)


def test_landmarks_are_as_the_viewer_sees_them(model):
    left, right, nose, left_corner, right_corner = face_anatomy(model).points(model.neutral)
    assert left[0] < nose[0] < right[0]
    assert left_corner[0] < nose[0] < right_corner[0]
    assert min(left[1], right[1]) > nose[1] > max(left_corner[1], right_corner[1])
    assert nose[2] == pytest.approx(model.neutral[:, 2].max(), abs=1)
    assert 55 < right[0] - left[0] < 70  # mm between the eyes of grown people


def test_named_landmarks_and_holes_give_the_same_features(model):
    named = face_anatomy(model).points(model.neutral)
    found = face_anatomy(replace(model, landmarks={})).points(model.neutral)
    # Not in depth: at its corners the rim of a mouth turns inwards.
    np.testing.assert_allclose(found[:, :2], named[:, :2], atol=5)


def test_units_show_the_features_of_a_mesh_without_holes(model, closed):
    named = face_anatomy(model).points(model.neutral)
    anatomy = face_anatomy(closed)
    assert not anatomy.eyes
    assert not len(anatomy.mouth)
    np.testing.assert_allclose(anatomy.points(closed.neutral), named, atol=14)


def test_a_model_whose_features_are_not_found_is_refused(closed):
    nameless = replace(closed, expression_names=tuple(f"unit{i}" for i in range(len(closed.expression))))
    with pytest.raises(InputError, match="eyeBlink"):
        face_anatomy(nameless)


def test_a_closed_mesh_is_refused(model):
    tetrahedron = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]], np.int32)
    with pytest.raises(InputError, match="open mesh"):
        face_anatomy(replace(model, triangles=tetrahedron))


def test_features_lie_at_their_landmarks(model):
    anatomy = face_anatomy(model)
    left, _, nose, *corners = anatomy.points(model.neutral)
    mouth = np.mean(corners, 0)
    for share, low, high in (
        (anatomy.lips, mouth[1] - 16, nose[1] - 5),
        (anatomy.brows, left[1] + 5, left[1] + 30),
        (anatomy.lids, left[1] - 10, left[1] + 10),
    ):
        y = model.neutral[share > 0.5, 1]
        assert len(y) > 8
        assert low < y.min() < y.max() < high
        assert share.min() >= 0
        assert share.max() <= 1
    for share in (anatomy.brows, anatomy.lids):
        sides = model.neutral[share > 0.5, 0] > nose[0]
        assert 0.4 < sides.mean() < 0.6
    assert (model.neutral[anatomy.scalp > -10, 1] > nose[1]).all()
