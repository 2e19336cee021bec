import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import trimesh

from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.errors import InputError


def _arrays(**changes):
    """A flat sheet the size of a face, with a vertex that no triangle uses."""
    rng = np.random.default_rng(0)
    neutral = np.array([[-7, -9, 0], [7, -9, 0], [7, 9, 1], [-7, 9, 1], [0, 0, 30]], np.float64)
    arrays = {
        "neutral": neutral,
        "identity": rng.standard_normal((3, 5, 3)),
        "expression": rng.standard_normal((2, 5, 3)),
        "expression_names": np.array(["jawOpen", "mouthSmile_L"]),
        "triangles": np.array([[0, 1, 2], [0, 2, 3]]),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def _write(path, **changes):
    np.savez_compressed(path, **_arrays(**changes))
    return path


def _npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def _write_with(path, name, data):
    """A model file in which one member is replaced by these bytes."""
    members = {key: _npy(value) for key, value in _arrays().items()} | {name: data}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in members.items():
            archive.writestr(f"{key}.npy", content)
    return path


def test_embedded_face_is_one_surface_with_a_mouth_and_two_eyes():
    model = load_face_model()
    surface = trimesh.Trimesh(model.neutral, model.triangles, process=False)
    assert 1900 <= len(model.neutral) <= 2800
    assert surface.body_count == 1
    assert surface.is_winding_consistent
    # A disc with three holes: V - E + F = 1 - 3.
    assert surface.euler_number == -2
    assert np.array_equal(np.unique(model.triangles), np.arange(len(model.neutral)))
    assert 150 < np.linalg.norm(np.ptp(model.neutral, axis=0)) < 300


def test_embedded_face_looks_along_z_and_stands_along_y():
    model = load_face_model()
    at = {name: model.neutral[index] for name, index in model.landmarks.items()}
    xs = [at[f"{side}_eye_{end}"][0] for side, end in _EYE_CORNERS]
    assert xs == sorted(xs)
    eyes = np.mean([at[f"{side}_eye_{end}"] for side, end in _EYE_CORNERS], axis=0)
    mouth = (at["mouth_left"] + at["mouth_right"]) / 2
    assert eyes[1] > at["nose_tip"][1] > mouth[1] > at["chin"][1]
    assert at["nose_tip"][2] > max(eyes[2], mouth[2])
    assert at["mouth_left"][0] > 15 > -15 > at["mouth_right"][0]
    # Between the outer corners of an adult's eyes lie some 80 to 110 mm.
    assert 75 < np.linalg.norm(at["left_eye_outer"] - at["right_eye_outer"]) < 115


_EYE_CORNERS = [("right", "outer"), ("right", "inner"), ("left", "inner"), ("left", "outer")]


def test_embedded_people_differ_by_millimetres_and_not_by_pose():
    model = load_face_model()
    weights = np.random.default_rng(0).standard_normal((200, len(model.identity)))
    faces = model.vertices(weights, np.zeros((200, len(model.expression))))
    distance = np.linalg.norm(faces - model.neutral, axis=-1)
    assert 2.5 < distance.mean() < 5
    # Principal components are orthogonal, strongest first, and free of translation.
    modes = model.identity.reshape(len(model.identity), -1).astype(np.float64)
    gram = modes @ modes.T
    size = np.sqrt(np.diag(gram))
    assert np.all(np.diff(size) < 0)
    assert np.abs(gram / np.outer(size, size) - np.eye(len(gram))).max() < 0.01
    assert np.abs(model.identity.mean(axis=1)).max() < 0.01


def test_embedded_face_has_the_units_of_arkit():
    model = load_face_model()
    assert {"jawOpen", "mouthSmileLeft", "browInnerUp", "eyeBlinkRight", "cheekPuff"} <= {*model.expression_names}
    opened = model.expression[model.expression_names.index("jawOpen")]
    assert opened[model.landmarks["chin"], 1] < -10
    assert np.abs(opened[model.landmarks["nose_tip"]]).max() < 3


def test_vertices_are_the_sum_of_the_model():
    model = load_face_model()
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((2, 3, len(model.identity)))
    units = rng.uniform(size=(2, 3, len(model.expression)))
    expected = model.neutral.astype(np.float64)
    expected = expected + np.einsum("abm,mvc->abvc", identity, model.identity.astype(np.float64))
    expected = expected + np.einsum("abu,uvc->abvc", units, model.expression.astype(np.float64))
    faces = model.vertices(identity, units)
    assert faces.dtype == np.float32
    np.testing.assert_allclose(faces, expected, atol=1e-3)


@pytest.mark.parametrize(("unit", "millimetres"), [("mm", 1), ("cm", 10), ("dm", 100), ("m", 1000)])
@pytest.mark.parametrize("is_named", [True, False])
def test_units_are_converted_to_mm(tmp_path, unit, millimetres, is_named):
    plain = _arrays()
    in_unit = {key: plain[key] * 10 / millimetres for key in ("neutral", "identity", "expression")}
    model = load_face_model(_write(tmp_path / "a.npz", unit=np.array(unit) if is_named else None, **in_unit))
    np.testing.assert_allclose(model.neutral, plain["neutral"][:4] * 10, rtol=1e-6)
    np.testing.assert_allclose(model.identity, plain["identity"][:, :4] * 10, rtol=1e-6)
    np.testing.assert_allclose(model.expression, plain["expression"][:, :4] * 10, rtol=1e-6)


def test_unused_vertices_are_removed_and_landmarks_renumbered(tmp_path):
    # Vertex 0 is unused here, so all others move down by one.
    path = _write(
        tmp_path / "a.npz",
        triangles=np.array([[1, 2, 3], [1, 3, 4]], np.uint16),
        landmark_names=np.array(["gone", "last"]),
        landmark_indices=np.array([0, 4]),
    )
    model = load_face_model(path)
    assert model.landmarks == {"last": 3}
    assert model.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert model.triangles.dtype == np.int32


def test_quads_become_triangles(tmp_path):
    model = load_face_model(_write(tmp_path / "a.npz", triangles=None, quads=np.array([[0, 1, 2, 3]])))
    assert sorted(map(sorted, model.triangles.tolist())) == [[0, 1, 2], [0, 2, 3]]


def test_content_hash_follows_the_content(tmp_path):
    one, same = (load_face_model(_write(tmp_path / name)) for name in ("one.npz", "same.npz"))
    moved = _arrays()["identity"]
    moved[0, 0, 0] += 0.01
    other = load_face_model(_write(tmp_path / "other.npz", identity=moved))
    renamed = load_face_model(_write(tmp_path / "n.npz", expression_names=np.array(["jawOpen", "cheekPuff"])))
    assert one.content_hash == same.content_hash
    assert len({one.content_hash, other.content_hash, renamed.content_hash}) == 3


def test_ict_light_is_cropped_to_the_narrow_face(tmp_path):
    # The size of the "Light" selection: 9,409 vertices, of which the first 6,706 are the face, and 53 units.
    strip = np.arange(9409)
    path = _write(
        tmp_path / "ict.npz",
        neutral=np.stack([strip % 20, strip % 21, strip / 9409], axis=1),
        identity=np.ones((1, 9409, 3), np.float16),
        expression=np.zeros((53, 9409, 3), np.float16),
        expression_names=np.array([f"unit{i}" for i in range(53)]),
        triangles=np.stack([strip[:-2], strip[1:-1], strip[2:]], axis=1),
    )
    model = load_face_model(path)
    assert model.neutral.shape == (6706, 3)
    assert model.identity.shape == (1, 6706, 3)
    assert len(model.triangles) == 6704


def _checkout(folder):
    """ICT-FaceKit's files with four vertices, in cm."""
    home = folder / "FaceXModel"
    home.mkdir(parents=True)
    neutral = _arrays()["neutral"][:4]
    shapes = {"generic_neutral_mesh": neutral}
    shapes |= {f"identity{i:03d}": neutral + 0.1 * (i + 1) for i in range(2)}
    shapes |= {name: neutral - [0, i, 0] for i, name in enumerate(("jawOpen", "mouthSmile_L"), 1)}
    for name, vertices in shapes.items():
        lines = [f"v {x} {y} {z}" for x, y, z in vertices] + ["f 1 2 3 4"]
        (home / f"{name}.obj").write_text("\n".join(lines))
    return home


@pytest.mark.parametrize("is_top", [True, False])
def test_a_checkout_of_ict_facekit(tmp_path, is_top):
    home = _checkout(tmp_path)
    model = load_face_model(tmp_path if is_top else home)
    assert model.expression_names == ("jawOpen", "mouthSmile_L")
    np.testing.assert_allclose(model.neutral, _arrays()["neutral"][:4] * 10)
    np.testing.assert_allclose(model.identity, np.array([1, 2])[:, None, None] * np.ones((2, 4, 3)), rtol=1e-5)
    np.testing.assert_allclose(model.expression[1], np.tile([0, -20, 0], (4, 1)), atol=1e-5)


def test_a_checkout_with_another_topology_names_the_file(tmp_path):
    (_checkout(tmp_path) / "jawOpen.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3")
    with pytest.raises(InputError, match=r"jawOpen\.obj: expected 4 vertices .* found 3"):
        load_face_model(tmp_path)


def test_a_folder_or_path_that_is_no_model(tmp_path):
    with pytest.raises(InputError, match="checkout of ICT-FaceKit"):
        load_face_model(tmp_path)
    with pytest.raises(InputError, match="nothing there"):
        load_face_model(tmp_path / "none.npz")
    for path in _checkout(tmp_path).glob("identity*"):
        path.unlink()
    with pytest.raises(InputError, match="0 identity and 2 expression files"):
        load_face_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neutral": None}, "the arrays neutral"),
        ({"triangles": None}, "the arrays triangles"),
        ({"neutral": np.zeros((5, 2))}, r"neutral as numbers \[n, 3\]"),
        ({"neutral": np.full((5, 3), "a")}, "neutral as numbers"),
        ({"neutral": np.full((5, 3), np.nan)}, "finite numbers in neutral"),
        ({"neutral": np.zeros((5, 3))}, "diagonal"),
        ({"identity": np.zeros((3, 4, 3))}, r"identity as numbers \[n, 5, 3\]"),
        ({"identity": np.zeros((0, 5, 3))}, "identity as numbers"),
        ({"identity": np.full((3, 5, 3), np.nan)}, "finite numbers in identity"),
        ({"identity": np.full((3, 5, 3), 1e300)}, "finite numbers in identity"),
        ({"expression_names": np.array(["jawOpen"])}, r"expression_names as text \[2\]"),
        ({"triangles": np.array([[0.0, 1, 2]])}, "triangles as integers"),
        ({"triangles": np.array([[0, 1, 5]])}, "triangles from 0 to 4"),
        ({"triangles": np.array([[0, -1, 2]])}, "triangles from 0 to 4"),
        ({"unit": np.array("inch")}, "a unit among"),
        ({"unit": np.array("m")}, "diagonal"),
        ({"landmark_names": np.array(["a"]), "landmark_indices": np.array([9])}, "landmark_indices from 0"),
        ({"landmark_names": np.array(["a"]), "landmark_indices": np.array([1, 2])}, "landmark_indices as"),
    ],
)
def test_a_file_that_is_no_face_model(tmp_path, changes, message):
    path = _write(tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_face_model(path)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_pickles_are_not_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = _npy(np.array([_Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="neutral as a plain array, found pickled objects"):
        load_face_model(_write_with(tmp_path / "a.npz", "neutral", pickled))
    assert not (tmp_path / "sprung").exists()


def _header(shape, descr="<f8"):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        _header((10**9, 3)) + bytes(64),  # promises 24 GB
        _header((2**62, 2**62)) + bytes(64),
        _header((1, 3)) + bytes(64),  # holds more than it says
        _header((-1, 3)) + bytes(24),
        _header((8, 3))[:20],
        b"\x93NUMPY\x09\x00" + bytes(64),
        b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((",
        b"not an array",
        b"",
    ],
)
def test_lying_and_broken_arrays_take_no_memory(tmp_path, content):
    path = _write_with(tmp_path / "a.npz", "neutral", content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            load_face_model(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = _header((1 << 20, 3)) + bytes(24 << 20)
    path = _write_with(tmp_path / "a.npz", "identity", bomb)
    assert path.stat().st_size < 1 << 16
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"arrays of at most 18 MiB in \d+ bytes, found more"):
            load_face_model(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_directory_that_understates_a_member_is_caught(tmp_path):
    path = _write_with(tmp_path / "a.npz", "neutral", _header((1 << 16, 3)) + bytes(3 << 19))
    data = bytearray(path.read_bytes())
    size = (len(_header((1 << 16, 3))) + (3 << 19)).to_bytes(4, "little")
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = (128 + 120).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npz: expected"):
        load_face_model(path)


@pytest.mark.parametrize("kept", [0, 10, 200, -30])
def test_truncated_archives(tmp_path, kept):
    path = _write(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.npz: expected an \.npz of plain arrays"):
        load_face_model(path)


def test_damage_anywhere_is_an_input_error(tmp_path):
    """Any flipped byte either leaves a face model or gives an InputError, nothing else."""
    whole = _write(tmp_path / "a.npz").read_bytes()
    path = tmp_path / "b.npz"
    failures = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            load_face_model(path)
        except InputError:
            failures += 1
    assert failures > len(whole) // 14
