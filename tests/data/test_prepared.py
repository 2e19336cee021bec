"""Damaged examples are skipped where that is asked for, counted and named; else they are errors."""

import gzip
import pwd
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.faces.bu3dfe import load_bu3dfe
from facedis_jax.data.faces.coma import load_coma
from facedis_jax.data.images.load import load_images
from facedis_jax.data.prepared import cache_dir, find_damaged
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.videos.load import load_videos
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh

TRIANGLES = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]], np.int32)


def mesh(seed, size=0.1):
    vertices = np.random.default_rng(seed).uniform(-1, 1, (5, 3))
    return Mesh((size * vertices / np.abs(vertices).max()).astype(np.float32), TRIANGLES)


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def read_all(source):
    return [source[i] for i in range(len(source))]


def test_damaged_meshes_of_coma_are_skipped(tmp_path):
    folder = tmp_path / "COMA"
    for subject in "ab":
        for frame in range(12):
            path = folder / subject / "smile" / f"smile.{frame:06d}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(path, mesh(frame))
    damaged = folder / "a/smile/smile.000000.ply", folder / "b/smile/smile.000007.ply"
    cut_short(damaged[0])
    write_mesh(damaged[1], mesh(7, size=100.0))  # in millimetres
    with pytest.raises(InputError, match=r"smile\.000000\.ply"):
        load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared")
    faces = load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared", skip_damaged=True)
    assert list(faces.skipped) == ["a/smile/smile.000000", "b/smile/smile.000007"]
    assert "smile.000007.ply" in faces.skipped["b/smile/smile.000007"]
    assert len(faces.names) == len(faces.train) + len(faces.test) == 22
    assert not set(faces.skipped) & set(faces.names)
    for face in read_all(faces.train) + read_all(faces.test):
        frame = int(faces.names[face["index"]][-6:])
        np.testing.assert_allclose(face["vertices"], 1000 * mesh(frame).vertices, rtol=1e-5, atol=1e-3)
    # What was found is not looked for again, and whole folders are the same set as without the option.
    (tmp_path / "prepared").chmod(0o555)
    assert load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared", skip_damaged=True).skipped


def test_damaged_meshes_of_bu3dfe_are_skipped(tmp_path):
    (tmp_path / "BU").mkdir()
    for subject in ("F0001", "F0011", "F0012"):
        for seed, name in enumerate(("NE00", "HA01", "HA02")):
            write_mesh(tmp_path / "BU" / f"{subject}_{name}WH_F3D.ply", mesh(seed, size=100.0))
    cut_short(tmp_path / "BU" / "F0012_HA02WH_F3D.ply")
    faces = load_bu3dfe(tmp_path / "BU", prepared_dir=tmp_path / "prepared", landmarks=(0, 1, 2), skip_damaged=True)
    assert list(faces.skipped) == ["F0012/HA/F0012_HA02WH_F3D"]
    assert len(faces.names) == 8


def test_a_misnamed_mesh_of_coma_is_skipped(tmp_path):
    folder = tmp_path / "COMA"
    for subject in "ab":
        for frame in range(3):
            path = folder / subject / "smile" / f"smile.{frame:06d}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(path, mesh(frame))
    path.rename(path.with_name("smile.2.ply"))
    with pytest.raises(InputError, match=r"smile\.2\.ply: expected a name"):
        load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared")
    faces = load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared", skip_damaged=True)
    assert list(faces.skipped) == ["b/smile/smile.2.ply"]
    assert len(faces.names) == 5


@pytest.mark.parametrize("odd", [0, 3])
def test_the_topology_of_most_meshes_is_the_sets(tmp_path, odd):
    folder = tmp_path / "COMA"
    for subject in "ab":
        for frame in range(4):
            path = folder / subject / "smile" / f"smile.{frame:06d}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            triangles = TRIANGLES[:2] if (subject, frame) == ("a", odd) else np.roll(TRIANGLES, frame, (0, 1))
            write_mesh(path, Mesh(mesh(frame).vertices, triangles))
    faces = load_coma(folder, split="subject", prepared_dir=tmp_path / "prepared", skip_damaged=True)
    assert list(faces.skipped) == [f"a/smile/smile.{odd:06d}"]
    assert "found 2" in faces.skipped[f"a/smile/smile.{odd:06d}"]
    assert len(faces.names) == 7


def write_scans(folder, names=("NE00", "HA01", "HA02")):
    folder.mkdir()
    for subject in ("F0001", "F0011", "F0012", "F0013"):
        for seed, name in enumerate(names):
            write_mesh(folder / f"{subject}_{name}WH_F3D.ply", mesh(seed, size=100.0))


@pytest.mark.parametrize("kind", ["damaged", "missing"])
def test_faces_without_their_neutral_are_skipped_for_its_reason(tmp_path, kind):
    folder, neutral = tmp_path / "BU", tmp_path / "BU" / "F0012_NE00WH_F3D.ply"
    write_scans(folder)
    options = {"prepared_dir": tmp_path / "prepared", "landmarks": (0, 1, 2)}
    cut_short(neutral) if kind == "damaged" else neutral.unlink()
    own_reason = "F0012_NE00WH_F3D.ply: expected a PLY header" if kind == "damaged" else "NE00. of F0012, found none"
    with pytest.raises(InputError, match=own_reason):
        load_bu3dfe(folder, **options)
    faces = load_bu3dfe(folder, **options, skip_damaged=True)
    own = ["F0012/HA/F0012_HA01WH_F3D", "F0012/HA/F0012_HA02WH_F3D"]
    assert list(faces.skipped) == [*own, *["F0012/NE/F0012_NE00WH_F3D"][: kind == "damaged"]]
    for name in own:
        assert "a neutral face (NE00) of F0012" in faces.skipped[name]
        assert ("a PLY header" in faces.skipped[name]) == (kind == "damaged")
    assert faces.subjects == ("F0001", "F0011", "F0013")
    assert len(faces.names) == 9


def test_scans_whose_names_cannot_be_used_are_skipped(tmp_path):
    folder = tmp_path / "BU"
    write_scans(folder)
    (folder / "F0011_HA02WH_F3D.ply").rename(folder / "F0011_HA09WH_F3D.ply")
    (folder / "F0012_HA02WH_F3D.ply").rename(folder / "F0012_XX02WH_F3D.ply")
    (folder / "F0013_HA02WH_F3D_copy.ply").write_bytes((folder / "F0013_HA02WH_F3D.ply").read_bytes())
    faces = load_bu3dfe(folder, prepared_dir=tmp_path / "prepared", landmarks=(0, 1, 2), skip_damaged=True)
    assert list(faces.skipped) == [f"{name}.ply" for name in _ODD_SCANS]
    assert len(faces.names) == 10


_ODD_SCANS = ("F0011_HA09WH_F3D", "F0012_XX02WH_F3D", "F0013_HA02WH_F3D_copy")


def test_scans_are_known_by_their_names_in_any_letters_and_packed(tmp_path):
    write_scans(tmp_path / "plain")
    write_scans(tmp_path / "packed")
    for path in (tmp_path / "packed").iterdir():
        target = path.with_name(f"{path.stem.lower()}.PLY.gz")
        target.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    options = {"prepared_dir": tmp_path / "prepared", "landmarks": (0, 1, 2)}
    one, other = (load_bu3dfe(tmp_path / kind, **options) for kind in ("plain", "packed"))
    assert other.names[0] == "F0001/HA/f0001_ha01wh_f3d"
    assert (other.subjects, other.expressions) == (one.subjects, one.expressions)
    np.testing.assert_array_equal(other.neutrals, one.neutrals)


def write_images(folder, count, name="{:03d}.png"):
    for i in range(count):
        path = folder / name.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(path)


@pytest.mark.parametrize("damaged", ["000.png", "013.png"])
def test_damaged_images_are_skipped(tmp_path, damaged):
    write_images(tmp_path / "faces", 20)
    cut_short(tmp_path / "faces" / damaged)
    arguments = {"size": 8, "prepared_dir": tmp_path / "prepared"}
    with pytest.raises(InputError, match=damaged):
        load_images("folder", tmp_path / "faces", **arguments)
    images = load_images("folder", tmp_path / "faces", **arguments, skip_damaged=True)
    assert list(images.skipped) == [damaged]
    for half in (images.train, images.test):
        assert len(half.names) == len(half.source)
        for image, name in zip(read_all(half.source), half.names, strict=True):
            assert (image["image"] == 10 * int(name[:3])).all()
    assert len(images.train.names) + len(images.test.names) == 19


@pytest.mark.parametrize("odd", ["000.png", "003.png", "013.png"])
@pytest.mark.parametrize("size", [(16, 18), (4, 4), (32, 32)])
def test_images_of_another_size_than_most_are_skipped(tmp_path, odd, size):
    write_images(tmp_path / "faces", 20)
    Image.new("RGB", size).save(tmp_path / "faces" / odd)
    arguments = {"size": 8, "prepared_dir": tmp_path / "prepared"}
    with pytest.raises(InputError, match=rf"{odd}: expected 16 x 16 pixels, as its neighbours, found {size[0]} x"):
        load_images("folder", tmp_path / "faces", **arguments)
    images = load_images("folder", tmp_path / "faces", **arguments, skip_damaged=True)
    assert list(images.skipped) == [odd]
    assert len(images.train.names) + len(images.test.names) == 19


def test_a_set_may_begin_with_many_damaged_images(tmp_path):
    write_images(tmp_path / "faces", 22)
    for number in range(12):
        cut_short(tmp_path / "faces" / f"{number:03d}.png")
    images = load_images("folder", tmp_path / "faces", size=8, prepared_dir=tmp_path / "prepared", skip_damaged=True)
    assert len(images.skipped) == 12
    assert len(images.train.names) + len(images.test.names) == 10


def test_a_half_of_which_nothing_is_left_is_an_error(tmp_path):
    write_images(tmp_path / "faces", 20)
    arguments = {"size": 8, "prepared_dir": tmp_path / "prepared"}
    for name in load_images("folder", tmp_path / "faces", **arguments).test.names:
        cut_short(tmp_path / "faces" / name)
    with pytest.raises(InputError, match="one whole example or more to test, found none: all 2 are damaged"):
        load_images("folder", tmp_path / "faces", **arguments, skip_damaged=True)


def test_damaged_recordings_are_skipped(tmp_path):
    for subject in "abcd":
        write_images(tmp_path / "MUG" / subject / "happiness" / "take000", 4, "img_{:04d}.png")
    cut_short(tmp_path / "MUG" / "b" / "happiness" / "take000" / "img_0002.png")
    clips = load_videos(
        "folders", tmp_path / "MUG", size=8, frames=4, prepared_dir=tmp_path / "prepared", skip_damaged=True
    )
    assert list(clips.skipped) == ["b/happiness/take000"]
    assert len(clips.train.names) + len(clips.test.names) == 3


def _mug(folder, take="{subject}/happiness/take000"):
    for subject in "abcd":
        write_images(folder / take.format(subject=subject), 4, "img_{:04d}.png")


def _short(take):
    (take / "img_0003.png").unlink()


def _empty(take):
    for path in take.iterdir():
        path.unlink()


def _with_a_gap(take):
    (take / "img_0002.png").rename(take / "img_0007.png")


def _of_two_sizes(take):
    Image.new("RGB", (32, 16)).save(take / "img_0002.png")


def _twice_a_frame(take):
    Image.new("RGB", (16, 16)).save(take / "img_002.png")


@pytest.mark.parametrize("take", ["{subject}/happiness/take000", "{subject}/session0/happiness/take000"])
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_short, "at least 4 frames"),
        (_empty, "frames img_0000.jpg and so on in it, found none"),
        (_with_a_gap, "without a gap"),
        (_of_two_sizes, "as its neighbours"),
        (_twice_a_frame, "each frame once"),
    ],
)
def test_takes_that_the_survey_refuses_are_skipped(tmp_path, take, change, found):
    _mug(tmp_path / "MUG", take)
    change(tmp_path / "MUG" / take.format(subject="b"))
    options = {"size": 8, "frames": 4, "prepared_dir": tmp_path / "prepared"}
    with pytest.raises(InputError, match=found) as caught:
        load_videos("folders", tmp_path / "MUG", **options)
    assert str(caught.value).startswith(str(tmp_path / "MUG" / take.format(subject="b")))
    clips = load_videos("folders", tmp_path / "MUG", **options, skip_damaged=True)
    name = "b/happiness/session0/take000" if "session0" in take else "b/happiness/take000"
    assert list(clips.skipped) == [name]
    assert found in clips.skipped[name]
    assert len(clips.train.names) + len(clips.test.names) == 3
    assert set(clips.classes["expression"]) == {"happiness"}


@pytest.mark.parametrize("around", ["MUG", "archive/MUG"])
def test_sets_lie_in_the_folders_that_archives_leave(tmp_path, around):
    options = {"prepared_dir": tmp_path / "prepared", "skip_damaged": True}
    home = tmp_path / "all" / around
    _mug(home, "{subject}/session0/happiness/take000")
    (tmp_path / "all" / "read me.txt").write_text("left by its makers")
    (tmp_path / "all" / "__MACOSX").mkdir()
    clips = load_videos("folders", tmp_path / "all", size=8, frames=4, **options)
    assert len(clips.train.names) + len(clips.test.names) == 4
    assert clips.train.names[0].endswith("/happiness/session0/take000")
    shutil.rmtree(home)
    for subject in "ab":
        for frame in range(3):
            path = home / subject / "smile" / f"smile.{frame:06d}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mesh(path, mesh(frame))
    assert load_coma(tmp_path / "all", split="subject", **options).subjects == ("a", "b")
    shutil.rmtree(home)
    write_scans(home)
    assert len(load_bu3dfe(tmp_path / "all", landmarks=(0, 1, 2), **options).names) == 12


def test_links_that_lead_nowhere_are_skipped(tmp_path):
    """As of DVC and git-annex, where the content of some files was not fetched."""
    options = {"prepared_dir": tmp_path / "prepared", "skip_damaged": True}

    def lose(path):
        path.unlink()
        path.symlink_to("nowhere")

    write_images(tmp_path / "faces", 20)
    _mug(tmp_path / "MUG")
    write_scans(tmp_path / "BU")
    for name in ("faces/005.png", "MUG/b/happiness/take000/img_0002.png", "BU/F0012_HA01WH_F3D.ply"):
        lose(tmp_path / name)
    images = load_images("folder", tmp_path / "faces", size=8, **options)
    clips = load_videos("folders", tmp_path / "MUG", size=8, frames=4, **options)
    scans = load_bu3dfe(tmp_path / "BU", landmarks=(0, 1, 2), **options)
    assert [list(each.skipped) for each in (images, clips, scans)] == [
        ["005.png"],
        ["b/happiness/take000"],
        ["F0012/HA/F0012_HA01WH_F3D"],
    ]
    assert all("a link to nowhere" in line for each in (images, clips, scans) for line in each.skipped.values())
    with pytest.raises(InputError, match=r"005\.png: .* a link to nowhere"):
        load_images("folder", tmp_path / "faces", size=8, prepared_dir=tmp_path / "prepared")


@pytest.mark.parametrize("kind", ["faces", "scans", "takes", "files", "folder", "multi_pie", "ck_plus", "ffhq"])
def test_people_whose_folders_are_links_that_lead_nowhere_do_not_vanish(tmp_path, kind):
    """As where a disk or a part of a repository of data is not there."""
    home = tmp_path / "data" / "cohn-kanade-images"
    write_images(home, 1, "S005/001/S005_001_{:08d}.png")
    (home / "gone").symlink_to("/mnt/disk/gone")
    load = {
        "faces": load_coma,
        "scans": load_bu3dfe,
        "takes": partial(load_videos, "folders", size=8, frames=4),
        "files": partial(load_videos, "files", size=8, frames=4),
    }.get(kind) or partial(load_images, kind, size=8)
    with pytest.raises(
        InputError, match=r"gone: expected a folder of the set, found a link to /mnt/disk/gone: No such"
    ):
        load(folder=home, prepared_dir=tmp_path / "prepared")


def test_folders_that_are_links_that_lead_nowhere_are_skipped(tmp_path):
    options = {"prepared_dir": tmp_path / "prepared", "skip_damaged": True}
    _mug(tmp_path / "MUG")
    write_images(tmp_path / "faces", 20)
    write_scans(tmp_path / "BU")
    for subject in "ab":
        _write_sequence(tmp_path / "COMA" / subject / "smile")
    for name in ("MUG/a/happiness/take001", "faces/more", "BU/F0099", "COMA/a/frown"):
        (tmp_path / name).symlink_to("nowhere")
    clips = load_videos("folders", tmp_path / "MUG", size=8, frames=4, **options)
    images = load_images("folder", tmp_path / "faces", size=8, **options)
    scans = load_bu3dfe(tmp_path / "BU", landmarks=(0, 1, 2), **options)
    faces = load_coma(tmp_path / "COMA", split="subject", **options)
    assert [list(each.skipped) for each in (clips, images, scans, faces)] == [
        ["a/happiness/take001"],
        ["more"],
        ["F0099"],
        ["a/frown"],
    ]
    assert len(clips.train.names) + len(clips.test.names) == 4


def test_frames_of_coma_are_read_in_every_format_and_once(tmp_path):
    for subject in "ab":
        _write_sequence(tmp_path / "COMA" / subject / "smile")
    sequence = tmp_path / "COMA/a/smile"
    write_mesh(sequence / "smile.000000.obj", mesh(9))  # beside the PLY file, which is read
    write_mesh(sequence / "template.obj", mesh(9))
    write_mesh(sequence / "smile.000001.obj", mesh(1))
    (sequence / "smile.000001.ply").unlink()
    packed = gzip.compress((sequence / "smile.000002.ply").read_bytes())
    (sequence / "smile.000002.ply").unlink()
    (sequence / "smile.000002.PLY.gz").write_bytes(packed)
    options = {"split": "subject", "prepared_dir": tmp_path / "prepared"}
    faces = load_coma(tmp_path / "COMA", **options)
    assert list(faces.names) == [f"{subject}/smile/smile.{frame:06d}" for subject in "ab" for frame in range(3)]
    for face in read_all(faces.train) + read_all(faces.test):
        np.testing.assert_allclose(face["vertices"], 1000 * mesh(int(face["index"]) % 3).vertices, rtol=1e-5, atol=1e-3)
    shutil.copy(tmp_path / "COMA/b/smile/smile.000001.ply", tmp_path / "COMA/b/smile/SMILE.000001.PLY")
    with pytest.raises(InputError, match=r"smile\.000001\.ply: expected each frame once, found SMILE\.000001\.PLY too"):
        load_coma(tmp_path / "COMA", **options)


def _write_sequence(folder):
    folder.mkdir(parents=True)
    for frame in range(3):
        write_mesh(folder / f"{folder.name}.{frame:06d}.ply", mesh(frame))


def test_stray_frames_are_skipped(tmp_path):
    _mug(tmp_path / "MUG")
    write_images(tmp_path / "MUG" / "a", 1, "cover.png")
    options = {"size": 8, "frames": 4, "prepared_dir": tmp_path / "prepared"}
    with pytest.raises(InputError, match=r"a path as <subject>/<expression>/<take>/img_0000.jpg, found a/cover.png"):
        load_videos("folders", tmp_path / "MUG", **options)
    clips = load_videos("folders", tmp_path / "MUG", **options, skip_damaged=True)
    assert list(clips.skipped) == ["a/cover.png"]
    assert len(clips.train.names) + len(clips.test.names) == 4


@pytest.mark.parametrize("tested", [(), ("b",)])
def test_a_set_of_which_too_little_is_left_names_what_was_skipped(tmp_path, tested):
    _mug(tmp_path / "MUG")
    for subject in "bcd":
        _short(tmp_path / "MUG" / subject / "happiness" / "take000")
    options = {"size": 8, "frames": 4, "prepared_dir": tmp_path / "prepared", "test_subjects": tested}
    with pytest.raises(InputError, match=r"\(skipped: 3, such as .*MUG/b/happiness/take000: expected at least 4"):
        load_videos("folders", tmp_path / "MUG", **options, skip_damaged=True)
    _short(tmp_path / "MUG" / "a" / "happiness" / "take000")
    with pytest.raises(InputError, match=r"takes that can be used, found none \(skipped: 4, such as"):
        load_videos("folders", tmp_path / "MUG", **options, skip_damaged=True)


def test_a_set_of_damaged_examples_alone_is_refused(tmp_path):
    def read(index):
        raise InputError(f"{index}.ply", "a mesh", "noise")

    with pytest.raises(InputError, match=r"2 damaged ones, such as 0\.ply"):
        find_damaged("toys", ["0", "1"], read, tmp_path, [], tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_without_a_home_the_cache_is_asked_for(monkeypatch):
    def unknown(*_):
        raise KeyError("getpwuid(): uid not found: 54321")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(InputError, match="prepared: expected a folder for prepared data, or"):
        cache_dir()
    with pytest.raises(InputError, match="face model"):
        load_face_model("~/model.npz")
