"""Weights in a plain file."""

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.training.arrays import load_weights, save_weights


def test_weights_come_back_as_they_were(tmp_path):
    weights = {"network": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.ones(2)}
    save_weights(tmp_path / "model.npz", weights)
    found = load_weights(tmp_path / "model.npz")
    assert found.keys() == weights.keys()
    np.testing.assert_array_equal(found["network"]["kernel"], weights["network"]["kernel"])
    assert found["network"]["kernel"].dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_other_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        load_weights(tmp_path / "model.npz")
    (tmp_path / "model.npz").write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(InputError, match=r"model\.npz"):
        load_weights(tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("like", "odd"),
    [
        ({"network": {"kernel": np.ones((3, 2))}}, "network/kernel"),
        ({"network": {"kernel": np.ones((2, 3)), "scale": np.ones(1)}}, "network/scale"),
        ({}, "network/kernel"),
    ],
)
def test_weights_of_other_networks_are_refused(tmp_path, like, odd):
    weights = {"network": {"kernel": np.ones((2, 3))}}
    save_weights(tmp_path / "model.npz", weights)
    assert load_weights(tmp_path / "model.npz", weights).keys() == weights.keys()
    with pytest.raises(InputError, match=f"found another {odd}"):
        load_weights(tmp_path / "model.npz", like)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "model.npz", trap=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="model"):
        load_weights(tmp_path / "model.npz")
