"""Trained models by the file or the run that holds them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.generator_models import TrainedImageModel, TrainedVideoModel
from facedis_jax.inference.model_files import MODEL_FILE, ModelFile
from facedis_jax.inference.shipped import shipped_models

TrainedModel: TypeAlias = TrainedFaceModel | TrainedImageModel | TrainedVideoModel

_KINDS: Mapping[str, type[TrainedImageModel]] = {
    "images": TrainedImageModel,
    "videos": TrainedVideoModel,
}
_RUNS = Path("runs")
# Of the models of a run, those that the others are compared with.
_MAIN = ("deformable", "dynamic", "ib_vae")
_MOST_LISTED = 20


def load(name_or_path: str | os.PathLike[str]) -> TrainedModel:
    """The model of a model file or of a finished run; see `facedis_jax.load`."""
    file = ModelFile.read(model_path(Path(name_or_path)))
    return _of_faces(file) if file.kind == "faces" else _KINDS[file.kind].from_file(file)


def load_faces(name_or_path: str | os.PathLike[str]) -> TrainedFaceModel:
    """As `load`, a model of faces alone; raises an InputError for one of another kind."""
    file = ModelFile.read(model_path(Path(name_or_path)))
    if file.kind != "faces":
        raise InputError(file.path, "a model of faces", f"one of {file.kind}")
    return _of_faces(file)


def _of_faces(file: ModelFile) -> TrainedFaceModel:
    """Our own model, or a rival."""
    if "rival" not in file.card:
        return TrainedFaceModel.from_file(file)
    # What the others are made of is not imported for our own.
    from facedis_jax.inference.rival_models import TrainedRival

    return TrainedRival.from_file(file)


def model_path(path: Path) -> Path:
    """Where the model file of a run or of a shipped model lies; the path itself where it is a file.

    A name that something in the working folder has means that.

    Raises:
      InputError: nothing is there, which lists what is, or a run that is not finished.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        if path.suffix == Path(MODEL_FILE).suffix or os.path.lexists(path):
            raise InputError(path, "a model file", "no file" if os.path.lexists(path) else "nothing there")
        shipped = shipped_models()
        if str(path) in shipped:
            return shipped[str(path)]
        found = [str(file.parent) for file in sorted(_RUNS.glob(f"*/{MODEL_FILE}"))][:_MOST_LISTED]
        names = ["a model file", "the folder of a finished run", *shipped, *found]
        raise InputError(path, ", ".join(names), "nothing there")
    if (path / MODEL_FILE).exists():
        return path / MODEL_FILE
    parts = sorted(file.parent for file in path.glob(f"*/{MODEL_FILE}"))
    main = parts if len(parts) == 1 else [part for part in parts if part.name in _MAIN]
    if len(main) == 1:
        return main[0] / MODEL_FILE
    if parts:
        raise InputError(path, f"one of its models: {', '.join(map(str, parts[:_MOST_LISTED]))}", "several")
    if not (path / "config.json").is_file():
        raise InputError(path, "the folder of a run", f"no {MODEL_FILE} in it")
    if (path / "results.json").exists():
        found_one = "one of an earlier version; its command evaluates it anew and writes one, without training"
        raise InputError(path, f"a run with {MODEL_FILE}", found_one)
    raise InputError(path, "a finished run", f"no {MODEL_FILE} in it; its command goes on with it")
