import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedis_jax.data.images.cifar10 import CATEGORIES, read_cifar_batch
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.errors import InputError


def _records(count, seed):
    """Labels [count] going round the categories, and pixels [count, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    return np.arange(count) % 10, rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def _write(path, labels, pixels):
    """As the authors do: the label, then the planes of red, green and blue."""
    path.write_bytes(
        b"".join(
            bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, pixels, strict=True)
        )
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cifar"
    folder.mkdir()
    for name, count, seed in (("data_batch_1", 30, 1), ("data_batch_3", 20, 3), ("test_batch", 20, 6)):
        _write(folder / f"{name}.bin", *_records(count, seed))
    (folder / "batches.meta.txt").write_text("\n".join(CATEGORIES))
    return folder


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: load_images("cifar10", folder, prepared_dir=tmp_path / "prepared", **options)


def test_all_categories_by_default(load):
    images = load()
    assert (images.name, images.size, images.channels) == ("cifar10", 32, 3)
    assert (len(images.train.source), len(images.test.source)) == (50, 20)
    np.testing.assert_array_equal(images.train.labels["category"], np.arange(50) % 10)
    expected = np.concatenate([_records(30, 1)[1], _records(20, 3)[1]])
    np.testing.assert_array_equal(stack_images(images.train.source), expected)
    assert images.train.names[31] == "data_batch_3/00001"


def test_one_category_by_its_name(load):
    images = load(category="automobile")
    assert images.name == "cifar10/automobile"
    assert set(images.train.labels["category"]) == {images.classes["category"].index("automobile")}
    np.testing.assert_array_equal(stack_images(images.test.source), _records(20, 6)[1][1::10])
    assert (len(images.train.source), len(images.test.source)) == (5, 2)


def test_without_the_test_file_every_tenth_is_tested(folder, load):
    (folder / "test_batch.bin").unlink()
    images = load()
    assert (len(images.train.source), len(images.test.source)) == (45, 5)
    assert not set(images.train.names) & set(images.test.names)
    assert images.data_files == {
        "images": "50 in .",
        "split": "every tenth image is tested, since there is no test_batch.bin",
        "files to train on": "2 of 5",
    }


@pytest.mark.parametrize("rename", [str, str.upper])
def test_the_files_may_lie_in_a_folder_and_in_capitals(folder, load, rename):
    expected = load()
    (folder / "cifar-10-batches-bin").mkdir()
    for path in folder.glob("*.bin"):
        path.rename(folder / "cifar-10-batches-bin" / rename(path.name))
    found = load()
    assert found.train.names == expected.train.names
    assert found.content_hash == expected.content_hash
    assert found.data_files["split"] == f"cifar-10-batches-bin/{rename('test_batch.bin')}"


def test_the_python_version_is_named_and_not_read(folder, load):
    for path in folder.glob("*.bin"):
        path.rename(path.with_suffix(""))
    with pytest.raises(InputError, match=r"the binary version\), found the Python version in \., which is not read"):
        load()


def test_smaller_images_are_made_from_larger_ones(load):
    assert stack_images(load(size=16).test.source).shape == (20, 16, 16, 3)
    with pytest.raises(InputError, match="at least 64 x 64 pixels, found a crop of 32 x 32"):
        load(size=64)


def test_a_category_that_does_not_exist_is_refused(load):
    with pytest.raises(InputError, match=r"category: expected one of airplane, automobile, .* found 'car'"):
        load(category="car")


def test_a_category_without_images_is_named(folder, load):
    for path in folder.glob("*.bin"):
        _write(path, np.zeros(3, int), _records(3, 0)[1])
    with pytest.raises(InputError, match="images of the category ship, found none"):
        load(category="ship")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "a positive multiple of 3073 bytes, found 0"),
        (bytes(3072), "a positive multiple of 3073 bytes, found 3072"),
        (bytes(3073) + b"\n", "found 3074"),
        (bytes(3073) + b"\x0a" + bytes(3072), "labels from 0 to 9, found 10 at image 1"),
    ],
)
def test_a_file_that_is_no_batch_is_named(folder, load, content, found):
    path = folder / "data_batch_3.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=found) as caught:
        load()
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("left", ["nothing", "folder", "test_batch.bin"])
def test_a_folder_without_training_files_says_where_to_get_them(folder, tmp_path, left):
    for path in folder.glob("data_batch*"):
        path.unlink()
    if left == "folder":
        (folder / "test_batch.bin").unlink()
    where = tmp_path / "nowhere" if left == "nothing" else folder
    with pytest.raises(InputError, match=r"data_batch_1\.bin in it \(get it from https://www\.cs\.toronto"):
        load_images("cifar10", where, prepared_dir=tmp_path)


@given(st.binary(max_size=40), st.integers(0, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_records_or_an_input_error(tmp_path, start, records):
    path = tmp_path / "any.bin"
    path.write_bytes(start.ljust(records * 3073, b"\5"))
    try:
        read = read_cifar_batch(path)
    except InputError:
        return
    assert read.tobytes() == path.read_bytes()
    assert (read[:, 0] < 10).all()


def test_real_automobiles(real_data, tmp_path):
    cars = load_images("cifar10", real_data("cifar-10-batches-bin"), category="automobile", prepared_dir=tmp_path)
    assert (len(cars.train.source), len(cars.test.source)) == (2250, 250)
    # An image's neighbouring pixels are alike; those of planes read in another order are not.
    images = np.stack([cars.test.source[i]["image"] for i in range(100)]).astype(float)
    across = np.abs(np.diff(images, axis=2)).mean()
    assert across < 0.5 * np.abs(images - images[:, :, ::-1]).mean()
