import os

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.errors import InputError


def _fill(folder, names, side):
    rng = np.random.default_rng(side)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def load(tmp_path):
    return lambda kind, folder, **options: load_images(
        kind, folder, **{"size": 16, "prepared_dir": tmp_path / "prepared", **options}
    )


def test_ffhq_is_split_by_number(load, tmp_path):
    numbers = (0, 1, 59999, 60000, 69999)
    folder = _fill(tmp_path / "ffhq", [f"images256x256/{n // 1000:02d}000/{n:05d}.png" for n in numbers], 16)
    faces = load("ffhq", folder)
    assert faces.name == "ffhq"
    assert list(faces.train.names) == ["00000.png", "00001.png", "59999.png"]
    assert list(faces.test.names) == ["60000.png", "69999.png"]
    assert faces.data_files == {"images": "5 in images256x256", "split": "by number"}


def test_a_part_of_ffhq_or_a_flat_folder_has_every_tenth_tested(load, tmp_path):
    faces = load("ffhq", _fill(tmp_path / "ffhq", [f"{n:05d}.png" for n in range(12)], 16))
    assert list(faces.test.names) == ["00000.png", "00010.png"]
    assert faces.data_files["split"].endswith(
        "(a person may be in both halves), since none has the number of an image to test"
    )


def test_ffhqs_folders_may_lie_in_another(load, tmp_path):
    folder = _fill(tmp_path / "data", [f"ffhq/Images256x256/00000/{n:05d}.PNG" for n in range(12)], 16)
    assert load("ffhq", folder).data_files["images"] == "12 in ffhq/Images256x256"


def test_the_smallest_folder_with_enough_pixels_is_read(load, tmp_path):
    folder = tmp_path / "ffhq"
    for name, side in (("thumbnails128x128", 128), ("images256x256", 256)):
        _fill(folder / name, ["00000/00000.png", "00000/00001.png"], side)
    read = {size: stack_images(load("ffhq", folder, size=size).train.source)[0] for size in (128, 256)}
    for name, size in (("thumbnails128x128", 128), ("images256x256", 256)):
        np.testing.assert_array_equal(read[size], np.asarray(Image.open(folder / name / "00000/00001.png")))
    with pytest.raises(InputError, match="at least 512 x 512 pixels"):
        load("ffhq", folder, size=512)


def test_files_that_are_not_of_ffhq_are_named(load, tmp_path):
    folder = _fill(tmp_path / "ffhq", ["00000.png", "00001.png", "cat.png"], 16)
    with pytest.raises(InputError, match=r"cat\.png: expected a name as in FFHQ's"):
        load("ffhq", folder)
    (folder / "cat.png").unlink()
    _fill(folder, ["again/00001.png"], 16)
    with pytest.raises(InputError, match=r"each image once, found 00001\.png in several folders"):
        load("ffhq", folder)


def test_any_folder_is_read_with_its_folders_in_the_order_of_the_names(load, tmp_path):
    names = ["a/2.png", "a/10.png", "b.JPG", "a.png", "z/y/x.webp", "0.tif"]
    folder = _fill(tmp_path / "mine", names, 16)
    for name in ("._a.png", ".thumbnails/a.png", "read me.txt", "film.gif"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    images = load("folder", folder)
    assert images.name == "folder/mine"
    assert [*images.test.names, *images.train.names] == sorted(names)
    assert images.train.labels == {}


def test_a_set_tells_which_rules_its_images_were_read_by(load, tmp_path):
    folder = _fill(tmp_path / "mine", [f"{i:02d}.png" for i in range(12)], 16)
    Image.new("RGBA", (16, 16)).save(folder / "03.png")
    Image.new("L", (16, 16)).save(folder / "04.png")
    Image.new("L", (16, 16)).save(folder / "05.png")
    # From the files, and from the prepared copy.
    for _ in range(2):
        assert load("folder", folder).data_files["by rule"] == (
            "2 grey among colour ones, given three equal channels, 1 with transparency, shown over white"
        )


@pytest.mark.parametrize(("count", "found"), [(None, "no such folder"), (0, "no image"), (1, "0 and 1 of 1")])
def test_too_few_images_are_named(load, tmp_path, count, found):
    folder = tmp_path / "mine"
    if count is not None:
        folder.mkdir()
        _fill(folder, [f"{i}.png" for i in range(count)], 16)
    with pytest.raises(InputError, match=found):
        load("folder", folder)


def test_real_portraits(real_data, load):
    portraits = load("folder", real_data("portraits256"), size=64, max_train=20, max_test=10)
    images = stack_images(portraits.train.source).astype(float)
    assert images.shape == (20, 64, 64, 3)
    assert np.abs(np.diff(images, axis=2)).mean() < images.std() / 3


def test_names_that_are_not_utf8_are_read(load, tmp_path):
    names = [os.fsdecode(b"na\xefve/%d\xff.png" % number) for number in range(12)]
    images = load("folder", _fill(tmp_path / os.fsdecode(b"\xfeimages"), names, 16))
    assert sorted([*images.train.names, *images.test.names]) == sorted(names)
    assert len(stack_images(images.train.source)) == 10


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_of_several_sizes_are_read_by_a_crop_that_is_named(load, tmp_path, mode):
    folder = tmp_path / "own"
    folder.mkdir()
    suffix = "pgm" if mode == "L" else "png"
    for number, (width, height) in enumerate([(16, 16), (40, 24), (24, 40), (64, 48)] * 3):
        pixels = np.zeros((height, width), np.uint8)
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        pixels[top : top + side, left : left + side] = 10 * number + 5
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:02d}.{suffix}")
    with pytest.raises(InputError, match="pixels, as its neighbours"):
        load("folder", folder)
    images = load("folder", folder, crop="center_square")
    shown = np.concatenate([stack_images(half.source) for half in (images.train, images.test)])
    values = sorted(int(image.mean()) for image in shown)
    assert values == [10 * number + 5 for number in range(12)]
    assert shown.shape[-1] == (1 if mode == "L" else 3)
    with pytest.raises(InputError, match="a square image"):
        load("folder", folder, crop="none")


def test_landmarks_are_those_of_images_of_one_size(load, tmp_path):
    folder = _fill(tmp_path / "own", [f"{n}.png" for n in range(3)], 16)
    _fill(folder, ["3.png"], 20)
    columns = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    lines = ["file," + ",".join(f"{c}_{axis}" for c in columns for axis in "xy")]
    lines += [f"{n}.png," + ",".join(["3"] * 10) for n in range(4)]
    (folder / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="pixels, as its neighbours"):
        load("folder", folder, crop="center_square")
