import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facedis_jax.data.faces.alignment import align
from facedis_jax.data.faces.bu3dfe import load_bu3dfe, read_landmarks
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh

_SUBJECTS = ("F0009", "F0010", "F0011", "M0001")
_CODES = ("AN", "DI", "FE", "HA", "SA", "SU")
_TRIANGLES = np.array([[i, i + 1, i + 2] for i in range(50)], np.int32)
_STEADY = 26


def _write_wrl(path, mesh):
    points = ",\n".join(" ".join(f"{x:.6f}" for x in vertex) for vertex in mesh.vertices)
    corners = ",\n".join(", ".join(map(str, [*triangle, -1])) for triangle in mesh.triangles)
    path.write_text(
        "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet {\n"
        f"coord Coordinate {{ point [\n{points} ] }}\ncoordIndex [\n{corners} ] }} }}\n"
    )


def _build(folder, *, write=_write_wrl, suffix=".wrl", flat=False):
    """Scans in poses of their own; returns the shapes [subject, expression, level] before they were moved."""
    rng = np.random.default_rng(0)
    shared = rng.uniform(-80, 80, (52, 3))
    shapes = {}
    for subject in _SUBJECTS:
        neutral = shared + rng.normal(0, 2, (52, 3))
        for code in ("NE", *_CODES):
            motion = rng.normal(0, 6, (52, 3)) * (np.arange(52) >= _STEADY)[:, None]
            for level in (0,) if code == "NE" else (1, 2, 3, 4):
                shape = neutral + (0 if code == "NE" else level / 4) * motion
                pose = Rotation.from_rotvec(rng.normal(0, 0.1, 3))
                path = folder if flat else folder / subject
                path.mkdir(exist_ok=True, parents=True)
                mesh = Mesh(pose.apply(shape) + rng.normal(0, 10, 3), _TRIANGLES)
                write(path / f"{subject}_{code}{level:02d}WH_F3D{suffix}", mesh)
                shapes[subject, code, level] = shape
    return shapes


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bu3dfe")
    shapes = _build(folder)
    (folder / "F0009" / "F0009_AN01WH_RAW.wrl").write_text("a raw scan")
    (folder / "F0009" / "F0009_AN01WH_F3D.bmp").write_text("a texture")
    return folder, shapes


@pytest.fixture(scope="module")
def prepared(original, tmp_path_factory):
    return load_bu3dfe(original[0], prepared_dir=tmp_path_factory.mktemp("prepared"))


def _faces(face_set):
    faces = [source[i] for source in (face_set.train, face_set.test) for i in range(len(source))]
    return sorted(faces, key=lambda face: int(face["index"]))


def test_faces_have_the_labels_of_their_names(prepared):
    assert (prepared.name, prepared.scale) == ("bu3dfe/paper", 156)
    assert tuple(prepared.subjects) == _SUBJECTS
    assert tuple(prepared.expressions) == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    faces = _faces(prepared)
    assert len(faces) == 4 * 25
    for face in faces:
        subject, code, stem = prepared.names[face["index"]].split("/")
        assert prepared.subjects[face["subject"]] == subject
        assert stem.startswith(f"{subject}_{code}{round(4 * float(face['level'])):02d}")
        assert face["vertices"].dtype == np.float32
    np.testing.assert_array_equal(prepared.triangles, _TRIANGLES)


def test_the_paper_tests_the_first_ten_subjects(prepared):
    tested = {prepared.subjects[prepared.test[i]["subject"]] for i in range(len(prepared.test))}
    assert tested == {"F0009", "F0010"}
    assert len(prepared.train) == len(prepared.test) == 50


def test_neutral_targets_are_the_registered_neutral_faces(prepared):
    for face in _faces(prepared):
        if face["level"] == 0:
            np.testing.assert_array_equal(face["vertices"], prepared.neutrals[face["subject"]])


def test_registration_takes_the_poses_away(original, prepared):
    _, shapes = original
    for face in _faces(prepared):
        subject, code, _ = prepared.names[face["index"]].split("/")
        shape = shapes[subject, code, round(4 * float(face["level"]))]
        expected = shape - shapes[subject, "NE", 0]
        offset = face["vertices"] - prepared.neutrals[face["subject"]]
        # Against the true motion, in the pose that the neutrals share.
        np.testing.assert_allclose(np.linalg.norm(offset, axis=-1), np.linalg.norm(expected, axis=-1), atol=0.01)
    # People differ by 2 mm a coordinate; poses had differed by some 10 mm.
    assert prepared.neutrals.std(axis=0).max() < 6


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_other_formats_and_a_flat_folder_give_the_same_faces(tmp_path, prepared, suffix):
    _build(tmp_path / "scans", write=write_mesh, suffix=suffix, flat=True)
    faces = load_bu3dfe(tmp_path / "scans", prepared_dir=tmp_path / "cache")
    assert faces.names == prepared.names
    np.testing.assert_allclose(faces.neutrals, prepared.neutrals, atol=1e-2)


def test_named_landmarks_make_a_preparation_of_their_own(original, prepared, tmp_path):
    landmarks = range(_STEADY, _STEADY + 13)
    faces = load_bu3dfe(original[0], landmarks=landmarks, prepared_dir=tmp_path)
    again = load_bu3dfe(original[0], landmarks=landmarks, prepared_dir=tmp_path)
    other = load_bu3dfe(original[0], landmarks=range(13), prepared_dir=tmp_path)
    np.testing.assert_array_equal(faces.train[1]["vertices"], again.train[1]["vertices"])
    for one, whole in zip(faces.neutrals, prepared.neutrals, strict=True):
        np.testing.assert_allclose(align(one[None], whole)[0], whole, atol=1e-3)

    def motion(face_set):
        face = face_set.train[1]
        return np.linalg.norm(face["vertices"] - face_set.neutrals[face["subject"]], axis=-1)

    # The first 26 vertices do not move, so that any of them register as the chosen ones do; others do worse.
    np.testing.assert_allclose(motion(other), motion(prepared), atol=0.01)
    assert np.abs(motion(faces) - motion(prepared)).max() > 0.1


def test_neutrals_are_registered_by_the_landmarks_too(original, tmp_path):
    """With landmarks that all people share, neutrals lie on each other there, whatever else differs between people."""
    rng = np.random.default_rng(3)
    rigid = rng.uniform(-80, 80, (20, 3))
    folder = tmp_path / "scans"
    folder.mkdir()
    for subject in _SUBJECTS:
        # Behind a face of everyone's own there is the same skull.
        shape = np.concatenate([rigid, rng.uniform(-80, 80, (32, 3))])
        for code in ("NE00", "HA04"):
            pose = Rotation.from_rotvec(rng.normal(0, 0.3, 3))
            mesh = Mesh(pose.apply(shape) + rng.normal(0, 10, 3), _TRIANGLES)
            _write_wrl(folder / f"{subject}_{code}WH_F3D.wrl", mesh)
    faces = load_bu3dfe(folder, split="subject", landmarks=range(20), prepared_dir=tmp_path / "prepared")
    shared = faces.neutrals[:, :20]
    np.testing.assert_allclose(shared, np.broadcast_to(shared[0], shared.shape), atol=1e-2)


@pytest.mark.parametrize("landmarks", [[0, 1], [0, 1, 52], [-1, 0, 1], [], [4, 4, 4, 7]])
def test_bad_landmarks_are_refused(original, tmp_path, landmarks):
    with pytest.raises(InputError, match="landmarks: expected three or more vertex indices from 0 to 51"):
        load_bu3dfe(original[0], landmarks=landmarks, prepared_dir=tmp_path)


def test_landmarks_are_read_from_text(tmp_path):
    path = tmp_path / "landmarks.txt"
    path.write_text("3 1\n4\n")
    assert read_landmarks(path) == (3, 1, 4)
    path.write_bytes(b"\xef\xbb\xbf3,1,\r\n4")
    assert read_landmarks(path) == (3, 1, 4)
    path.write_text("3 nose")
    with pytest.raises(InputError, match=r"landmarks\.txt"):
        read_landmarks(path)


@pytest.mark.parametrize(("split", "tested"), [("subject", {"F0009"}), ("sequence", set(_SUBJECTS))])
def test_other_splits(original, tmp_path, split, tested):
    faces = load_bu3dfe(original[0], split=split, prepared_dir=tmp_path)
    assert {faces.subjects[faces.test[i]["subject"]] for i in range(len(faces.test))} == tested


def _damage(folder, kind):
    scan = folder / "F0010" / "F0010_HA02WH_F3D.wrl"
    mesh = Mesh(np.random.default_rng(0).uniform(-80, 80, (52, 3)), _TRIANGLES)
    if kind == "topology":
        _write_wrl(scan, Mesh(mesh.vertices, _TRIANGLES[1:]))
        return scan, "register the scans to one template"
    if kind == "unit":
        _write_wrl(scan, Mesh(mesh.vertices / 10, _TRIANGLES))
        return scan, "looks like cm"
    if kind == "truncated":
        scan.write_text(scan.read_text()[:500])
        return scan, "closing bracket"
    if kind == "expression":
        path = scan.rename(scan.with_name("F0010_XX02WH_F3D.wrl"))
        return path, "AN, DI, FE, HA, NE, SA, SU .* found XX"
    if kind == "level":
        path = scan.rename(scan.with_name("F0010_HA05WH_F3D.wrl"))
        return path, "found HA05"
    if kind == "twice":
        path = scan.with_name("F0010_HA02WH_F3D2.wrl")
        path.write_bytes(scan.read_bytes())
        return path, "also F0010_HA02WH_F3D.wrl"
    (scan.parent / "F0010_NE00WH_F3D.wrl").unlink()
    return folder, "a neutral face .* of F0010"


@pytest.mark.parametrize("kind", ["topology", "unit", "truncated", "expression", "level", "twice", "neutral"])
def test_a_bad_mesh_is_named_and_nothing_is_left_behind(tmp_path, kind):
    folder = tmp_path / "scans"
    _build(folder)
    path, found = _damage(folder, kind)
    with pytest.raises(InputError, match=found) as caught:
        load_bu3dfe(folder, prepared_dir=tmp_path / "cache")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("**/*.array_record*"))


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_says_where_to_get_the_set(tmp_path, make):
    folder = tmp_path / "nowhere"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match="binghamton") as caught:
        load_bu3dfe(folder, prepared_dir=tmp_path)
    assert str(caught.value).startswith(str(folder))
