"""Lists what is kept in the user's cache, and removes what is of no use: `facedis cache --prune`.

That is copies of data sets, prepared for training, and programs that JAX has compiled.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import tyro

from facedis_jax.data.cache import Copy, cache_dir, copies, remove, remove_unfinished, superseded, unfinished
from facedis_jax.errors import InputError, printable
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.compiled_programs import programs_dir, remove_oldest
from facedis_jax.runs.options import parse_options


@dataclass(frozen=True)
class CacheOptions:
    """Which cache, and what becomes of it.

    Attributes:
      folder: of prepared copies, as an experiment's `--data.prepared`; the cache in the user's home by default.
      prune: remove copies of data that has changed since, copies of earlier versions of this program, and what killed
        preparations have left. What a process is reading or writing stays.
      all: remove all copies and compiled programs; the next run makes them anew.
    """

    folder: Path | None = None
    prune: bool = False
    all: bool = False


def cache(options: CacheOptions) -> int:
    """Lists or removes, and prints a line for each copy; returns the exit code.

    Raises:
      InputError: a folder is given and is not there.
    """
    base = options.folder if options.folder is not None else cache_dir()
    if options.folder is not None and not base.is_dir():
        raise InputError("folder", "a folder of prepared copies", "no such folder")
    found, parts = copies(base), unfinished(base)
    old = {copy.folder for copy in superseded(found)}
    for copy in found:
        is_old = copy.folder in old
        told = _line(copy, is_old)
        if not (options.all or (options.prune and is_old)):
            print(told)
        elif remove(copy):
            print(f"removed  {told}")
        else:
            print(f"in use   {told}")
    removed = remove_unfinished(base) if options.prune or options.all else []
    for part in parts:
        print(f"{'removed  ' if part in removed else ''}unfinished  {printable(str(part))}")
    if not found and not parts:
        print(f"no prepared copies in {printable(str(base))}")
    elif old and not (options.prune or options.all):
        print(f"{len(old)} of {len(found)} copies are old: --prune removes them")
    _compiled(programs_dir(base), remove=options.all)
    return 0


def _compiled(programs: Path, *, remove: bool) -> None:
    """Prints how many compiled programs there are and their size, or removes them."""
    size = sum(path.stat().st_size for path in programs.rglob("*") if path.is_file())
    if size:
        if remove:
            remove_oldest(programs, 0)
        print(f"{'removed  ' if remove else ''}{size / 1e6:9.1f} MB  compiled programs")


def _line(copy: Copy, is_old: bool) -> str:
    """A copy's size, when it was last used, its set and settings, where it was made from, and whether it is old."""
    used = datetime.datetime.fromtimestamp(copy.used).strftime("%Y-%m-%d %H:%M")
    source = "an earlier version of this program" if copy.card is None else copy.card.source
    return f"{copy.size / 1e6:9.1f} MB  {used}  {copy.what}  from {source}{'  (old)' if is_old else ''}"


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""
    exit_with(
        lambda: cache(
            parse_options(
                CacheOptions,
                args=arguments,
                prog="facedis cache",
                description=__doc__,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        ),
        ["--folder", "--prune", "--all"],
    )
