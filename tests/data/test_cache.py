"""Prepared copies belong to content: what is found again, what is prepared anew, and what is removed."""

import errno
import gc
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.utils.file_utils import _get_incomplete_dir

from facedis_jax.cli.cache import CacheOptions, cache
from facedis_jax.data import ahead, prepared
from facedis_jax.data.cache import copies, remove_unfinished, superseded, unfinished
from facedis_jax.data.faces.coma import load_coma
from facedis_jax.data.images.load import load_images
from facedis_jax.data.videos.load import load_videos
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, write_mesh


def _write_images(folder: Path, names=tuple(f"{i:02d}.png" for i in range(10))) -> None:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / name, compress_level=0)


def _write_faces(folder: Path) -> None:
    for subject in "ab":
        for frame in range(3):
            path = folder / subject / "smile" / f"smile.{frame:06d}.ply"
            path.parent.mkdir(parents=True, exist_ok=True)
            vertices = np.random.default_rng(frame).uniform(-0.1, 0.1, (5, 3)).astype(np.float32)
            write_mesh(path, Mesh(vertices, np.array([[0, 1, 2], [2, 3, 4]], np.int32)))


def _write_takes(folder: Path) -> None:
    for subject in "abc":
        _write_images(folder / subject / "joy" / "take", tuple(f"img_{i:04d}.png" for i in range(3)))


SETS = {
    "images": (_write_images, lambda folder, **how: load_images("folder", folder, size=8, **how)),
    "faces": (_write_faces, lambda folder, **how: load_coma(folder, split="subject", **how)),
    "takes": (_write_takes, lambda folder, **how: load_videos("folders", folder, size=8, frames=2, **how)),
}


@pytest.fixture(params=SETS)
def data(request, tmp_path):
    """A folder of each kind, its loader with a cache of its own, and the place of that."""
    write, load = SETS[request.param]
    write(tmp_path / "data")
    base = tmp_path / "cache"
    return tmp_path / "data", lambda folder, **how: load(folder, prepared_dir=base, **how), base


def _some_file(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def _edit(path: Path) -> None:
    """Changes a value in a file, whose size and times stay."""
    before, data = path.stat(), bytearray(path.read_bytes())
    if path.suffix == ".png":
        shape = np.asarray(Image.open(path)).shape
        Image.fromarray(np.full(shape, 99, np.uint8)).save(path, compress_level=0)
    else:
        data[-30] ^= 1  # a bit of a coordinate
        path.write_bytes(data)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_moved_copied_and_touched_files_are_the_same_data(data, tmp_path, monkeypatch):
    folder, load, base = data
    first = load(folder)
    (made,) = copies(base)
    shutil.copytree(folder, tmp_path / "copied")  # with its times
    folder.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "moved").rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    for again in (Path("copied"), tmp_path / "copied", Path("moved"), tmp_path / "moved"):
        assert load(again).content_hash == first.content_hash
        assert [copy.folder for copy in copies(base)] == [made.folder]
    assert load(Path("moved")).older_copies == {}


def test_users_without_a_home_need_none_for_a_cache_of_their_own(data, monkeypatch):
    folder, load, base = data
    load(folder)
    for path in folder.rglob("*.*"):
        os.utime(path, (1e9, 1e9))

    def unknown(*_):
        raise KeyError("getpwuid(): uid not found: 54321")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    load(folder)
    assert len(copies(base)) == 1


def test_copies_are_the_same_whoever_reads_the_files(data, tmp_path, monkeypatch):
    folder, load, base = data
    damaged = sorted(path for path in folder.rglob("*") if path.is_file())[4]
    damaged.write_bytes(damaged.read_bytes()[:60])
    here = load(folder, skip_damaged=True)
    base.rename(tmp_path / "here")
    monkeypatch.setattr(ahead, "_WORTH_STARTING_S", -1.0)
    monkeypatch.setattr(ahead, "num_cores", lambda: 2)
    monkeypatch.setattr(ahead._Process, "is_ready", property(lambda process: process._beginning.join() or True))
    there = load(folder, skip_damaged=True)
    assert len(there.skipped) == 1
    assert there.skipped == here.skipped
    for path in base.rglob("*array_record*"):
        assert path.read_bytes() == (tmp_path / "here" / path.relative_to(base)).read_bytes()
    (old,), (new,) = copies(tmp_path / "here"), copies(base)
    assert new.card.records == old.card.records > 0
    assert there.content_hash == here.content_hash


def test_files_with_known_times_are_not_read(data, monkeypatch):
    folder, load, _ = data
    load(folder)

    def refuse(*_):
        raise AssertionError("a file was read")

    for name in ("facedis_jax.data.faces.prepared.read_mesh_bytes", "facedis_jax.data.images.prepared.read_bytes"):
        monkeypatch.setattr(name, refuse)
    load(folder)


def test_changed_files_are_another_set_and_the_copy_before_is_old(data):
    folder, load, base = data
    first = load(folder)
    _edit(_some_file(folder))
    os.utime(_some_file(folder), (1e9, 1e9))
    second = load(folder)
    assert second.content_hash != first.content_hash
    assert len(copies(base)) == 2
    (old,) = superseded(copies(base))
    assert second.older_copies == {str(old.folder): old.size}
    assert old.size > 0


def test_an_edit_that_keeps_size_and_times_is_seen_where_files_are_to_be_verified(data):
    folder, load, base = data
    first = load(folder)
    _edit(_some_file(folder))
    assert load(folder).content_hash == first.content_hash
    second = load(folder, verify=True)
    assert second.content_hash != first.content_hash
    # From then on it is known without being asked for.
    assert load(folder).content_hash == second.content_hash
    assert load(folder, verify=True).content_hash == second.content_hash
    assert len(copies(base)) == 2


def test_what_killed_preparations_leave_is_removed_once_nobody_writes_it(data, tmp_path):
    folder, load, base = data
    load(folder)
    (copy,) = copies(base)
    # As TFDS names them, in the installed version.
    left = Path(_get_incomplete_dir(base / "0123456789abcdef" / "folder_images" / "8x8x3_0" / "1.0.0"))
    shutil.copytree(copy.folder, left)  # killed just before the folder gets its name
    assert [each.folder for each in copies(base)] == [copy.folder]
    lock = base / "0123456789abcdef" / "lock"
    program = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"held\n"
        assert remove_unfinished(base) == []
        assert unfinished(base) == [left]
        writer.communicate(b"\n")
    _edit(_some_file(folder))
    os.utime(_some_file(folder), (1e9, 1e9))
    load(folder)
    assert not left.exists()
    assert not lock.parent.exists()
    assert copy.folder.is_dir()


@pytest.fixture
def _only_new_objects_are_looked_through():
    """Of the millions that a worker has gathered, each look would take seconds."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_only_new_objects_are_looked_through")
def test_the_command_lists_and_removes(data, capsys):
    folder, load, base = data

    def listed(**options):
        gc.collect()  # What was loaded and is no more wanted holds its copy until then.
        assert cache(CacheOptions(base, **options)) == 0
        return capsys.readouterr().out.splitlines()

    load(folder)
    (copy,) = copies(base)
    _edit(_some_file(folder))
    os.utime(_some_file(folder), (1e9, 1e9))
    kept = load(folder)
    lines = listed()
    assert len(lines) == 3
    assert f"{copy.what}  from {folder}" in lines[0]
    assert lines[1].endswith("(old)")
    assert lines[2] == "1 of 2 copies are old: --prune removes them"
    assert [line[:7] for line in listed(prune=True)] == ["      0", "removed"]
    assert not copy.folder.exists()
    # What a process reads stays, and can still be read.
    assert [line[:6] for line in listed(all=True)] == ["in use"]
    assert kept.train[0] if hasattr(kept.train, "__getitem__") else kept.train.source[0]
    del kept
    assert [line[:7] for line in listed(all=True)] == ["removed"]
    assert listed() == [f"no prepared copies in {base}"]
    assert list(base.iterdir()) == []


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        cache(CacheOptions(tmp_path / "nowhere"))


def test_a_preparation_for_which_there_is_no_room_says_so_before_it_begins(data, monkeypatch):
    folder, load, base = data
    usage = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"no room for prepared data: about \d\.\d kB needed, 0\.1 kB free") as caught:
        load(folder)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(base)
    assert list(base.iterdir()) == []


def test_a_disk_that_is_full_before_a_preparation_ends_is_one_line(data, monkeypatch):
    folder, load, base = data

    def fail(*_, **__):
        raise RuntimeError("write() failed: No space left on device; writing x.array_record; at byte 1048576")

    monkeypatch.setattr("array_record.python.array_record_module.ArrayRecordWriter.write", fail)
    with pytest.raises(OSError, match="no room for prepared data") as caught:
        load(folder)
    assert caught.value.errno == errno.ENOSPC
    assert list(base.iterdir()) == []


def _first_records(copy: Path) -> Path:
    return min(copy.glob("*train*array_record*"))


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda copy: (copy / "dataset_info.json").write_text(""), "a damaged one"),
        (lambda copy: (copy / "dataset_info.json").write_text("{{"), "a damaged one"),
        (lambda copy: os.truncate(_first_records(copy), 100), "bytes of records instead of"),
        (lambda copy: os.truncate(_first_records(copy), 0), "bytes of records instead of"),
    ],
)
def test_a_damaged_copy_is_named(data, harm, found):
    """As power that fails, or a cache that was copied in part, leaves it."""
    folder, load, base = data
    load(folder)
    (copy,) = copies(base)
    harm(copy.folder)
    with pytest.raises(
        InputError, match=rf"expected a whole prepared copy \(delete it to prepare anew\), found .*{found}"
    ):
        load(folder)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"00.png": 3}', '{"source": 1, "stamps": [3]}'])
def test_notes_in_the_cache_that_are_damaged_are_made_again(data, content):
    folder, load, base = data
    first = load(folder, skip_damaged=True)
    for path in [*base.glob("damaged-*.json"), *base.rglob("copy.json")]:
        path.write_text(content)
    assert load(folder, skip_damaged=True).content_hash == first.content_hash
    assert len(superseded(copies(base))) == 1


def test_a_copy_that_is_there_is_opened_whatever_the_disk_has_room_for(data, monkeypatch):
    folder, load, base = data
    first = load(folder, skip_damaged=True)
    for path in folder.rglob("*.*"):
        os.utime(path, (1e9, 1e9))

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("facedis_jax.data.cache.write_text", full)
    monkeypatch.setattr("facedis_jax.data.prepared.write_text", full)
    assert load(folder, skip_damaged=True).content_hash == first.content_hash
    assert len(copies(base)) == 1
