"""Prepared copies of data sets: read once, kept as ArrayRecord files in a cache, from then on open to random access."""

import errno
import hashlib
import json
import shutil
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from facedis_jax.data.ahead import ProcessReader
from facedis_jax.data.cache import (
    Card,
    Copy,
    Listing,
    ReadLock,
    cache_dir,
    copies,
    place_of,
    read_card,
    remove_unfinished,
    superseded,
    writing,
)
from facedis_jax.data.shards import Shards
from facedis_jax.errors import InputError, check_utf8, damage
from facedis_jax.file_owners import allow_unknown_owners
from facedis_jax.formats.whole import write_text
from facedis_jax.progress import track

allow_unknown_owners()

T = TypeVar("T")
R = TypeVar("R")
Builder = TypeVar("Builder", bound="PreparedBuilder")


class PreparedInfo(tfds.core.DatasetInfo):
    """TFDS's record of a data set, without its look-up on the network."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; TFDS would make a folder for it, and leave it behind, at every start."""


class PreparedBuilder(FileReaderBuilder):
    """A TFDS builder whose source files lie in the manual directory, and that writes its files of records itself.

    `GeneratorBasedBuilder` would gather a whole split in memory, and past 1,000 MiB (CoMA's training half has 1,060)
    write it to disk through TensorFlow, which is not installed here. `ShardBasedBuilder` would ask for all of one split
    before any of another, hold a file's examples in memory, make records of them in this process alone, and compress
    them.
    """

    VERSION = tfds.core.Version("1.0.0")
    # What ends with the preparation, before TFDS removes what it has not finished.
    _preparing: ExitStack
    # Nothing is downloaded, so there are no checksums beside the code; to look for them TFDS would import
    # importlib_resources, on which it does not depend.
    code_path = None

    def _create_builder_config(
        self, builder_config: str | tfds.core.BuilderConfig | None, version: str | tfds.core.Version | None
    ) -> tfds.core.BuilderConfig | None:
        # TFDS warns of configurations that the class does not list; here they are made from settings.
        if isinstance(builder_config, tfds.core.BuilderConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version)

    @abstractmethod
    def write(self, folder: Path) -> Shards:
        """Reads the files in `folder`, and writes all records and the metadata."""

    def shards(self, counts: Mapping[str, int]) -> Shards:
        """So many files of records for each split, to be written."""
        return Shards({split: self._get_filename_template(split_name=split) for split in counts}, counts)

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig | None = None
    ) -> None:
        with ExitStack() as self._preparing:
            self.info.set_splits(self.write(Path(dl_manager.manual_dir)).splits())

    def process_reader(
        self, read: Callable[[T], R], *, total: int, counts: Counter[str] | None = None
    ) -> ProcessReader[T, R]:
        """A `ProcessReader` whose processes end with the preparation."""
        return self._preparing.enter_context(ProcessReader(read, total=total, counts=counts))

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded, so nothing is printed about it."""

    def _log_download_done(self) -> None:
        """See `_log_download_bytes`."""


@dataclass(frozen=True)
class Sources:
    """The files that a copy is prepared from.

    Attributes:
      folder: where they are.
      files: all that the builder reads.
      content: reads them all and gives the hash of the set's content, as the builder's metadata have it.
      room: bytes that the copy will take, as far as that is known.
    """

    folder: Path
    files: Sequence[Path]
    content: Callable[[], str]
    room: int = 0


def open_prepared(
    make_builder: Callable[[Path], Builder],
    sources: Sources,
    prepared_dir: str | Path | None,
    *,
    verify: bool = False,
) -> tuple[Builder, ReadLock]:
    """Opens the prepared copy of a data set, and prepares it first where there is none.

    A copy belongs to its content. Files with the names, sizes and times of those that it was made from are taken for
    the same, wherever they lie, and need not be read. If the times differ, they are read to compare their content.
    After a change of it a new copy is prepared. A copy appears only when it is whole.

    Args:
      make_builder: gives the builder that prepares in, or reads from, a folder of prepared data.
      sources: the files.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.
      verify: read the files in any case, and take no copy of other content.

    Returns:
      The builder, ready to be read, and a lock to be kept while it is; see `facedis_jax.data.cache.ReadLock`.

    Raises:
      InputError: where the files cannot be used or the cache cannot be written.
      OSError: ENOSPC, where there is no room for the copy.
    """
    base = Path(prepared_dir) if prepared_dir is not None else cache_dir()
    check_utf8(base, "prepared data")
    listing = Listing.of(sources.folder, sources.files)
    opened = partial(_opened, make_builder)
    try:
        builder = _known(opened, sources, listing, base, verify) or _prepared(opened, sources, listing, base)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        raise InputError(base, "a folder for prepared data that can be written", str(error)) from None
    missing = [path for path in _records(builder) if not path.exists()]
    if missing:
        raise InputError(builder.data_path, _WHOLE, f"no {missing[0].name}")
    card, there = read_card(Path(builder.data_path)), sum(map(_size, _records(builder)))
    if card is not None and card.records not in (0, there):
        raise InputError(builder.data_path, _WHOLE, f"{there:,} bytes of records instead of {card.records:,}")
    return builder, ReadLock(Path(builder.data_path))


def older_copies(builder: PreparedBuilder) -> dict[str, int]:
    """Other copies of the same folder's set with the same settings, left by changes of its files: places and bytes."""
    own = Copy(Path(builder.data_path), None)
    found = copies(own.folder.parents[3])
    card = next((copy.card for copy in found if copy.folder == own.folder), None)
    others = [copy for copy in superseded(found) if card and copy.card and copy.card.source == card.source]
    return {str(copy.folder): copy.size for copy in others if copy.what == own.what}


def _opened(make_builder: Callable[[Path], Builder], place: Path) -> Builder:
    """The builder of a place; raises an InputError where the copy there cannot be read."""
    try:
        return make_builder(place)
    except (InputError, OSError):
        raise
    except Exception as error:
        # TFDS and protobuf raise errors of many kinds.
        raise InputError(place, _WHOLE, f"a damaged one ({damage(error)})") from None


def _known(
    make_builder: Callable[[Path], Builder], sources: Sources, listing: Listing, base: Path, verify: bool
) -> Builder | None:
    """The builder of a copy that holds these files' content, if there is one."""
    what = Copy(Path(make_builder(base / listing.stamp[:_KEY]).data_path), None).what
    candidates = [(copy, copy.card) for copy in copies(base) if copy.what == what and copy.card is not None]
    content = None
    for copy, card in sorted(candidates, key=lambda each: listing.stamp not in each[1].stamps):
        stamped = listing.stamp in card.stamps
        if verify or not stamped:
            if card.outline != listing.outline:
                continue
            content = content or sources.content()
            if content != card.content:
                if stamped:
                    copy.note(card.without(listing))
                continue
        if not stamped or card.source != place_of(sources.folder):
            copy.note(card.seen(sources.folder, listing))
        copy.touch()
        return make_builder(copy.folder.parents[2])
    return None


def _prepared(make_builder: Callable[[Path], Builder], sources: Sources, listing: Listing, base: Path) -> Builder:
    """The builder of a new copy, or of one that another process has made in the meantime."""
    remove_unfinished(base)
    key = listing.stamp[:_KEY]
    if _is_whole(make_builder(base / key)):
        # Of files with the same names, sizes and times, but other content.
        key = hashlib.sha256(f"{listing.stamp}{sources.content()}".encode()).hexdigest()[:_KEY]
    with writing(base, key) as others_first:
        builder = make_builder(base / key)
        if not (others_first and _is_whole(builder)):
            _check_room(base, sources.room)
            config = tfds.download.DownloadConfig(manual_dir=sources.folder, try_download_gcs=False)
            try:
                builder.download_and_prepare(download_config=config, file_format="array_record")
            except RuntimeError as error:
                if "No space left" in str(error) or "quota" in str(error):
                    raise _no_room(base, sources.room) from None
                raise
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise _no_room(base, sources.room) from None
                raise
            content = builder.info.metadata["content_hash"]
            card = Card.new(sources.folder, listing, content, records=sum(map(_size, _records(builder))))
            Copy(Path(builder.data_path), None).write_card(card)
    return builder


_KEY = 16  # letters of a hash in the name of a folder
_WHOLE = "a whole prepared copy (delete it to prepare anew)"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _check_room(base: Path, room: int) -> None:
    if shutil.disk_usage(base).free < room:
        raise _no_room(base, room)


def _no_room(base: Path, room: int) -> OSError:
    free = _megabytes(shutil.disk_usage(base).free)
    # Records take more room than their content.
    needed = f"about {_megabytes(room)}" if room > shutil.disk_usage(base).free else "more"
    return OSError(errno.ENOSPC, f"no room for prepared data: {needed} needed, {free} free", str(base))


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _records(builder: PreparedBuilder) -> list[Path]:
    """The files that hold a copy's examples."""
    return [Path(path) for split in builder.info.splits.values() for path in split.filepaths]


def _size(path: Path) -> int:
    return path.stat().st_size


def _is_whole(builder: PreparedBuilder) -> bool:
    return (builder.data_path / "dataset_info.json").exists()


def find_damaged(
    what: str,
    names: Sequence[str],
    read: Callable[[int], object],
    folder: Path,
    files: Iterable[Path],
    prepared_dir: str | Path | None,
    *,
    verify: bool = False,
) -> dict[str, str]:
    """Reads every example of a data set once, on all cores, and returns those that cannot be read.

    The result is kept beside the prepared copies, for the same names, sizes and times of the files.

    Args:
      what: names the set and the settings on which its examples depend.
      names: of the examples.
      read: reads an example by its index, and raises an InputError where it is damaged; it is sent to processes.
      folder, files: where the set is, and all of its files.
      prepared_dir, verify: as of `open_prepared`.

    Returns:
      For each damaged example its name and what is wrong with it, in the order of the names.

    Raises:
      InputError: where all examples are damaged.
    """
    base = Path(prepared_dir) if prepared_dir is not None else cache_dir()
    named = f"{Listing.of(folder, files).stamp}\0{what}".encode(errors="surrogateescape")
    found = base / f"damaged-{hashlib.sha256(named).hexdigest()[:_KEY]}.json"
    known = None if verify else _read_damaged(found)
    if known is not None:
        return known
    with ProcessReader(partial(_damage, read), total=len(names)) as reader:
        tracked = track(names, "looking for damaged files")
        lines = zip(tracked, reader(range(len(names))), strict=True)
        damaged = {name: line for name, line in lines if line is not None}
    if len(damaged) == len(names):
        raise InputError(folder, "examples that can be read", f"{len(names)} damaged ones, such as {damaged[names[0]]}")
    # Where it cannot be kept, it is looked for again the next time.
    with suppress(OSError):
        base.mkdir(parents=True, exist_ok=True)
        write_text(found, json.dumps(damaged, indent=2))
    return damaged


def _damage(read: Callable[[int], object], index: int) -> str | None:
    """What is wrong with an example, if anything."""
    try:
        read(index)
    except InputError as error:
        return str(error)
    return None


def _read_damaged(path: Path) -> dict[str, str] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_list = isinstance(found, dict) and all(isinstance(line, str) for line in found.values())
    return found if is_list else None


def names_hash(names: Sequence[str]) -> str:
    """A short hash of a list of names."""
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:12]
