"""Damaged examples are skipped where that is asked for, counted and named; else they are errors."""

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.faces.bu3dfe import load_bu3dfe
from facedis_jax.data.faces.coma import load_coma
from facedis_jax.data.images.load import load_images
from facedis_jax.data.prepared import find_damaged
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


def test_a_set_of_damaged_examples_alone_is_refused(tmp_path):
    def read(index):
        raise InputError(f"{index}.ply", "a mesh", "noise")

    with pytest.raises(InputError, match=r"2 damaged ones, such as 0\.ply"):
        find_damaged("toys", ["0", "1"], read, tmp_path, [], tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()
