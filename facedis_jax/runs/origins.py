"""How a run's models came about, as their files say it."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from facedis_jax import __version__
from facedis_jax.inference.model_files import Origin
from facedis_jax.runs.command_line import typed_command


def origin_of(experiment: str, config: Any, *, data: str, content_hash: str) -> Origin:
    """How the models of a run came about.

    Args:
      experiment: its name.
      config: its settings, with a `seed`; what they say of data, by `folder` and `face_model`, tells the licence.
      data, content_hash: of the data set.
    """
    licences = list(dict.fromkeys(_licences(config)))
    return Origin(experiment, data, content_hash, ", ".join(licences), typed_command(), config.seed, __version__)


def _licences(config: Any) -> Iterator[str]:
    """Of each data set in some settings."""
    if hasattr(config, "folder") and hasattr(config, "face_model"):
        if config.folder is not None:
            yield "of the data set's owner"
        elif config.face_model is None:
            yield "CC0-1.0"
        else:
            yield "MIT (ICT-FaceKit)" if config.face_model.is_dir() else "of the face model's owner"
        return
    for field in fields(config):
        if is_dataclass(getattr(config, field.name)):
            yield from _licences(getattr(config, field.name))
