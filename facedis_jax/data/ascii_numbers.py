"""Numbers in text, in bounded memory."""

import re
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError

# A Python object for each number costs some twenty times its text, so only this much text is split at a time.
_CHUNK = 1 << 20
_SPACE = re.compile(rb"\s")


def parse_numbers(path: Path, text: bytes) -> np.ndarray:
    """The numbers in `text`, separated by white space, as [numbers] float64.

    Raises:
      InputError: where anything in it is not a number; names `path`.
    """
    parts = [np.empty(0)]
    start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _CHUNK)
        end = space.start() if space else len(text)
        try:
            parts.append(np.array(text[start:end].split(), dtype=np.float64))
        except ValueError:
            raise InputError(path, "numbers", repr(_first_word(text[start:end]))[1:]) from None
        start = end
    return np.concatenate(parts)


def _first_word(text: bytes) -> bytes:
    for word in text.split():
        try:
            float(word)
        except ValueError:
            return word[:32]
    return text[:32]
