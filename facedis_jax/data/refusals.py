"""Examples that a survey of a data set's files refuses: an error, or skipped and listed where that is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_size, lost_folders


class Refusals:
    """What is wrong with single examples of a set, as far as that is known before their content is read.

    Args:
      skip: whether to collect what is refused; else the first is raised.

    Example:
      >>> refusals = Refusals(skip=True)
      >>> with refusals.of("anna/joy/take000"):
      ...     raise InputError("talk/anna/joy/take000", "frames", "none")
      >>> refusals.lines
      {'anna/joy/take000': 'talk/anna/joy/take000: expected frames, found none'}
    """

    def __init__(self, *, skip: bool = False):
        self.skip = skip
        self.lines: dict[str, str] = {}
        """For each refused example its name and what is wrong with it."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """A context in which an InputError concerns one example alone, of this name."""
        try:
            yield
        except InputError as error:
            if not self.skip:
                raise
            self.lines[name] = str(error)

    @property
    def note(self) -> str:
        """How many were refused, with one of them, to be put behind what an error found; empty where none was."""
        if not self.lines:
            return ""
        return f" (skipped: {len(self.lines)}, such as {next(iter(self.lines.values()))})"


STRICT = Refusals()
"""Raises whatever is refused."""


def refuse_lost_folders(folder: Path, refusals: Refusals, *, depth: int | None = None) -> None:
    """Refuses each link that seems to have led to a folder of the set and leads nowhere, so that nothing vanishes.

    Args:
      folder: of the set.
      refusals: whether they are skipped.
      depth: how many folders to enter, one in another; None for all.

    Raises:
      InputError: for one that `refusals` does not skip.
    """
    for path in lost_folders(folder, depth=depth):
        with refusals.of(path.relative_to(folder).as_posix()):
            file_size(path, "a folder of the set")
