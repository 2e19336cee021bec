"""Codes of faces that are kept on disk while a model is evaluated, so that one that was stopped goes on."""

import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.inference.faces import FaceCodec
from facedis_jax.training.arrays import load_arrays, save_arrays

# What a stopped evaluation loses at most, and what one has to last for a file to be written at all.
_SECONDS_BETWEEN_WRITES = 10.0


class KeptCodes:
    """Means and logvars of batches of faces, by the batch and the model, in one file.

    Args:
      path: of the file; one that is damaged or another model's counts as none.
      model: names the model.
    """

    def __init__(self, path: Path, model: str):
        self._path, self._model = path, model
        self._codes = self._read()
        self._written = time.monotonic()

    def codec(self, codec: FaceCodec) -> FaceCodec:
        """The codec, of which each batch is encoded once, also over several starts of the same command."""

        def encode(vertices: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
            name = _name(vertices, labels)
            found = self._codes.get(name)
            if found is None or found.shape[1] != len(vertices):
                found = self._codes[name] = np.stack(codec.encode(vertices, labels))
                self._write_now_and_then()
            return found[0], found[1]

        return replace(codec, encode=encode)

    def remove(self) -> None:
        """Removes the file, which nobody needs once an evaluation has ended."""
        self._path.unlink(missing_ok=True)

    def _write_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._written >= _SECONDS_BETWEEN_WRITES:
            self._written = now
            save_arrays(self._path, {"model": np.array(self._model), **self._codes})

    def _read(self) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        with suppress(InputError):
            if self._path.exists():
                arrays = load_arrays(self._path, "codes of faces")
        if str(arrays.pop("model", None)) != self._model:
            return {}
        return {name: array for name, array in arrays.items() if array.dtype == np.float32 and array.ndim == 3}


def _name(vertices: np.ndarray, labels: np.ndarray | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(vertices).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()
