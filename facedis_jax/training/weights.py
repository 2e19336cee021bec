"""A model's weights in one plain file, for use without its run."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from facedis_jax.errors import InputError


def save_weights(path: str | os.PathLike, params: Any) -> None:
    """Writes nested dictionaries of arrays as one `.npz`, named by their keys with slashes, whole or not at all."""
    path = Path(path)
    arrays: dict[str, Any] = {key: np.asarray(value) for key, value in flatten_dict(params, sep="/").items()}
    incomplete = path.with_name(f".{path.name}.incomplete")
    try:
        with open(incomplete, "wb") as file:
            np.savez(file, **arrays)
        os.replace(incomplete, path)
    finally:
        incomplete.unlink(missing_ok=True)


def load_weights(path: str | os.PathLike) -> Any:
    """Reads what `save_weights` wrote.

    Raises:
      InputError: the file is missing or something else.
    """
    expected = "the weights of a finished model (model.npz)"
    try:
        with np.load(path, allow_pickle=False) as file:
            return unflatten_dict({name: file[name] for name in file.files}, sep="/")
    except FileNotFoundError as error:
        raise InputError(path, expected, "nothing there") from error
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(path, expected, f"{error}") from error
