import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.images.load import load_images
from facedis_jax.data.images.mnist import read_idx
from facedis_jax.errors import InputError


def _idx(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


_DIGITS = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
_LABELS = np.arange(30) % 10
_FILES = {
    "train-images-idx3-ubyte": _idx(_DIGITS[:20]),
    "train-labels-idx1-ubyte": _idx(_LABELS[:20]),
    "t10k-images-idx3-ubyte": _idx(_DIGITS[20:]),
    "t10k-labels-idx1-ubyte": _idx(_LABELS[20:]),
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, content in _FILES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


@pytest.fixture
def load(folder, tmp_path):
    return lambda **options: load_images("mnist", folder, prepared_dir=tmp_path / "prepared", **options)


def test_digits_stand_in_the_middle_of_32_by_32(load):
    digits = load()
    assert (digits.name, digits.size, digits.channels) == ("mnist", 32, 1)
    np.testing.assert_array_equal(digits.test.labels["category"], _LABELS[20:])
    images = stack_images(digits.train.source)
    assert images.shape == (20, 32, 32, 1)
    np.testing.assert_array_equal(images[:, 2:-2, 2:-2, 0], _DIGITS[:20])
    assert images.astype(int).sum() == _DIGITS[:20].astype(int).sum()


@pytest.mark.parametrize("rename", [lambda name: name, lambda name: name.replace("-idx", ".idx")])
def test_plain_files_and_files_with_a_dot_in_their_names_are_read(folder, load, rename):
    expected = load().content_hash
    for name, content in _FILES.items():
        (folder / f"{name}.gz").unlink()
        (folder / rename(name)).write_bytes(content)
    assert load().content_hash == expected


def _as_torchvision(folder):
    """With another set of the same files beside."""
    for name in ("FashionMNIST", "MNIST"):
        (folder / name / "raw").mkdir(parents=True)
    for path in folder.glob("*.gz"):
        (folder / "FashionMNIST" / "raw" / path.name).write_bytes(b"other clothes")
        path.rename(folder / "MNIST" / "raw" / path.name)
        (folder / "MNIST" / "raw" / path.stem).write_bytes(_FILES[path.stem])


def _as_kaggle(folder):
    for path in folder.glob("*.gz"):
        (folder / path.stem).mkdir()
        (folder / path.stem / path.stem).write_bytes(_FILES[path.stem])
        path.unlink()


def _in_capitals(folder):
    for path in folder.glob("*.gz"):
        path.rename(folder / path.name.upper())


@pytest.mark.parametrize("arrange", [_as_torchvision, _as_kaggle, _in_capitals])
def test_editions_are_read_alike(folder, load, arrange):
    expected = load().content_hash
    arrange(folder)
    digits = load()
    assert digits.content_hash == expected
    assert digits.data_files["images"].startswith("30 in ")
    assert "t10k" in digits.data_files["split"].lower()


def test_several_sets_in_one_folder_are_told_apart_or_refused(folder, load):
    for name in ("a", "b"):
        (folder / name).mkdir()
    for path in folder.glob("*.gz"):
        (folder / "a" / path.name).write_bytes(path.read_bytes())
        path.rename(folder / "b" / path.name)
    with pytest.raises(InputError, match=r"expected one folder with train-images.* found 2, such as .*a and .*b$"):
        load()


def test_without_the_test_files_every_tenth_is_tested(folder, load):
    for path in folder.glob("t10k*"):
        path.unlink()
    digits = load()
    assert list(digits.test.names) == ["train/00000", "train/00010"]
    assert digits.data_files["split"] == "every tenth image is tested, since there is no t10k-images-idx3-ubyte"


def test_the_same_images_under_other_labels_are_another_set(folder, load):
    """Codes of digits follow from their labels, and chains from both."""
    expected = load().content_hash
    others = np.append(_LABELS[1:20], _LABELS[0])
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(others)))
    assert load().content_hash != expected


def test_one_digit_by_its_name(load):
    sevens = load(category="7")
    assert sevens.name == "mnist/7"
    np.testing.assert_array_equal(stack_images(sevens.train.source)[:, 2:-2, 2:-2, 0], _DIGITS[[7, 17]])
    with pytest.raises(InputError, match=r"category: expected one of 0, 1, .* found 'ten'"):
        load(category="ten")
    with pytest.raises(InputError, match="a colour image"):
        load(channels=3)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("train-images-idx3-ubyte", _idx(_DIGITS[:20])[:-1], "15680 bytes, as its header promises, found 15679"),
        ("train-images-idx3-ubyte", _idx(_DIGITS[:20]) + b"\0", "15680 bytes, .* found more"),
        ("train-images-idx3-ubyte", _idx(_DIGITS[:19]), "19 labels, found an array of \\(20,\\)"),
        ("train-images-idx3-ubyte", _idx(_DIGITS[:20, :, :27]), "images of 28 x 28"),
        ("train-images-idx3-ubyte", _idx(_DIGITS[:20, 0]), "images of 28 x 28"),
        ("train-images-idx3-ubyte", b"", "starts with nothing"),
        ("train-images-idx3-ubyte", b"\x89PNG", "starts with 89504e47"),
        ("train-images-idx3-ubyte", struct.pack(">HBBI", 0, 13, 3, 1), "starts with 00000d03"),
        ("train-images-idx3-ubyte", struct.pack(">HBBI", 0, 8, 3, 1), "a truncated header"),
        ("t10k-labels-idx1-ubyte", _idx(_LABELS[20:] + 1), "labels from 0 to 9, found 10"),
    ],
)
def test_a_file_that_does_not_hold_what_it_says_is_named(folder, load, name, content, found):
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=found):
        load()


def test_damaged_gzip_is_named(folder, load):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:-8] + bytes(8), b"not gzip", whole[:12] + b"\xff\xff" + whole[14:]):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load()
        assert str(caught.value).startswith(str(path))


def test_a_missing_file_or_folder_is_named(folder, load, tmp_path):
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"MNIST's t10k-images-idx3-ubyte.*no such file"):
        load()
    with pytest.raises(InputError, match="no such folder"):
        load_images("mnist", tmp_path / "nowhere", prepared_dir=tmp_path)


@pytest.mark.parametrize("shape", [(2**31, 28, 28), (2**32 - 1,) * 4, (100_000, 28, 28)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_false_headers_and_bombs_take_no_memory(tmp_path, shape, suffix):
    """The compressed one really holds 64 MiB, in 64 KiB."""
    path = tmp_path / f"images{suffix}"
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    path.write_bytes(gzip.compress(header + bytes(2**26), 9) if suffix else header + bytes(1000))
    tracemalloc.start()
    with pytest.raises(InputError, match="as its header promises"):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 2**20


@given(data=st.data(), compressed=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_input_error_or_gives_the_array_of_the_header(tmp_path, data, compressed):
    content = bytearray(_idx(_DIGITS[:2, :5, :5]))
    if compressed:
        content = bytearray(gzip.compress(content))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path = tmp_path / ("any.gz" if compressed else "any")
    path.write_bytes(bytes(content))
    try:
        array = read_idx(path)
    except InputError:
        return
    plain = gzip.decompress(bytes(content)) if compressed else bytes(content)
    assert plain == _idx(array)


def test_real_digits(real_data, tmp_path):
    digits = load_images("mnist", real_data("mnist"), max_train=300, max_test=50, prepared_dir=tmp_path)
    images, labels = stack_images(digits.train.source), digits.train.labels["category"]
    assert set(labels) == set(range(10))
    # A one has less ink than a nought.
    ink = images.astype(float).mean(axis=(1, 2, 3))
    assert ink[labels == 1].mean() < 0.6 * ink[labels == 0].mean()
