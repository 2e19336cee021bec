"""Arrays in one plain file, for use without the run that made them."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from facedis_jax.errors import InputError


def save_arrays(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes one `.npz` of plain arrays, whole or not at all."""
    path = Path(path)
    incomplete = path.with_name(f".{path.name}.incomplete")
    try:
        with open(incomplete, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(incomplete, path)
    finally:
        incomplete.unlink(missing_ok=True)


def load_arrays(path: str | os.PathLike, expected: str) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Args:
      path: of the file.
      expected: what it should be, for errors.

    Raises:
      InputError: the file is missing or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InputError(path, expected, "nothing there") from error
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(path, expected, f"{error}") from error


def save_weights(path: str | os.PathLike, params: Any) -> None:
    """Writes nested dictionaries of arrays, named by their keys with slashes."""
    save_arrays(path, {key: np.asarray(value) for key, value in flatten_dict(params, sep="/").items()})


def load_weights(path: str | os.PathLike, like: Any = None) -> Any:
    """Reads what `save_weights` wrote.

    Args:
      path: of the file.
      like: nested dictionaries of arrays, or of their shapes, that the weights must be alike; None takes any.

    Raises:
      InputError: the file is missing, something else, or holds other networks.
    """
    weights = load_arrays(path, "the weights of a finished model (model.npz)")
    if like is not None:
        wanted = {key: leaf.shape for key, leaf in flatten_dict(like, sep="/").items()}
        differing = sorted(wanted.items() ^ {key: array.shape for key, array in weights.items()}.items())
        if differing:
            raise InputError(path, "weights of the networks that the settings describe", f"another {differing[0][0]}")
    return unflatten_dict(weights, sep="/")
