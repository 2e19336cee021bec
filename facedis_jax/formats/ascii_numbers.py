"""Parsing text of numbers in bounded memory."""

import re
from pathlib import Path

import numpy as np

from facedis_jax.errors import InputError

# A Python object for each number takes some twenty times its text, so only this much text is split at a time.
_CHUNK = 1 << 20
_LONGEST = 1 << 10
_SPACE = re.compile(rb"\s")
# What the run-time library of Windows writes for numbers that are none: nan(ind), 1.#QNAN0, -1.#IND, 1.#INF00.
_NO_NUMBER = re.compile(rb"([-+]?)(?:nan\(\w*\)|1\.#(?:(INF)|QNAN|SNAN|IND)\w*)", re.IGNORECASE)
_PADDING = b"\0\x1a"


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
        if end == len(text) and words and not words[-1].strip(_PADDING):
            # Old editors end a text so.
            words.pop()
        try:
            numbers[count : count + len(words)] = _parsed(words)
        except ValueError:
            raise InputError(path, "numbers", repr(_first_word(words))[1:]) from None
        count += len(words)
        start = end
    numbers.resize(count, refcheck=False)
    return numbers


def _parsed(words: list[bytes]) -> np.ndarray:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        return np.array([_NO_NUMBER.sub(_standard, word) for word in words], dtype=np.float64)


def _standard(match: re.Match[bytes]) -> bytes:
    return match[1] + (b"inf" if match[2] else b"nan")


def _first_word(words: list[bytes]) -> bytes:
    for word in words:
        try:
            float(word)
        except ValueError:
            return word[:32]
    return words[0][:32]
