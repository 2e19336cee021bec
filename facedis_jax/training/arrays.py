"""Arrays in one plain file, for use without the run that made them."""

import hashlib
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from facedis_jax.errors import InputError
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


def save_weights(path: str | os.PathLike, params: Any) -> None:
    """Writes nested dictionaries of arrays, named by their keys with slashes."""
    save_arrays(path, {key: np.asarray(value) for key, value in flatten_dict(params, sep="/").items()})


def weights_hash(params: Any) -> str:
    """A name for weights: sha256 over nested dictionaries of arrays, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(flatten_dict(params, sep="/").items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{key} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()


def load_weights(path: str | os.PathLike, like: Any = None) -> Any:
    """Reads what `save_weights` wrote.

    Args:
      path: of the file.
      like: nested dictionaries of arrays, or of their shapes, that the weights must be alike; None takes any.

    Raises:
      InputError: the file is missing, something else, or holds other networks.
    """
    weights = load_arrays(path, "the weights of a finished model (model.npz)")
    found = {key: (array.shape, array.dtype) for key, array in weights.items()}
    if like is not None:
        wanted = {key: (leaf.shape, np.dtype(leaf.dtype)) for key, leaf in flatten_dict(like, sep="/").items()}
        differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        if differing:
            odd = ascii(differing[0][:64])[1:-1]
            raise InputError(path, "weights of the networks that the settings describe", f"another {odd}")
    # With the slash as the least of letters, what lies in a folder comes right after its name.
    names = sorted(weights, key=lambda name: name.replace("/", "\0"))
    if any(after.startswith(f"{name}/") for name, after in pairwise(names)):
        raise InputError(path, "weights by name", "a name that is also a folder of names")
    return unflatten_dict(weights, sep="/")
