"""Safetensors files: named arrays and one JSON card, of which nothing is executed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from facedis_jax.errors import InputError, damage, reason
from facedis_jax.formats.files import file_size
from facedis_jax.formats.json_files import parse_json, to_json
from facedis_jax.formats.whole import write_whole

_CARD = "card"
# A card is at most as long as a JSON file; an array's name, type and place take some hundred bytes.
_LARGEST_HEADER = 8 << 20
# What NumPy has a type for; whoever reads a file knows which of them it should have.
_TYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def write_tensors(path: str | os.PathLike[str], card: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name, and a card of JSON values, as one safetensors file, whole or not at all.

    Args:
      path: of the file.
      card: nested mappings of plain values; it becomes the text `card` of the file's metadata.
      arrays: by name.

    Raises:
      OSError: where it cannot be written.
    """
    # The library writes an array's memory as it lies.
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, save(plain, {_CARD: to_json(card)}))


def read_tensors(path: str | os.PathLike[str], expected: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads what `write_tensors` wrote.

    Args:
      path: of the file.
      expected: what it should be, for errors.

    Returns:
      The card, and the arrays by name.

    Raises:
      InputError: the file is missing, is damaged or something else, or promises more than it holds.
    """
    arrays = {}
    with _opened(path, expected) as file:
        text = (file.metadata() or {}).get(_CARD)
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            if file.get_slice(name).get_dtype() not in _TYPES:
                raise InputError(path, expected, f"an array of type {file.get_slice(name).get_dtype()}")
            arrays[name] = file.get_tensor(name)
    return _card(text, path, expected), arrays


def read_card(path: str | os.PathLike[str], expected: str) -> tuple[Any, dict[str, list[int]]]:
    """The card of a file that `write_tensors` wrote, and the shapes of its arrays by name, without their numbers.

    Raises:
      InputError: as `read_tensors`.
    """
    with _opened(path, expected) as file:
        text = (file.metadata() or {}).get(_CARD)
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return _card(text, path, expected), shapes


@contextmanager
def _opened(path: str | os.PathLike[str], expected: str) -> Iterator[Any]:
    """A safetensors file; what goes wrong with it is an InputError."""
    _check_header(Path(path), expected)
    try:
        # Without mapping the file into memory, where one that is cut meanwhile would end the process.
        with safe_open(path, framework="np", backend="pread") as file:
            yield file
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise InputError(path, expected, damage(error)) from error


def _card(text: str | None, path: str | os.PathLike[str], expected: str) -> Any:
    if text is None:
        raise InputError(path, expected, "a safetensors file without a card")
    return parse_json(text, path)


def _check_header(path: Path, expected: str) -> None:
    """Raises an InputError where the length that the file begins with is not that of its header."""
    size = file_size(path, expected)
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(path, expected, reason(error)) from error
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{":
        raise InputError(path, expected, "no safetensors file")
    if length > min(size - 8, _LARGEST_HEADER):
        raise InputError(path, expected, f"a header of {length} bytes in a file of {size}")
