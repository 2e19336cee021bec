"""Files that were made to do harm: every reader reads them or refuses them in one line, and follows them nowhere."""

import os
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facedis_jax.data.faces.bu3dfe import load_bu3dfe, read_landmarks
from facedis_jax.data.faces.coma import load_coma
from facedis_jax.data.images.celeba import Celeba, CelebaSettings
from facedis_jax.data.images.cifar10 import read_cifar_batch
from facedis_jax.data.images.folders import FolderSettings, ImageFolder
from facedis_jax.data.images.lists import read_lines
from facedis_jax.data.images.load import load_images
from facedis_jax.data.images.mnist import read_idx
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.videos.load import load_videos
from facedis_jax.errors import InputError
from facedis_jax.formats.files import read_bytes
from facedis_jax.formats.images import Framing
from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.meshes import read_mesh
from facedis_jax.formats.videos import read_video
from facedis_jax.training.arrays import load_arrays
from tests.fuzz.mutations import mutate
from tests.fuzz.readers import READERS
from tests.fuzz.worker import Feeder

# A checkpoint is restored in some thirty milliseconds; tests of its damage stand beside it.
_QUICK = [name for name in READERS if name != "checkpoint"]


@pytest.fixture(scope="module")
def feeders(tmp_path_factory):
    return {name: Feeder(READERS[name], tmp_path_factory.mktemp(name)) for name in _QUICK}


def _is_well_taken(record):
    # Of time, a machine that is busy with other tests says nothing.
    return record["outcome"] in ("read", "refused", "failed: too slow")


@pytest.mark.parametrize("name", _QUICK)
def test_valid_files_are_read(feeders, name):
    for seed in feeders[name].seeds:
        assert feeders[name].feed(seed)["outcome"] == "read"


@pytest.mark.parametrize("name", _QUICK)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 2**32 - 1), inside=st.booleans())
def test_changed_files_are_read_or_refused(feeders, name, number, inside):
    feeder, random = feeders[name], Random(number)
    seed = random.choice(feeder.seeds)
    change = feeder.reader.mutate if inside else mutate
    record = feeder.feed(seed[:1] + change(random, seed[1:]))
    assert _is_well_taken(record), record


@pytest.mark.parametrize("name", _QUICK)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(which=st.integers(0, 99), part=st.floats(0, 1), noise=st.binary(max_size=100))
def test_truncated_files_and_noise_are_read_or_refused(feeders, name, which, part, noise):
    feeder = feeders[name]
    seed = feeder.seeds[which % len(feeder.seeds)]
    for content in (seed[1 : 1 + int(part * len(seed))], noise, seed[1:] + noise):
        record = feeder.feed(seed[:1] + content)
        assert _is_well_taken(record), record


_LINKS = {
    "coma": ("a/b/b.000001.ply", load_coma),
    "coma, a folder": ("a", load_coma),
    "bu3dfe": ("F0001_NE00WH_F3D.ply", load_bu3dfe),
    "celeba": ("img_align_celeba/2.jpg", partial(load_images, "celeba")),
    "celeba, a list": ("list_eval_partition.txt", partial(load_images, "celeba")),
    "cifar": ("data_batch_1.bin", partial(load_images, "cifar10")),
    "images": ("deep/3.png", partial(load_images, "folder")),
    "images, a folder": ("deep", partial(load_images, "folder")),
    "videos": ("s/e/take.mp4", partial(load_videos, "files")),
}


@pytest.mark.parametrize("name", _LINKS)
def test_links_out_of_the_folder_are_followed_unless_they_are_to_be_refused(tmp_path, name):
    folder, outside = tmp_path / "data", tmp_path / "outside"
    place, load = _LINKS[name]
    (folder / place).parent.mkdir(parents=True)
    (outside / "b").mkdir(parents=True)
    (outside / "b/b.000001.ply").write_bytes(b"damaged")
    (outside / "b/1.png").write_bytes(b"damaged")
    (folder / place).symlink_to(outside if Path(place).suffix == "" else outside / "b/b.000001.ply")
    with pytest.raises(InputError) as caught:
        load(folder, prepared_dir=tmp_path / "cache")
    assert "a link out of it" not in str(caught.value)
    with pytest.raises(InputError, match="a link out of it to") as caught:
        load(folder, prepared_dir=tmp_path / "cache", links_out=False)
    assert str(folder / place) in str(caught.value)


def test_links_within_a_folder_and_to_it_are_followed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "1.png")
    (folder / "2.png").symlink_to("1.png")
    (tmp_path / "link").symlink_to("data")
    assert ImageFolder.survey(tmp_path / "link", FolderSettings()).names == ["1.png", "2.png"]


@pytest.mark.parametrize("named", ["../secret.jpg", "/etc/passwd", "..\\secret.jpg", "img_align_celeba/1.jpg"])
def test_lists_name_no_files_elsewhere(tmp_path, named):
    (tmp_path / "img_align_celeba").mkdir()
    for number in (1, 2):
        Image.new("RGB", (178, 218)).save(tmp_path / f"img_align_celeba/{number}.jpg")
    Image.new("RGB", (178, 218)).save(tmp_path / "secret.jpg")
    (tmp_path / "list_eval_partition.txt").write_text(f"1.jpg 0\n{named} 2\n")
    with pytest.raises(InputError, match="line 2: expected the name of an image that is there"):
        Celeba.survey(tmp_path, CelebaSettings())


def test_a_mesh_reads_nothing_that_it_names(tmp_path, monkeypatch):
    (tmp_path / "a.mtl").write_text("newmtl skin\nmap_Kd /etc/passwd")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\ncall /etc/passwd\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    opened = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or path.open("rb").read())
    assert len(read_mesh(tmp_path / "a.obj").triangles) == 1
    assert opened == ["a.obj"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on POSIX alone")
@pytest.mark.parametrize(
    ("name", "read"),
    [
        *(("a.ply", read_mesh), ("a", read_bytes), ("a", read_idx), ("a", read_cifar_batch), ("a", read_landmarks)),
        *(
            ("a.npz", load_face_model),
            ("evaluation.npz", lambda path: load_arrays(path, "codes")),
            ("config.json", read_json),
        ),
        *(("a", lambda path: next(read_lines(path))), ("a.mp4", lambda path: read_video(path, Framing(8)))),
    ],
)
def test_pipes_are_not_waited_for(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"no regular file|nothing there"):
        read(tmp_path / name)


class _Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("load", [lambda path: load_arrays(path, "codes"), load_face_model])
def test_pickles_do_not_run(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    trap = np.array([_Trap()], dtype=object)
    np.savez(tmp_path / "a.npz", neutral=trap)
    np.save(tmp_path / "b.npz.npy", trap, allow_pickle=True)
    for name in ("a.npz", "b.npz.npy"):
        with pytest.raises(InputError):
            load(tmp_path / name)
    assert not (tmp_path / "sprung").exists()
