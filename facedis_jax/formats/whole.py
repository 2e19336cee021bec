"""Files written whole or not at all: under a file's name stands its old content or its new one, never a part."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from facedis_jax.errors import InputError, reason
from facedis_jax.stopping import removed_when_stopped


@contextmanager
def open_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to, which takes the name `path` when the block ends, and is removed where it fails.

    It is written beside `path` under a hidden name of its own, so that several processes may write the same file, and
    has the permissions of any new file.

    Args:
      path: the file; one that is there before is replaced at the end.

    Raises:
      OSError: where it cannot be written; names `path`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "numbers.txt")
      ...     with open_whole(path) as file:
      ...         _ = file.write(b"1 2 3")
      ...         is_there_before = path.exists()
      ...     is_there_before, path.read_text()
      (False, '1 2 3')
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # "x", so that no other file is overwritten.
        with removed_when_stopped(temporary):
            with temporary.open("xb") as file:
                yield file
            os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, os.fspath(temporary)):
            raise
        # The hidden name would tell a reader nothing, and a full disk is reported without any.
        raise OSError(error.errno, reason(error), os.fspath(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file of these bytes whole or not at all; raises an OSError as `open_whole`."""
    with open_whole(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8 whole or not at all; raises an OSError as `open_whole`."""
    write_whole(path, text.encode("utf-8"))


def numbered_paths(output: Path, count: int, picture: str) -> list[Path]:
    """Where so many files are written, and a picture of them beside them, which comes last.

    Args:
      output: the file's name where there is one; of several, each has a number at the end of its stem.
      count: how many files.
      picture: the picture's name.

    Raises:
      InputError: there is a folder in the place of one of them.

    Example:
      >>> [path.name for path in numbered_paths(Path("face.ply"), 2, "face.png")]
      ['face_1.ply', 'face_2.ply', 'face.png']
    """
    names = [output.name]
    if count > 1:
        names = [f"{output.stem}_{i:0{len(str(count))}d}{output.suffix}" for i in range(1, count + 1)]
    paths = [output.with_name(name) for name in (*names, picture)]
    for path in paths:
        if path.is_dir():
            raise InputError(path, "a file to write", "a folder")
    return paths


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Writes several files, all of them or none: none takes its name before all are written.

    Args:
      contents: the bytes of each file.

    Raises:
      OSError: as `open_whole`.
    """
    with ExitStack() as stack:
        for path, data in contents.items():
            file = stack.enter_context(open_whole(path))
            file.write(data)
            file.flush()  # A disk that is full says so here, and not when the first file has its name already.
