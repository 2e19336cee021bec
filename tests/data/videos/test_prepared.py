import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from facedis_jax.data import prepared_pixels
from facedis_jax.data.prepared_pixels import PixelConfig
from facedis_jax.data.videos.clip_set import stack_clips
from facedis_jax.data.videos.folders import FrameFolders
from facedis_jax.data.videos.load import load_videos
from facedis_jax.data.videos.prepared import ClipSettings
from facedis_jax.errors import InputError
from facedis_jax.formats.images import ImageFiles

_TAKES = [f"{subject:02d}/calm/take{take}" for subject in range(6) for take in range(3)]
_FRAMES = 4


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for take in _TAKES:
        (folder / take).mkdir(parents=True)
        for i in range(_FRAMES):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / take / f"img_{i:04d}.png")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "videos")


def _load(folder, cache, **options):
    defaults = {"size": 8, "frames": _FRAMES, "num_test_subjects": 2, "prepared_dir": cache}
    return load_videos("folders", folder, **{**defaults, **options})


@pytest.mark.parametrize(("shard_bytes", "shards"), [(2**26, 1), (5 * _FRAMES * 8 * 8 * 3, 3), (1, 12)])
@pytest.mark.parametrize("frames", [4, 2])
def test_every_clip_is_there_once_under_its_name(original, tmp_path, monkeypatch, shard_bytes, shards, frames):
    monkeypatch.setattr(prepared_pixels, "_SHARD_BYTES", shard_bytes)
    cut = "first" if frames == 4 else "all"
    videos = _load(original, tmp_path, frames=frames, cut=cut)
    assert (len(videos.train.source), len(videos.test.source)) == (12 * 4 // frames, 6 * 4 // frames)
    for half in (videos.train, videos.test):
        assert len(half.names) == len(set(half.names)) == len(half.source)
        for i, name in enumerate(half.names):
            take, _, window = name.partition("#")
            images = [
                np.asarray(Image.open(original / take / f"img_{frames * int(window or 0) + k:04d}.png"))
                for k in range(frames)
            ]
            np.testing.assert_array_equal(half.source[i]["frames"], images)
    if cut == "first":
        assert len(list(tmp_path.glob("**/*train.array_record*"))) == shards
    assert videos.content_hash == _load(original, tmp_path / "elsewhere", frames=frames, cut=cut).content_hash


def test_the_content_hash_follows_content_names_order_and_settings(folder, tmp_path):
    def content(**options):
        return _load(folder, tmp_path / "cache", **options).content_hash

    hashes = [content(), content(channels=1), content(frames=3), content(frames=2, cut="middle"), content(max_train=9)]
    one, other = folder / _TAKES[0] / "img_0001.png", folder / _TAKES[0] / "img_0002.png"
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    hashes.append(content())
    other.write_bytes(before)
    hashes.append(content())
    (folder / _TAKES[0]).rename(folder / f"{_TAKES[0]}b")
    hashes.append(content())
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_does_not_follow_the_place(original, folder, tmp_path):
    assert _load(original, tmp_path / "a").content_hash == _load(folder, tmp_path / "b").content_hash


def test_at_most_so_many_recordings_are_kept(original, tmp_path):
    few, more = (_load(original, tmp_path, max_train=count).train.names for count in (4, 9))
    assert (len(few), len(more)) == (4, 9)
    assert set(few) < set(more)
    assert len(_load(original, tmp_path, max_train=2, frames=2, cut="all").train.names) == 4


def test_a_prepared_copy_is_read_without_the_images(folder, tmp_path, monkeypatch):
    before = stack_clips(_load(folder, tmp_path).train.source)

    def no_reading(self, index):
        raise AssertionError

    monkeypatch.setattr(ImageFiles, "read", no_reading)
    again = _load(folder, tmp_path)
    np.testing.assert_array_equal(stack_clips(again.train.source), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_preparation_is_not_taken_for_whole(original, tmp_path, monkeypatch, error):
    read, reads = ImageFiles.read, []

    def interrupted(self, index):
        reads.append(index)
        if len(reads) == 50:
            raise error
        return read(self, index)

    monkeypatch.setattr(ImageFiles, "read", interrupted)
    with pytest.raises(error):
        _load(original, tmp_path)
    assert not [*tmp_path.glob("**/*.array_record*"), *tmp_path.glob("**/dataset_info.json")]
    monkeypatch.undo()
    assert len(_load(original, tmp_path).train.source) == 12


def test_sources_are_shared_between_threads_and_processes(original, tmp_path):
    source = _load(original, tmp_path).train.source
    expected = stack_clips(source)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: source[i]["frames"], list(range(12)) * 3))
    np.testing.assert_array_equal(read, np.concatenate([expected] * 3))
    np.testing.assert_array_equal(stack_clips(pickle.loads(pickle.dumps(source))), expected)


def test_preparing_prints_nothing(original, tmp_path, capfd):
    _load(original, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_the_builder_serves_tfds_on_its_own(original, tmp_path):
    settings = ClipSettings(size=8, frames=2, cut="all", test_subjects=("01",))
    builder = FrameFolders(config=PixelConfig.of(settings), data_dir=tmp_path, file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=original)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 30, "test": 6}
    record = builder.as_data_source(split="test")[3]
    assert (record["frames"].shape, record["take"], record["window"]) == ((2, 8, 8, 3), 4, 1)


def test_every_setting_names_a_copy_of_its_own():
    changes = {"size": 8, "channels": 1, "crop": "none", "frames": 3, "stride": 2, "cut": "all", "max_test": 1}
    changes |= {"expressions": ("joy",), "test_subjects": ("1",), "num_test_subjects": 1, "max_train": 1}
    changes["without"] = ("1/joy/take000",)
    assert set(changes) == set(ClipSettings.__dataclass_fields__)
    made = [ClipSettings(), *(ClipSettings(**{name: value}) for name, value in changes.items())]
    assert len({PixelConfig.of(settings).name for settings in made}) == len(made)


def test_a_copy_that_cannot_be_written_is_named(original, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="a folder for prepared data that can be written"):
        _load(original, tmp_path / "file")


def test_no_tensorflow_is_imported(original, tmp_path):
    code = (
        "import sys; from facedis_jax.data.videos.load import load_videos; "
        f"videos = load_videos('folders', {str(original)!r}, size=8, frames=4, prepared_dir={str(tmp_path)!r}); "
        "print(videos.train.source[0]['frames'].shape, 'tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "(4, 8, 8, 3) False", ran.stderr
