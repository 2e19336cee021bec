"""Prepared copies of data sets: read once, kept as ArrayRecord files in a cache, from then on open to random access."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import rich.console
import rich.progress
import tensorflow_datasets as tfds

from facedis_jax.errors import InputError, check_utf8, reason
from facedis_jax.file_owners import allow_unknown_owners
from facedis_jax.formats.whole import write_text

allow_unknown_owners()

T = TypeVar("T")
Builder = TypeVar("Builder", bound="PreparedBuilder")


class PreparedInfo(tfds.core.DatasetInfo):
    """TFDS's record of a data set, without its look-up on the network."""

    def initialize_from_bucket(self) -> None:
        """Does nothing; TFDS would make a folder for it, and leave it behind, at every start."""


class PreparedBuilder(tfds.core.ShardBasedBuilder):
    """A TFDS builder whose source files lie in the manual directory, and whose shards are written one by one.

    `GeneratorBasedBuilder` would gather a whole split in memory, and past 1,000 MiB (CoMA's training half has 1,060)
    write it to disk through TensorFlow, which is not installed here.
    """

    VERSION = tfds.core.Version("1.0.0")
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

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded, so nothing is printed about it."""

    def _log_download_done(self) -> None:
        """See `_log_download_bytes`."""


def open_prepared(
    make_builder: Callable[[Path], Builder], folder: Path, files: Iterable[Path], prepared_dir: str | Path | None
) -> Builder:
    """Opens the prepared copy of a data set, and prepares it first where there is none.

    A copy belongs to a folder and to the names, sizes and times of its files: a start with a prepared copy need not
      read
    the files, and after a change of them a new copy is prepared. A copy appears only when it is whole.

    Args:
      make_builder: gives the builder that prepares in, or reads from, a folder of prepared data.
      folder: where the source files are.
      files: all source files that the builder reads.
      prepared_dir: holds the prepared copies; a folder in the user's cache if None.

    Returns:
      The builder, ready to be read.

    Raises:
      InputError: where the files cannot be used or the cache cannot be written.
    """
    base = Path(prepared_dir) if prepared_dir is not None else cache_dir()
    check_utf8(base, "prepared data")
    data_dir = base / _listing_hash(folder, files)[:16]
    try:
        builder = make_builder(data_dir)
        if not _is_prepared(builder):
            config = tfds.download.DownloadConfig(manual_dir=folder, try_download_gcs=False)
            try:
                builder.download_and_prepare(download_config=config, file_format="array_record")
            except OSError:
                # Another process may have been first to rename its copy into place.
                builder = make_builder(data_dir)
                if not _is_prepared(builder):
                    raise
    except OSError as error:
        raise InputError(base, "a folder for prepared data that can be written", str(error)) from None
    missing = [path for split in builder.info.splits.values() for path in split.filepaths if not path.exists()]
    if missing:
        expected = "a whole prepared copy (delete it to prepare anew)"
        raise InputError(builder.data_path, expected, f"no {missing[0].name}")
    return builder


def find_damaged(
    what: str,
    names: Sequence[str],
    read: Callable[[int], object],
    folder: Path,
    files: Iterable[Path],
    prepared_dir: str | Path | None,
) -> dict[str, str]:
    """Reads every example of a data set once, and returns those that cannot be read.

    The result is kept beside the prepared copies, for the same names, sizes and times of the files.

    Args:
      what: names the set and the settings on which its examples depend.
      names: of the examples.
      read: reads an example by its index, and raises an InputError where it is damaged.
      folder, files, prepared_dir: as of `open_prepared`.

    Returns:
      For each damaged example its name and what is wrong with it, in the order of the names.

    Raises:
      InputError: where all examples are damaged, or the cache cannot be written.
    """
    base = Path(prepared_dir) if prepared_dir is not None else cache_dir()
    key = hashlib.sha256(f"{_listing_hash(folder, files)}\0{what}".encode(errors="surrogateescape")).hexdigest()[:16]
    found = base / f"damaged-{key}.json"
    if found.exists():
        return json.loads(found.read_text(encoding="utf-8"))
    damaged: dict[str, str] = {}
    for index, name in enumerate(track(names, "Looking for damaged files")):
        try:
            read(index)
        except InputError as error:
            damaged[name] = str(error)
    if len(damaged) == len(names):
        raise InputError(folder, "examples that can be read", f"{len(names)} damaged ones, such as {damaged[names[0]]}")
    try:
        base.mkdir(parents=True, exist_ok=True)
        write_text(found, json.dumps(damaged, indent=2))
    except OSError as error:
        raise InputError(base, "a folder for prepared data that can be written", str(error)) from None
    return damaged


def names_hash(names: Sequence[str]) -> str:
    """A short hash of a list of names."""
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:12]


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


def track(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal."""
    console = rich.console.Console(stderr=True)
    return rich.progress.track(items, description, console=console, transient=True, disable=not sys.stderr.isatty())


def _is_prepared(builder: PreparedBuilder) -> bool:
    return (builder.data_path / "dataset_info.json").exists()


def _listing_hash(folder: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(path, "a file that can be read", reason(error)) from None
        digest.update(
            f"{path.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()
