import os

import numpy as np
import pytest

from facedis_jax.formats.json_files import read_json, write_json


def test_numpy_values_and_paths_become_json_and_nan_becomes_null(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"mm": np.float32(0.5), "rows": np.arange(2), "nan": float("nan"), "path": tmp_path})
    assert read_json(path) == {"mm": 0.5, "rows": [0, 1], "nan": None, "path": str(tmp_path)}
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_value_that_json_lacks_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"mm": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"mm": object()})
    assert read_json(path) == {"mm": 0.5}
    assert os.listdir(tmp_path) == ["results.json"]
