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
from facedis_jax.data.images.folders import FolderSettings, ImageFolder
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.data.prepared_pixels import PixelConfig
from facedis_jax.errors import InputError
from facedis_jax.formats.images import ImageFiles

_COUNT = 23


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits")
    rng = np.random.default_rng(0)
    for number in range(_COUNT):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "portraits")


def _load(folder, cache, **options):
    return load_images("folder", folder, **{"size": 16, "prepared_dir": cache, **options})


def _leftovers(cache):
    return [*cache.glob("**/*.array_record*"), *cache.glob("**/dataset_info.json")]


@pytest.mark.parametrize("shard_bytes", [2**26, 4 * 16 * 16 * 3])
def test_every_image_is_there_once_under_its_name(original, tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(prepared_pixels, "_SHARD_BYTES", shard_bytes)
    images = _load(original, tmp_path)
    assert (len(images.train.source), len(images.test.source)) == (20, 3)
    assert list(images.test.names) == ["00.png", "10.png", "20.png"]
    for split in (images.train, images.test):
        for i, name in enumerate(split.names):
            example = split.source[i]
            np.testing.assert_array_equal(example["image"], np.asarray(Image.open(original / name)))
            assert (example["index"], example["index"].dtype, example["image"].dtype) == (i, np.int32, np.uint8)
    assert len(list(tmp_path.glob("**/*train.array_record*"))) == (1 if shard_bytes == 2**26 else 5)
    assert images.content_hash == _load(original, tmp_path / "elsewhere").content_hash


def test_the_content_hash_follows_content_names_order_and_framing(folder, tmp_path):
    def content():
        return _load(folder, tmp_path / "cache").content_hash

    hashes = [content(), _load(folder, tmp_path / "cache", size=8).content_hash]
    (folder / "05.png").rename(folder / "05b.png")
    hashes.append(content())
    one, other = (folder / "06.png").read_bytes(), (folder / "07.png").read_bytes()
    (folder / "06.png").write_bytes(other)
    (folder / "07.png").write_bytes(one)
    hashes.append(content())
    hashes.append(_load(folder, tmp_path / "cache", max_test=2).content_hash)
    assert len(set(hashes)) == len(hashes)


def test_the_content_hash_does_not_follow_the_place(original, folder, tmp_path):
    assert _load(original, tmp_path / "a").content_hash == _load(folder, tmp_path / "b").content_hash


def test_settings_have_prepared_copies_of_their_own(original, tmp_path):
    sizes = [8, 16, 8]
    assert [stack_images(_load(original, tmp_path, size=size).test.source).shape[1] for size in sizes] == sizes
    assert stack_images(_load(original, tmp_path, channels=1).test.source).shape == (3, 16, 16, 1)


def test_at_most_so_many_images_are_kept(original, tmp_path):
    assert len(_load(original, tmp_path, max_train=1000).train.source) == 20
    few, more = (_load(original, tmp_path, max_train=count).train.names for count in (4, 9))
    assert (len(few), len(more)) == (4, 9)
    assert set(few) < set(more)
    assert list(more) == sorted(more) != [f"{number:02d}.png" for number in range(1, 10)]
    with pytest.raises(InputError, match="max_test: expected at least 1, found 0"):
        _load(original, tmp_path, max_test=0)


def test_images_that_are_not_chosen_are_not_read(folder, tmp_path):
    chosen = _load(folder, tmp_path, max_train=3).train.names
    spoilt = next(name for name in ("01.png", "02.png", "03.png", "04.png") if name not in chosen)
    (folder / spoilt).write_bytes(b"spoilt")
    assert _load(folder, tmp_path / "anew", max_train=3).train.names == chosen
    with pytest.raises(InputError, match=spoilt):
        _load(folder, tmp_path / "anew")


@pytest.mark.parametrize("which", ["00.png", "13.png", "22.png"])
def test_a_bad_image_is_named_and_nothing_is_left_behind(folder, tmp_path, which):
    (folder / which).write_bytes((folder / which).read_bytes()[:200])
    with pytest.raises(InputError, match="truncated") as caught:
        _load(folder, tmp_path / "cache")
    assert str(caught.value).startswith(str(folder / which))
    assert not _leftovers(tmp_path / "cache")


def test_another_size_kind_of_pixels_or_a_missing_file_is_named(folder, tmp_path):
    whole = (folder / "08.png").read_bytes()
    Image.new("RGB", (16, 18)).save(folder / "08.png")
    with pytest.raises(InputError, match=r"08\.png: expected 16 x 16 pixels, .* found 16 x 18"):
        _load(folder, tmp_path / "cache")
    Image.new("F", (16, 16)).save(folder / "08.png", "TIFF")
    with pytest.raises(InputError, match=r"08\.png: expected an RGB .* found floating-point pixels"):
        _load(folder, tmp_path / "cache")
    (folder / "08.png").unlink()
    (folder / "08.png").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"08\.png: expected a file that can be read"):
        _load(folder, tmp_path / "cache")
    (folder / "08.png").unlink()
    (folder / "08.png").write_bytes(whole)
    assert len(_load(folder, tmp_path / "cache").train.source) == 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_preparation_is_not_taken_for_whole(original, tmp_path, monkeypatch, error):
    read = ImageFiles.read

    def interrupted(self, index):
        if index == 17:
            raise error
        return read(self, index)

    monkeypatch.setattr(ImageFiles, "read", interrupted)
    with pytest.raises(error):
        _load(original, tmp_path)
    assert not _leftovers(tmp_path)
    monkeypatch.undo()
    assert len(_load(original, tmp_path).train.source) == 20


def test_preparing_prints_nothing(original, tmp_path, capfd):
    _load(original, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_sources_are_shared_between_threads_and_processes(original, tmp_path):
    source = _load(original, tmp_path).train.source
    expected = stack_images(source)
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda i: source[i]["image"], list(range(20)) * 3))
    np.testing.assert_array_equal(read, np.concatenate([expected] * 3))
    np.testing.assert_array_equal(stack_images(pickle.loads(pickle.dumps(source))), expected)


def test_the_builder_serves_tfds_on_its_own(original, tmp_path):
    settings = FolderSettings(size=8)
    builder = ImageFolder(config=PixelConfig.of(settings), data_dir=tmp_path, file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=original)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 20, "test": 3}
    record = builder.as_data_source(split="test")[1]
    assert (record["image"].shape, record["index"]) == ((8, 8, 3), 10)


def test_no_tensorflow_is_imported(original, tmp_path):
    code = (
        "import sys; from facedis_jax.data.images.load import load_images; "
        f"images = load_images('folder', {str(original)!r}, size=16, prepared_dir={str(tmp_path)!r}); "
        "print(images.train.source[0]['image'].shape, 'tensorflow' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "(16, 16, 3) False", ran.stderr
