"""The folder of one run: what made it, and where each of its files lies."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facedis_jax.errors import InputError, check_utf8, reason
from facedis_jax.formats.json_files import read_json, to_jsonable, write_json


@dataclass(frozen=True)
class RunFolder:
    """One run on disk.

    Attributes:
      path: the folder.
      config: what made the run, as plain JSON values.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     run = RunFolder.open(Path(folder) / "run", {"experiment": "mine", "seed": 0})
      ...     print(run.config_file.name, run.metrics_file.name, run.config_file.exists())
      config.json metrics.jsonl True
    """

    path: Path
    config: Mapping[str, Any]

    @classmethod
    def open(
        cls,
        workdir: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        elsewhere: Collection[str] = (),
        new_key: Callable[[str], str | None] = lambda key: None,
    ) -> "RunFolder":
        """Makes the folder of a new run, or opens that of a run to resume.

        Args:
          workdir: the folder; made with its parents if it is missing.
          config: what identifies the run: nested mappings of plain values, as `dataclasses.asdict` gives.
            Its key "workdir" is ignored, so that a run may be moved.
          elsewhere: dotted keys whose values may be others when the run is opened again, such as places of files; what
            the folder holds of them stays as it was.
          new_key: today's name of a dotted key that has changed, or None; for errors.

        Raises:
          InputError: if the folder is a run's with another config or of another version of this program, whose config
            has other keys, holds other things, or cannot be written.
        """
        path = Path(workdir)
        check_utf8(path, "checkpoints")
        config = to_jsonable({key: value for key, value in config.items() if key != "workdir"})
        try:
            path.mkdir(parents=True, exist_ok=True)
            # A name that begins with a dot is a file on its way to os.replace, perhaps of another process.
            taken = any(not entry.name.startswith(".") for entry in path.iterdir())
            if not (path / "config.json").exists():
                if taken:
                    raise InputError(path, "a new or empty folder, or that of a run", "files but no config.json")
                write_json(path / "config.json", config)
        except OSError as error:
            raise InputError(path, "a folder that can be written", reason(error)) from error

        folder = cls.read(path)
        if not isinstance(folder.config, Mapping):
            raise InputError(path, "the folder of a run", "another file in the place of its config.json")
        # Of another experiment, that is what there is to say.
        experiments = [{"experiment": each.get("experiment")} for each in (folder.config, config)]
        difference = first_difference(experiments[0], experiments[1])
        if difference is None:
            version = other_version(folder.config, config, new_key)
            if version is not None:
                raise InputError(
                    path, "a run of this version of the program", f"one of {version}; choose another workdir"
                )
            difference = first_difference(_without(folder.config, elsewhere), _without(config, elsewhere))
        if difference is not None:
            key, old, new = difference
            hashes = [_HASH.fullmatch(value) for value in (old, new)]
            if all(hashes):
                old, new = (f'"{match[1]}..."' for match in hashes if match)
                old += ", the hash of other content"
            raise InputError(path, f"a run with {key} = {new}", f"{key} = {old}; choose another workdir")
        return folder

    @classmethod
    def read(cls, path: str | os.PathLike) -> "RunFolder":
        """Opens the folder of a run that exists.

        Raises:
          InputError: if there is none, or its config.json cannot be read.
        """
        config = Path(path) / "config.json"
        if not config.is_file():
            raise InputError(path, "the folder of a run", "no config.json in it")
        return cls(Path(path), read_json(config))

    @property
    def identity(self) -> str:
        """A short name for what made the run, of its settings and data."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def results_file(self) -> Path:
        return self.path / "results.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def divergence_file(self) -> Path:
        return self.path / "diverged.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"


def other_version(
    found: Mapping[str, Any], expected: Mapping[str, Any], new_key: Callable[[str], str | None] = lambda key: None
) -> str | None:
    """Which other version of this program has made a config, told by its keys.

    Args:
      found, expected: nested configs, that of a run and one of this version.
      new_key: today's name of a dotted key that has changed, or None.

    Returns:
      A few words for an error; None if both have the same keys.

    Example:
      >>> other_version({"seed": 0}, {"seed": 1, "epochs": 3})
      'an earlier version, without a setting epochs'
    """
    old, today = (list(_keys(config)) for config in (found, expected))
    gone, added = [key for key in old if key not in today], [key for key in today if key not in old]
    for key in gone:
        new = new_key(key)
        if new is not None:
            return f"an earlier version, which called {new} {key}"
    if gone:
        return f"another version, with a setting {gone[0][:100]}"
    return f"an earlier version, without a setting {added[0]}" if added else None


def _keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in sorted(config):
        if isinstance(config[name], Mapping):
            yield from _keys(config[name], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _without(config: Mapping[str, Any], keys: Collection[str], prefix: str = "") -> dict[str, Any]:
    """A nested config without some dotted keys."""
    return {
        name: _without(value, keys, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in config.items()
        if f"{prefix}{name}" not in keys
    }


def first_difference(old: Any, new: Any, key: str = "") -> tuple[str, str, str] | None:
    """The first key in sorted order at which two nested configs differ, dotted, with both values as JSON."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            where = f"{key}.{name}" if key else name
            difference = first_difference(old.get(name, _MISSING), new.get(name, _MISSING), where)
            if difference is not None:
                return difference
        return None
    # As text, so that NaN equals itself and 1 does not equal True.
    old, new = ("nothing" if value is _MISSING else json.dumps(value) for value in (old, new))
    return None if old == new else (key, old, new)


_HASH = re.compile(r'"([0-9a-f]{12})[0-9a-f]{52}"')
_MISSING = object()
