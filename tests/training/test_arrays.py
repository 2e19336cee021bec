"""Arrays in a plain file."""

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.training.arrays import load_arrays, save_arrays


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2)}
    save_arrays(tmp_path / "a.npz", arrays)
    found = load_arrays(tmp_path / "a.npz", "codes")
    assert found.keys() == arrays.keys()
    np.testing.assert_array_equal(found["a"], arrays["a"])
    assert found["a"].dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        load_arrays(tmp_path / "a.npz", "codes")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(InputError, match=r"a\.npz: expected codes"):
        load_arrays(tmp_path / "a.npz", "codes")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", trap=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="pickled objects"):
        load_arrays(tmp_path / "a.npz", "codes")
