"""How a run's models came about, as their files say it."""

from pathlib import Path
from typing import Protocol

from facedis_jax import __version__
from facedis_jax.inference.model_files import Origin
from facedis_jax.runs.command_line import typed_command


class DataConfig(Protocol):
    """Settings that say where data comes from.

    Attributes:
      folder: of real data; None for synthetic.
      face_model: what synthetic data shows; None for the embedded face.
    """

    @property
    def folder(self) -> Path | None: ...

    @property
    def face_model(self) -> Path | None: ...


def origin_of(experiment: str, data: DataConfig, *, name: str, content_hash: str, seed: int) -> Origin:
    """How the models of a run came about.

    Args:
      experiment: its name.
      data: its settings.
      name, content_hash: of the data set.
      seed: of the run.
    """
    return Origin(experiment, name, content_hash, _licence(data), typed_command(), seed, __version__)


def _licence(data: DataConfig) -> str:
    if data.folder is not None:
        return "of the data set's owner"
    if data.face_model is None:
        return "CC0-1.0"
    return "MIT (ICT-FaceKit)" if data.face_model.is_dir() else "of the face model's owner"
