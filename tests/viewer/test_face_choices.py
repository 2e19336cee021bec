import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, encode_mesh
from facedis_jax.inference.example import example_face_model
from facedis_jax.viewer.face_choices import AVERAGE, NEUTRAL, FaceChoices


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def choices(request):
    return FaceChoices.of(example_face_model(conditional=request.param))


def test_all_people_and_expressions_can_be_chosen(choices):
    assert list(choices.people) == [AVERAGE, "ann", "ben", "cem", "dan"]
    assert list(choices.expressions) == [NEUTRAL, "jaw_open", "smile"]
    model, shown = choices.model, choices.face("ben", "smile", 0.4)
    code, labels = model.expression_code("smile", 0.4)
    np.testing.assert_allclose(shown.expression, code, atol=1e-6)
    if labels is not None:
        np.testing.assert_allclose(shown.labels, labels, atol=1e-6)
    expected = model.functions.decode(model.params, choices.people["ben"], code, labels).full
    np.testing.assert_allclose(choices.decode(shown), expected, atol=1e-3)
    rest = choices.face("ben", NEUTRAL, 1.0)
    np.testing.assert_allclose(rest.towards(choices.face("ben", "smile", 1.0), 0.4).expression, code, atol=1e-6)
    assert rest.distance(rest) == 0
    assert np.isfinite(choices.decode(choices.random(np.random.default_rng(0)))).all()


@pytest.mark.parametrize("scale", [1, 1000], ids=["mm", "m"])
def test_a_loaded_mesh_is_who_and_what(choices, scale):
    model = choices.model
    turned = model.trained.neutrals[1] @ np.float32([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]) + np.float32([5, 200, -40])
    content = encode_mesh("me.ply", Mesh(turned / scale, model.triangles))
    loaded = choices.load("me.ply", content)
    more = choices.with_loaded("file: me.ply", loaded)
    assert "file: me.ply" in more.people.keys() & more.expressions.keys()
    assert np.linalg.norm(loaded.vertices - model.trained.neutrals[1], axis=-1).mean() < 6
    shown = more.face("file: me.ply", "file: me.ply", 1.0)
    assert shown.distance(loaded.codes) < 1e-5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("me.ply", b"", "an empty file"),
        ("me.3ds", b"MM", "ending '.3ds'"),
        ("me.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "me.obj: expected"),
    ],
)
def test_what_is_no_face_is_one_clear_line(choices, name, content, message):
    with pytest.raises(InputError, match=message):
        choices.load(name, content)
