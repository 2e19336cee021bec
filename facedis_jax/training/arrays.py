"""Arrays in one plain file, for use without the run that made them."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from facedis_jax.formats.npz import read_npz
from facedis_jax.formats.whole import open_whole


def save_arrays(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes one `.npz` of plain arrays, whole or not at all."""
    with open_whole(path) as file:
        np.savez_compressed(file, **arrays)


def load_arrays(path: str | os.PathLike, expected: str) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Args:
      path: of the file.
      expected: what it should be, for errors.

    Raises:
      InputError: the file is missing or something else, or holds more than a file of its size can.
    """
    return read_npz(path, expected)


def weights_hash(params: Any) -> str:
    """A name for weights: sha256 over nested dictionaries of arrays, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(flatten_dict(params, sep="/").items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{key} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()
