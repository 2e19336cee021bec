"""Files of trained models: weights, settings and names in one safetensors file, which can be handed over."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from facedis_jax.errors import InputError
from facedis_jax.formats.settings import from_json
from facedis_jax.formats.tensors import read_tensors, write_tensors

__all__ = ["Origin"]

MODEL_FILE = "model.safetensors"
# Rises where files of an earlier version can no longer be read as they are.
FORMAT = 1
KINDS = ("faces", "images", "videos")

_EXPECTED = "the model file of a finished run"
_MOST_NAMES = 100_000
_Built = TypeVar("_Built")
# What models that are shipped with the package are stored in, to be smaller.
_NARROW = (np.float16, np.int8, np.uint8, np.int16, np.uint16)


@dataclass(frozen=True)
class Origin:
    """How a model came about.

    Attributes:
      experiment: that trained it.
      data: what it learned from, by name.
      data_hash: of the data's content.
      licence: of the data, as far as it is known.
      command: the command line.
      seed: of the run.
      version: of this package.

    Example:
      >>> command = "python -m experiments.coma_ib"
      >>> Origin("coma_ib", "embedded face/paper", "", "CC0-1.0", command, seed=0, version="0.1.0").licence
      'CC0-1.0'
    """

    experiment: str
    data: str
    data_hash: str
    licence: str
    command: str
    seed: int
    version: str


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes:
      path: of the file, for errors.
      kind: "faces", "images" or "videos".
      origin: how the model came about.
      card: JSON values of the kind, such as settings and names.
      arrays: by name, of which those in half precision are read as float32, and integers of 8 or 16 bits as int32; no
        number in them is NaN or infinite.
    """

    path: Path
    kind: str
    origin: Origin
    card: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def write(self) -> None:
        """Writes the file whole or not at all; raises an OSError where it cannot be written."""
        card = {"format": FORMAT, "kind": self.kind, "origin": asdict(self.origin), **self.card}
        write_tensors(self.path, card, self.arrays)

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Reads what `write` wrote.

        Raises:
          InputError: the file is missing, is damaged or something else, or is of a later version.
        """
        card, arrays = read_tensors(path, _EXPECTED)
        kind, origin = opened_card(path, card)
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(path, _EXPECTED, f"NaN or infinite numbers in {ascii(name)[1:-1][:80]}")
            if array.dtype in _NARROW:
                arrays[name] = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
        return cls(path, kind, origin, card, arrays)

    def names(self, key: str) -> list[str]:
        """A list of names that stands under a key of the card; raises an InputError where there is none."""
        found = self.card.get(key)
        if not isinstance(found, list) or len(found) > _MOST_NAMES or not all(isinstance(name, str) for name in found):
            raise InputError(self.path, f"names of {key}", "something else")
        return found

    def weights(self, prefix: str, like: Any) -> Any:
        """Nested dictionaries of arrays that stand under a name.

        Args:
          prefix: the name.
          like: nested dictionaries of arrays or of their shapes, which they must be alike.

        Raises:
          InputError: they are other networks'.
        """
        start = f"{prefix}/"
        found = {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}
        wanted = flatten_dict(like, sep="/")
        for name in sorted(wanted.keys() | found.keys()):
            array, leaf = found.get(name), wanted.get(name)
            fits = array is not None and leaf is not None and array.shape == leaf.shape and array.dtype == leaf.dtype
            if not fits:
                odd = ascii(name[:64])[1:-1]
                raise InputError(self.path, "weights of the networks that its settings describe", f"another {odd}")
        return unflatten_dict({name: found[name] for name in wanted}, sep="/")

    def built(self, build: Callable[[], _Built]) -> _Built:
        """What is built of the file's settings; raises an InputError where no model can be."""
        try:
            return build()
        except Exception as error:
            # Networks are built of any numbers until one of them makes no sense to some layer.
            found = ascii(f"{error}".partition("\n")[0][:200])[1:-1]
            raise InputError(self.path, "settings that a model can be built of", found) from error

    def array(self, name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
        """An array of the file.

        Args:
          name: of the array.
          shape: its shape; -1 stands for any length.
          kind: "f" for float32 or "i" for int32.

        Raises:
          InputError: it is missing, or of another shape or type.
        """
        found = self.arrays.get(name)
        if found is None:
            raise self.refusal(f"no {name}")
        fits = found.ndim == len(shape) and all(a in (b, -1) for a, b in zip(shape, found.shape, strict=True))
        if not fits or found.dtype != {"f": np.float32, "i": np.int32}[kind]:
            raise self.refusal(f"{name} of another shape or type")
        return found

    def refusal(self, found: str) -> InputError:
        """The error of a file whose parts do not belong together."""
        return InputError(self.path, _EXPECTED, found)


def opened_card(path: Path, card: Any) -> tuple[str, Origin]:
    """Takes out of a model file's card what all kinds have: the kind, and how the model came about.

    Raises:
      InputError: it is no such card, or one of a later version.
    """
    if not isinstance(card, dict) or type(card.get("format")) is not int:
        raise InputError(path, _EXPECTED, "a card that is none of a model's")
    found = card.pop("format")
    if found != FORMAT:
        raise InputError(path, f"a model file of version {FORMAT}", f"one of version {found!r:.20}")
    kind = card.pop("kind", None)
    if kind not in KINDS:
        raise InputError(path, f"a model of {', '.join(KINDS)}", f"one of {ascii(kind)[:40]}")
    return kind, from_json(Origin, card.pop("origin", None), where=path, key="origin")


def named_arrays(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    """Nested dictionaries of arrays, by their names below a prefix, on the host.

    Example:
      >>> named_arrays("params", {"dense": {"bias": np.zeros(2)}})
      {'params/dense/bias': array([0., 0.])}
    """
    return {f"{prefix}/{name}": np.asarray(leaf) for name, leaf in flatten_dict(jax.device_get(tree), sep="/").items()}
