"""The cache of prepared copies: which there are and what they were made from, and what in it nobody needs."""

import datetime
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from facedis_jax.errors import InputError, printable
from facedis_jax.formats.whole import write_text
from facedis_jax.stopping import removed_when_stopped

try:
    import fcntl
except ImportError:  # Windows: several processes then go without locks.
    fcntl = None  # type: ignore[assignment]

_CARD = "copy.json"
_LOCK = "lock"
_UNFINISHED = "incomplete"
"""In the names that TFDS gives to the folders of copies that it writes: `incomplete.AB12CD_1.0.0`."""


@dataclass(frozen=True)
class Listing:
    """What is known of a folder's files without reading them.

    Attributes:
      outline: hash of their paths in the folder, and sizes.
      stamp: hash of the times of their last changes too.
    """

    outline: str
    stamp: str

    @staticmethod
    def of(folder: Path, files: Iterable[Path]) -> "Listing":
        """The listing of some files of a folder; the folder's own place is no part of it.

        What is wrong with a file that cannot be found is said by whoever reads it, or it is skipped.
        """
        outline, stamp = hashlib.sha256(), hashlib.sha256()
        for path in files:
            size = time = -1
            with suppress(OSError):
                status = path.stat()
                size, time = status.st_size, status.st_mtime_ns
            line = os.fsencode(f"{path.relative_to(folder)}\0{size}\n")
            outline.update(line)
            stamp.update(line + f"{time}\n".encode())
        return Listing(outline.hexdigest(), stamp.hexdigest())


@dataclass(frozen=True)
class Card:
    """What a prepared copy was made from; it lies in the copy as `copy.json`.

    Attributes:
      source: the folder, where it was last seen.
      outline: see `Listing`.
      stamps: those of all folders whose files are known to hold this content.
      content: the set's hash of its content.
      made: when, in ISO 8601.
      records: bytes of the copy's files of records; 0 where that is not known.
    """

    source: str
    outline: str
    stamps: tuple[str, ...]
    content: str
    made: str
    records: int = 0

    @staticmethod
    def new(source: Path, listing: Listing, content: str, records: int) -> "Card":
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        return Card(place_of(source), listing.outline, (listing.stamp,), content, now, records)

    def seen(self, source: Path, listing: Listing) -> "Card":
        """The card once the same content was seen in a folder."""
        stamps = (*(stamp for stamp in self.stamps if stamp != listing.stamp), listing.stamp)
        return replace(self, source=place_of(source), stamps=stamps)

    def without(self, listing: Listing) -> "Card":
        """The card once it is known that files with this listing hold something else."""
        return replace(self, stamps=tuple(stamp for stamp in self.stamps if stamp != listing.stamp))


@dataclass(frozen=True)
class Copy:
    """A whole prepared copy.

    Attributes:
      folder: of the copy: that of its key, of its set and settings, of its version.
      card: what it was made from; None for a copy of an earlier version of this program, which is not used.
    """

    folder: Path
    card: Card | None

    @property
    def what(self) -> str:
        """The set, its settings and its version, as the folders are named."""
        return "/".join(self.folder.parts[-3:])

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @property
    def used(self) -> float:
        """When it was last opened, in seconds since 1970."""
        card = self.folder / _CARD
        return (card if card.exists() else self.folder).stat().st_mtime

    def write_card(self, card: Card) -> None:
        """Gives the copy another card.

        Raises:
          OSError: it cannot be written.
        """
        write_text(self.folder / _CARD, json.dumps(asdict(card), indent=1))

    def note(self, card: Card) -> None:
        """As `write_card`; where the cache cannot be written, or its disk is full, what was found is not kept."""
        with suppress(OSError):
            self.write_card(card)

    def touch(self) -> None:
        """Notes that it is used."""
        with suppress(OSError):  # of a cache that cannot be written
            os.utime(self.folder / _CARD)


def cache_dir() -> Path:
    """The folder of prepared data by default: `facedis_jax` in $XDG_CACHE_HOME or in ~/.cache.

    Raises:
      InputError: this user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facedis_jax"
    except RuntimeError:
        expected = "a folder for prepared data, or $HOME or $XDG_CACHE_HOME for the default one"
        raise InputError("prepared", expected, "none") from None


def copies(base: Path) -> list[Copy]:
    """The whole copies in a cache, those used last first."""
    found = [Copy(path.parent, read_card(path.parent)) for path in base.glob("*/*/*/*/dataset_info.json")]
    found = [copy for copy in found if _UNFINISHED not in copy.folder.name]
    return sorted(found, key=lambda copy: copy.used, reverse=True)


def unfinished(base: Path) -> list[Path]:
    """The folders of copies whose preparation was cut short, or is under way."""
    return sorted(path for path in base.glob(f"*/*/*/*{_UNFINISHED}*") if path.is_dir())


def superseded(found: Iterable[Copy]) -> list[Copy]:
    """The copies that are of no use any more: of an earlier version, or of a set that has changed since.

    Of several copies of one folder's set with the same settings, the one that was used last is of use.
    """
    useless, known = [], set()
    for copy in sorted(found, key=lambda copy: copy.used, reverse=True):
        key = copy.card and (copy.what, copy.card.source)
        if key is None or key in known:
            useless.append(copy)
        known.add(key)
    return useless


def remove(copy: Copy) -> bool:
    """Removes a copy, and the folders that it leaves empty; False where it is in use, or not to be removed by us."""
    return _remove(copy.folder, copy.folder / _LOCK, copy.folder.parents[2])


def remove_unfinished(base: Path) -> list[Path]:
    """Removes what killed preparations have left; returns the folders that were there and that nobody was writing."""
    return [path for path in unfinished(base) if _remove(path, path.parents[2] / _LOCK, path.parents[2])]


def _remove(folder: Path, lock: Path, key_folder: Path) -> bool:
    """Removes a folder unless another process holds its lock; then that of its key, if nothing is left there."""
    with _locked(lock, wait=False) as mine:
        if mine:
            shutil.rmtree(folder, ignore_errors=True)
            _tidy(key_folder)
    return mine and not folder.exists()


def _tidy(key_folder: Path) -> None:
    """Removes a key's folder where there is no copy in it, and none under way."""
    if not any(path.is_dir() for path in key_folder.glob("*/*/*")):
        shutil.rmtree(key_folder, ignore_errors=True)


@contextmanager
def writing(base: Path, key: str) -> Iterator[bool]:
    """Holds what is written under a key of the cache against other processes; waits for one that writes there.

    Yields:
      Whether another process was there first.
    """
    lock = base / key / _LOCK
    # What was there before, copies with other settings, stays where a signal ends the process.
    stopped = nullcontext() if lock.parent.exists() else removed_when_stopped(lock.parent)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _locked(lock, wait=False) as mine, stopped:
        if mine:
            try:
                yield False
            finally:
                _tidy(base / key)
            return
    print("another process prepares this data; waiting for it", file=sys.stderr)
    with _locked(lock, wait=True):
        yield True


class ReadLock:
    """Keeps a copy from being removed as long as it exists, and where it is sent to other processes, there too.

    Args:
      copy: the copy's folder.
    """

    def __init__(self, copy: Path):
        self._copy = copy
        # A cache that cannot be written has no locks, and nothing is removed from it either.
        with suppress(OSError):
            self._file = open(copy / _LOCK, "a+b")  # noqa: SIM115
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __reduce__(self) -> tuple[type["ReadLock"], tuple[Path]]:
        return ReadLock, (self._copy,)


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds a lock, and says whether; where there is no file that could be locked, it counts as held."""
    try:
        file = open(path, "a+b")  # noqa: SIM115
    except FileNotFoundError:
        yield True
        return
    with file:
        held = True
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except OSError as error:
                # File systems without locks have other errors.
                held = error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        yield held


def read_card(copy: Path) -> Card | None:
    """The card in a copy's folder; None where there is none that can be read."""
    try:
        raw = json.loads((copy / _CARD).read_text(encoding="utf-8"))
        card = Card(**{**raw, "stamps": tuple(raw["stamps"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    texts = (card.source, card.outline, *card.stamps, card.content, card.made)
    return card if all(isinstance(text, str) for text in texts) and isinstance(card.records, int) else None


def place_of(folder: Path) -> str:
    """Where a folder lies, as cards say it: printable, whatever its name."""
    return printable(str(folder.resolve()))
