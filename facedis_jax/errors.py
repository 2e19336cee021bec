"""The one error that a user sees: what was looked at, what was expected there, what was found."""

import os

__all__ = ["InputError"]

# What decoders raise when damage leads them astray; their texts are about code.
_ASTRAY = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RecursionError,
    TypeError,
)


class InputError(Exception):
    """Input from outside (a file, a folder, an option) that cannot be used.

    Commands print it as one line and exit with code 2; library code lets it fly.

    Args:
      where: the file, folder or option at fault.
      expected: what would have been accepted.
      found: what was there instead.

    Example:
      >>> print(InputError("scan.ply", "a scan of a face", "no face in it"))
      scan.ply: expected a scan of a face, found no face in it
      >>> raise InputError("scan.ply", "a scan of a face", "no face in it")
      Traceback (most recent call last):
          ...
      facedis_jax.errors.InputError: scan.ply: expected a scan of a face, found no face in it
    """

    def __init__(self, where: object, expected: str, found: str):
        self.where, self.expected, self.found = str(where), expected, found
        line = " ".join(f"{self.where}: expected {expected}, found {found}".split())
        super().__init__(printable(line))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        return InputError, (self.where, self.expected, self.found)


def printable(text: str) -> str:
    """A text with escapes for what cannot be shown; names of files may hold control sequences and what is no text.

    Example:
      >>> printable("smile" + chr(27))
      'smile\\\\x1b'
    """
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def check_least(config: object, **least: float) -> None:
    """Checks that settings of a configuration are no smaller than they may be.

    Args:
      config: that has them.
      **least: the smallest value of each, by its name.

    Raises:
      InputError: for the first that is smaller.
    """
    for name, number in least.items():
        found = getattr(config, name)
        if found < number:
            raise InputError(name, f"{number} or more", str(found))


def check_power_of_two(where: str, number: int, *, least: int = 1, most: int | None = None) -> None:
    """Checks that a number is a power of two within bounds.

    Args:
      where: the setting, for the error.
      number: its value.
      least: the smallest that is allowed.
      most: the largest that is allowed; None for any.

    Raises:
      InputError: where it is none, or too small or large.

    Example:
      >>> check_power_of_two("size", 64, least=8)
      >>> check_power_of_two("size", 48, least=8)
      Traceback (most recent call last):
      facedis_jax.errors.InputError: size: expected a power of two of at least 8, found 48
    """
    if number < max(least, 1) or number & (number - 1) or (most is not None and number > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(where, f"a power of two {bounds}", str(number))


def check_utf8(path: os.PathLike[str], what: str) -> None:
    """Checks that a path is text in UTF-8: libraries that write files cannot be given another.

    Args:
      path: where they are to write.
      what: they write, for the error.

    Raises:
      InputError: it is not.
    """
    try:
        os.path.abspath(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(path, f"a folder for {what} whose path is UTF-8 text", "other bytes in it") from None


def reason(error: Exception) -> str:
    """Why something failed, without the number and the file that an OSError puts around it."""
    return getattr(error, "strerror", None) or str(error)


def damage(error: Exception) -> str:
    """What an error of a decoder says of a damaged file, in words of files and not of code.

    Example:
      >>> damage(OSError(5, "Input/output error"))
      'Input/output error'
      >>> damage(AttributeError("'NoneType' object has no attribute 'name'"))
      'its parts do not fit together'
    """
    is_of_code = isinstance(error, _ASTRAY) and not getattr(error, "strerror", None)
    text = "" if is_of_code else ascii(reason(error)[:200])[1:-1]
    return text or "its parts do not fit together"
