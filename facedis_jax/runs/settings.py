"""What of a run's settings identifies it, and the folder of a run that has this identity."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from facedis_jax.formats.files import file_digest
from facedis_jax.formats.settings import as_json
from facedis_jax.runs.command_line import RunOptions, report_copies, report_skipped
from facedis_jax.runs.renamed import new_key
from facedis_jax.training import RunFolder


def places(config: Any, prefix: str = "config.") -> dict[str, Path | None]:
    """The settings that say where files lie, by their dotted keys.

    A run is what its files hold and not where they lie, so these are no part of its identity.

    Args:
      config: a dataclass of settings.
      prefix: of the keys.

    Example:
      >>> from facedis_jax.runs.face_config import FaceDataConfig
      >>> sorted(places(FaceDataConfig()))
      ['config.face_model', 'config.folder', 'config.landmarks', 'config.prepared', 'config.recipes']
    """
    found: dict[str, Path | None] = {}
    hints = get_type_hints(type(config))
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            found |= places(value, f"{prefix}{field.name}.")
        elif Path in (hints[field.name], *get_args(hints[field.name])):
            found[prefix + field.name] = value
    return found


# How the files of a data set are found and read; its content is the same, or its hash is another.
_READING = ("skip_damaged", "links_out", "verify")


def identity(config: Any) -> tuple[dict[str, Any], list[str]]:
    """What identifies a run by its settings.

    Args:
      config: a dataclass of settings.

    Returns:
      The settings as JSON values, with the sha256 of each file that one of them names, and the dotted keys that are
      no part of the identity: places of files, and how they are read.

    Raises:
      InputError: a file cannot be read.
    """
    where = places(config)
    files = {
        key.removeprefix("config."): file_digest(path).hex() if path is not None and path.is_file() else ""
        for key, path in where.items()
    }
    settings = as_json(config)
    return {"config": settings, "files": files}, [*where, *_reading(settings, "config.")]


def open_run_folder(name: str, config: Any, options: RunOptions, content: Any, sets: Any, **beside: Any) -> RunFolder:
    """The folder of an experiment's run on sets of some content, with what of them is skipped; `beside` identifies too.

    Raises:
      InputError: a file cannot be read, or the folder is another run's.
    """
    settings, elsewhere = identity(config)
    made_by = {"experiment": name, "data": content, **settings, **beside}
    folder = RunFolder.open(options.workdir or Path("runs") / name, made_by, elsewhere=elsewhere, new_key=new_key)
    report_skipped(folder, options, {name: why for one in sets for name, why in one.skipped.items()})
    report_copies(options, {copy: size for one in sets for copy, size in one.older_copies.items()})
    return folder


def _reading(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _reading(value, f"{prefix}{name}.")
        elif name in _READING:
            yield prefix + name
