"""JSON files: read within bounds of size and depth, written whole."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import file_size
from facedis_jax.formats.whole import write_text

# Python objects take some twenty times the memory of the text from which they are read.
_LARGEST_JSON = 2 << 20
_DEEPEST_JSON = 50


def to_jsonable(value: Any) -> Any:
    """Makes JSON values of NumPy values, tuples and paths; what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(to_jsonable(value), indent=2, allow_nan=False) + "\n")


def to_json(value: Any) -> str:
    """A value as JSON text in one line; what is not finite becomes null."""
    return json.dumps(to_jsonable(value), allow_nan=False)


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      InputError: if it is missing, is not JSON, or is larger or deeper than what this program writes.
    """
    size = file_size(Path(path), "a JSON file")
    if size > _LARGEST_JSON:
        raise InputError(path, f"a JSON file of at most {_LARGEST_JSON >> 20} MiB", f"{size} bytes")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(path, "a JSON file", reason(error)) from error
    return parse_json(text, path)


def parse_json(text: str, where: str | os.PathLike) -> Any:
    """The value that a JSON text of bounded size stands for.

    Args:
      text: as long as a JSON file may be.
      where: the file that it is from, for errors.

    Raises:
      InputError: if it is not JSON, or is larger or deeper than what this program writes.
    """
    if len(text) > _LARGEST_JSON:
        raise InputError(where, f"JSON of at most {_LARGEST_JSON >> 20} MiB", f"{len(text)} letters")
    too_deep = InputError(where, f"JSON values at most {_DEEPEST_JSON} deep", "deeper ones")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(where, "a JSON file", reason(error)) from error
    except RecursionError:
        raise too_deep from None
    if _is_deeper(value, _DEEPEST_JSON):
        raise too_deep
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(item, levels - 1) for item in items)
