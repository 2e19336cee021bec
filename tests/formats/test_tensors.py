import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from facedis_jax.errors import InputError
from facedis_jax.formats.tensors import read_tensors, write_tensors

ARRAYS = {
    "a": np.arange(6, dtype=np.int32).reshape(2, 3).T,  # not contiguous
    "b/c": np.float32(3),
    "empty": np.zeros((4, 0), np.float32),
    "swapped": np.arange(3, dtype=">f4"),
}


def test_what_is_written_is_read_here_and_by_the_library(tmp_path):
    write_tensors(tmp_path / "a.safetensors", {"names": ["Örn", "李"]}, ARRAYS)
    card, found = read_tensors(tmp_path / "a.safetensors", "arrays")
    assert card == {"names": ["Örn", "李"]}
    for arrays in (found, load_file(tmp_path / "a.safetensors")):
        assert arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "a safetensors file without a card"),
        ({"card": "{"}, "expected a JSON file"),
        ({"card": "[" * 3000}, "at most 50 deep|a JSON file"),
        ({"card": '"' + "a" * (3 << 20) + '"'}, "at most 2 MiB"),
        ({"card": "9" * 5000}, "a JSON file"),
    ],
)
def test_cards_that_are_none(tmp_path, metadata, message):
    save_file({"a": np.zeros(2)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(InputError, match=message):
        read_tensors(tmp_path / "a.safetensors", "arrays")
