"""Trained models by the file or the run that holds them."""

import os
from pathlib import Path

from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.model_files import MODEL_FILE, ModelFile

_RUNS = Path("runs")
_MOST_LISTED = 20


def load(name_or_path: str | os.PathLike[str]) -> TrainedFaceModel:
    """The model of a model file or of a finished run; see `facedis_jax.load`."""
    file = ModelFile.read(model_path(Path(name_or_path)))
    if file.kind != "faces":
        raise InputError(file.path, "a model of faces", f"one of {file.kind}")
    return TrainedFaceModel.from_file(file)


def model_path(path: Path) -> Path:
    """Where the model file of a run or of a name lies; the path itself where it is a file.

    Raises:
      InputError: nothing is there, which lists what is, or a run that is not finished.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        if path.suffix == Path(MODEL_FILE).suffix or os.path.lexists(path):
            raise InputError(path, "a model file", "no file" if os.path.lexists(path) else "nothing there")
        found = [str(file.parent) for file in sorted(_RUNS.glob(f"*/{MODEL_FILE}"))][:_MOST_LISTED]
        raise InputError(path, ", ".join(["a model file", "the folder of a finished run", *found]), "nothing there")
    if (path / MODEL_FILE).exists():
        return path / MODEL_FILE
    if not (path / "config.json").is_file():
        raise InputError(path, "the folder of a run", f"no {MODEL_FILE} in it")
    if (path / "results.json").exists():
        found_one = "one of an earlier version; its command evaluates it anew and writes one, without training"
        raise InputError(path, f"a run with {MODEL_FILE}", found_one)
    raise InputError(path, "a finished run", f"no {MODEL_FILE} in it; its command goes on with it")
