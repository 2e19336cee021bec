import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facedis_jax.data.faces import coma
from facedis_jax.data.faces.coma import Coma, load_coma
from facedis_jax.data.faces.levels import sequence_levels
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh

_SUBJECTS = ("FaceTalk_170725_00137_TA", "FaceTalk_170728_03272_TA", "FaceTalk_170731_00024_TA")
_EXPRESSIONS = ("bareteeth", "cheeks_in", "mouth_side")
_FRAMES = 13
_TRIANGLES = np.array([[i, i + 1, i + 2] for i in range(20)], np.int32)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small set in CoMA's layout, in metres, with one sequence missing as in some copies."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("coma")
    for subject in _SUBJECTS:
        face = rng.uniform(-0.1, 0.1, (22, 3))
        for expression in _EXPRESSIONS[: 2 if subject == _SUBJECTS[1] else 3]:
            path = folder / subject / expression
            path.mkdir(parents=True)
            motion = rng.normal(0, 0.005, (22, 3))
            for frame in range(_FRAMES):
                vertices = face + motion * np.sin(frame / (_FRAMES - 1) * np.pi)
                mesh = Mesh(vertices.astype(np.float32), _TRIANGLES)
                write_mesh(path / f"{expression}.{frame + 1:06d}.ply", mesh)
    (folder / _SUBJECTS[0] / "bareteeth" / "._bareteeth.000001.ply").write_bytes(b"left by a file manager")
    return folder


@pytest.fixture(scope="module")
def prepared(original, tmp_path_factory):
    return load_coma(original, prepared_dir=tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "coma")


def _frame(folder, subject=0, expression="cheeks_in", frame=3):
    return folder / _SUBJECTS[subject] / expression / f"{expression}.{frame:06d}.ply"


def test_every_frame_is_there_once_in_mm_under_its_name(original, prepared):
    assert prepared.name == "coma/paper"
    assert prepared.scale == 260
    assert (len(prepared.train), len(prepared.test)) == (8 * _FRAMES - 14, 14)
    assert tuple(prepared.names) == tuple(sorted(prepared.names))
    np.testing.assert_array_equal(prepared.triangles, _TRIANGLES)
    faces = [source[i] for source in (prepared.train, prepared.test) for i in range(len(source))]
    assert sorted(int(face["index"]) for face in faces) == list(range(8 * _FRAMES))
    for face in faces:
        name = prepared.names[face["index"]]
        metres = read_mesh(original / f"{name}.ply").vertices
        np.testing.assert_allclose(face["vertices"], metres * 1000, rtol=1e-6)
        assert face["vertices"].dtype == np.float32
        subject, expression = prepared.subjects[face["subject"]], prepared.expressions[face["expression"]]
        assert name.split("/")[:2] == [subject, expression]
    assert [int(face["index"]) % 100 < 10 for face in faces] == [False] * len(prepared.train) + [True] * 14


def test_levels_and_neutrals_follow_the_rule(original, prepared):
    faces = [source[i] for source in (prepared.train, prepared.test) for i in range(len(source))]
    faces = sorted(faces, key=lambda face: int(face["index"]))
    vertices = np.stack([face["vertices"] for face in faces])
    sequence = np.arange(len(faces)) // _FRAMES
    levels = np.array([face["level"] for face in faces])
    np.testing.assert_allclose(levels, sequence_levels(vertices, sequence), atol=1e-5)
    for s in range(3):
        own = np.array([face["subject"] == s for face in faces]) & (levels <= 0.01)
        np.testing.assert_allclose(prepared.neutrals[s], vertices[own].mean(0), atol=1e-4)
    assert prepared.neutrals.dtype == np.float32


def test_a_set_may_lie_in_a_folder_of_its_own(original, prepared, tmp_path):
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "coma").symlink_to(original)
    found = load_coma(tmp_path / "unpacked", prepared_dir=tmp_path / "prepared")
    assert (found.content_hash, found.name) == (prepared.content_hash, prepared.name)


@pytest.mark.parametrize(("split", "tested"), [("sequence", 3 * _FRAMES), ("subject", 3 * _FRAMES)])
def test_other_splits(original, tmp_path, split, tested):
    faces = load_coma(original, split=split, prepared_dir=tmp_path)
    assert faces.name == f"coma/{split}"
    assert (len(faces.train), len(faces.test)) == (8 * _FRAMES - tested, tested)


def test_the_record_says_what_it_was_made_from(original, tmp_path):
    load_coma(original, prepared_dir=tmp_path)
    builder = Coma(config="paper", data_dir=next(tmp_path.iterdir()), file_format="array_record")
    metadata = builder.info.metadata
    assert {key: metadata[key] for key in ("unit", "num_vertices", "num_train", "num_test")} == {
        "unit": "m",
        "num_vertices": 22,
        "num_train": 90,
        "num_test": 14,
    }
    assert metadata["subjects"] == list(_SUBJECTS)
    assert metadata["expressions"] == list(_EXPRESSIONS)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 90,
        "test": 14,
        "neutrals": 3,
    }


def test_a_second_start_reads_no_mesh(original, tmp_path, monkeypatch, capfd):
    first = load_coma(original, prepared_dir=tmp_path)
    assert capfd.readouterr().out == ""

    def refuse(*_):
        raise AssertionError("a mesh was read")

    monkeypatch.setattr(coma, "parse_mesh", refuse)
    monkeypatch.setattr(coma, "read_mesh", refuse)
    second = load_coma(original, prepared_dir=tmp_path)
    assert second.content_hash == first.content_hash
    np.testing.assert_array_equal(second.train[7]["vertices"], first.train[7]["vertices"])


def test_the_content_hash_follows_the_content_and_not_the_place(folder, prepared, tmp_path):
    same = load_coma(folder, prepared_dir=tmp_path / "cache")
    assert same.content_hash == prepared.content_hash
    mesh = read_mesh(_frame(folder))
    write_mesh(_frame(folder), Mesh(mesh.vertices + np.float32(1e-6), mesh.triangles))
    changed = load_coma(folder, prepared_dir=tmp_path / "cache")
    assert changed.content_hash != prepared.content_hash


def test_the_cache_is_the_users_by_default(original, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_coma(original)
    assert list((tmp_path / "facedis_jax").glob("*/coma/paper/*/dataset_info.json"))


def _damage(folder, kind):
    """Damages one file; returns it and what the error says of it."""
    path = _frame(folder)
    mesh = read_mesh(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
        return path, "truncated|ends before"
    if kind == "topology":
        write_mesh(path, Mesh(mesh.vertices, _TRIANGLES[:, [0, 2, 1]]))
        return path, "topology of the other meshes"
    if kind == "vertices":
        write_mesh(path, Mesh(np.concatenate([mesh.vertices, mesh.vertices]), _TRIANGLES))
        return path, "22 vertices, found 44"
    if kind == "unit":
        write_mesh(path, Mesh(mesh.vertices * 1000, _TRIANGLES))
        return path, "looks like mm"
    if kind == "nan":
        write_mesh(path, Mesh(np.where(np.arange(66).reshape(22, 3) == 5, np.nan, mesh.vertices), _TRIANGLES))
        return path, "finite coordinates"
    if kind == "folder":
        path.unlink()
        path.mkdir()
        return path, "a mesh file that can be read"
    path.rename(path.with_name("cheeks_in.3.ply"))
    return path.with_name("cheeks_in.3.ply"), "cheeks_in.3.ply"


@pytest.mark.parametrize("kind", ["truncated", "topology", "vertices", "unit", "nan", "folder", "name"])
def test_a_bad_frame_is_named_and_nothing_is_left_behind(folder, tmp_path, kind):
    path, found = _damage(folder, kind)
    with pytest.raises(InputError, match=found) as caught:
        load_coma(folder, prepared_dir=tmp_path / "cache")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("**/*.array_record*"))
    assert not list((tmp_path / "cache").glob("**/dataset_info.json"))


@pytest.mark.parametrize("make", [False, True])
def test_a_missing_or_empty_folder_says_where_to_get_the_set(tmp_path, make):
    folder = tmp_path / "nowhere"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=r"coma\.is\.tue\.mpg\.de") as caught:
        load_coma(folder, prepared_dir=tmp_path)
    assert str(caught.value).startswith(str(folder))


def test_an_unknown_split_is_refused(original):
    with pytest.raises(InputError, match="paper, sequence, subject, found 'random'"):
        load_coma(original, split="random")


def test_a_cache_that_cannot_be_written_is_named(original, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="prepared data") as caught:
        load_coma(original, prepared_dir=tmp_path / "file")
    assert str(caught.value).startswith(str(tmp_path / "file"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_preparation_is_not_taken_for_whole(original, tmp_path, monkeypatch, error):
    calls = 0
    whole = coma.parse_mesh

    def interrupted(path, data):
        nonlocal calls
        calls += 1
        if calls == 60:
            raise error
        return whole(path, data)

    monkeypatch.setattr(coma, "parse_mesh", interrupted)
    with pytest.raises(error):
        load_coma(original, prepared_dir=tmp_path)
    assert not list(tmp_path.glob("**/*.array_record*"))
    monkeypatch.undo()
    assert len(load_coma(original, prepared_dir=tmp_path).train) == 90


def test_a_prepared_copy_with_a_missing_file_is_named(original, tmp_path):
    load_coma(original, prepared_dir=tmp_path)
    gone = next(tmp_path.glob("**/*train*"))
    gone.unlink()
    with pytest.raises(InputError, match=gone.name):
        load_coma(original, prepared_dir=tmp_path)


def test_of_two_preparations_at_once_one_waits_for_the_other(original, tmp_path, monkeypatch, capsys):
    both, thread, surveys = threading.Barrier(2), threading.local(), []
    coma_files, survey = coma.coma_files, coma.Coma.survey

    def together(folder):
        # Where each begins, and before either has prepared anything.
        if not hasattr(thread, "began"):
            thread.began = both.wait(timeout=30)
        return coma_files(folder)

    def counted(*args):
        surveys.append(args)
        return survey(*args)

    monkeypatch.setattr(coma, "coma_files", together)
    monkeypatch.setattr(coma.Coma, "survey", counted)
    with ThreadPoolExecutor(2) as pool:
        sets = list(pool.map(lambda _: load_coma(original, prepared_dir=tmp_path), range(2)))
    assert len(surveys) == 1
    assert sets[0].content_hash == sets[1].content_hash
    np.testing.assert_array_equal(sets[0].test[0]["vertices"], sets[1].test[0]["vertices"])


def test_sources_are_shared_between_threads(prepared):
    expected = [prepared.train[i]["vertices"] for i in range(len(prepared.train))]
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: prepared.train[i]["vertices"], list(range(len(expected))) * 3))
    np.testing.assert_array_equal(read, expected * 3)


def test_preparing_and_reading_import_no_tensorflow(original, tmp_path):
    code = (
        "import sys; from facedis_jax.data.faces.coma import load_coma; "
        f"faces = load_coma({str(original)!r}, prepared_dir={str(tmp_path)!r}); "
        "print(len(faces.train), faces.train[0]['vertices'].shape, 'tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "90 (22, 3) False", ran.stderr
