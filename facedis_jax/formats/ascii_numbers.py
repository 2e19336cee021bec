"""Parsing text of numbers in bounded memory."""

import re
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError

# A Python object for each number takes some twenty times its text, so only this much text is split at a time.
_CHUNK = 1 << 20
_LONGEST = 1 << 10
_SPACE = re.compile(rb"\s")


def parse_numbers(path: Path, text: bytes | memoryview) -> np.ndarray:
    """The numbers in `text`, separated by white space, as [numbers] float64.

    Raises:
      InputError: where anything in it is not a number; names `path`.
    """
    # As many as there can be; pages that are not written to take no memory.
    numbers = np.empty((len(text) + 1) // 2)
    count = start = 0
    while start < len(text):
        space = _SPACE.search(text, start + _CHUNK)
        end = space.start() if space else len(text)
        if end - start > _CHUNK + _LONGEST:
            raise InputError(path, f"numbers of at most {_LONGEST} digits", "a longer one")
        words = bytes(text[start:end]).split()
        try:
            numbers[count : count + len(words)] = np.array(words, dtype=np.float64)
        except ValueError:
            raise InputError(path, "numbers", repr(_first_word(words))[1:]) from None
        count += len(words)
        start = end
    numbers.resize(count, refcheck=False)
    return numbers


def _first_word(words: list[bytes]) -> bytes:
    for word in words:
        try:
            float(word)
        except ValueError:
            return word[:32]
    return words[0][:32]
