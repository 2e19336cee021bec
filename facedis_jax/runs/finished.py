"""A finished IB-VAE run, read back from its folder alone: no data set, no training."""

import reprlib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import jax
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.inference.faces import FaceCodec, codec_of
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import IbVaeState, ib_vae_learner
from facedis_jax.runs.command_line import as_json
from facedis_jax.runs.faces import MODEL_FILE, FaceRunConfig
from facedis_jax.runs.renamed import new_key
from facedis_jax.training import Checkpoints, RunFolder
from facedis_jax.training.run_folder import other_version

Config = TypeVar("Config")

# No setting comes near it, and NaN is not below it.
_LARGEST = 1e18


def load_run(path: Path) -> tuple[FaceCodec, TrainedFaces]:
    """Reads a finished run of an IB-VAE experiment; nothing in its folder is changed.

    Args:
      path: the run's folder, as the experiment's `--workdir`.

    Returns:
      The trained model, and the faces that it learned from.

    Raises:
      InputError: the folder is not a run's, the run is of another kind or unfinished, or a file is damaged.
    """
    folder = RunFolder.read(path)
    saved = folder.config.get("config") if isinstance(folder.config, Mapping) else None
    if not (isinstance(saved, Mapping) and {"data", "learner"} <= set(saved)):
        found = folder.config.get("experiment") if isinstance(folder.config, Mapping) else None
        kind = found if isinstance(found, str) and found else "something else"
        raise InputError(path, "a run of an IB-VAE experiment", f"one of {reprlib.repr(kind)[1:-1]}")
    version = other_version({"config": saved}, {"config": as_json(FaceRunConfig())}, new_key)
    if version is not None:
        raise InputError(folder.config_file, "a run of this version of the program", f"one of {version}")
    config = from_json(FaceRunConfig, saved, where=folder.config_file)
    trained = TrainedFaces.load(folder.path / MODEL_FILE)
    state = _last_state(folder, config, trained)
    return codec_of(config.learner, trained.constants, state, trained.expressions), trained


def _last_state(folder: RunFolder, config: FaceRunConfig, trained: TrainedFaces) -> IbVaeState:
    face = trained.constants.mean_face[None]
    batch = {
        "vertices": face,
        "neutral": face,
        "expression": np.zeros(1, np.int32),
        "level": np.zeros(1, np.float32),
    }
    try:
        steps_per_epoch = trained.constants.num_faces / config.batch_size
        num_steps = round(config.epochs * steps_per_epoch)
        learner = ib_vae_learner(
            config.learner, trained.constants, steps_per_epoch=steps_per_epoch, num_steps=num_steps
        )
        shapes = jax.eval_shape(learner.init, jax.random.key(0), batch)
    except Exception as error:
        # Networks are built of any numbers until one of them makes no sense to some layer.
        found = reprlib.repr(f"{error}".partition("\n")[0])[1:-1]
        raise InputError(folder.config_file, "settings that a model can be built of", found) from error
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
        shapes,
    )
    expected = f"the checkpoint of step {num_steps}"
    if not folder.checkpoints.is_dir():
        raise InputError(folder.checkpoints, expected, "no such folder")
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        checkpoint = checkpoints.restore(abstract)
    # The codes beside it are of the last step's model and of no other.
    if checkpoint is None or checkpoint.step != num_steps:
        found = "none" if checkpoint is None else f"that of step {checkpoint.step}"
        raise InputError(folder.checkpoints, expected, found)
    return jax.device_get(checkpoint.state)


def from_json(kind: type[Config], value: Any, *, where: object, key: str = "config") -> Config:
    """Makes settings of the plain values that `command_line.as_json` made of them.

    Args:
      kind: a dataclass of numbers, strings, paths, literals, tuples, optionals and further dataclasses.
      value: what JSON holds of it.
      where: the file, for errors.
      key: what `value` is called there.

    Raises:
      InputError: a key is missing or unknown, or a value is of another type; it names the key.

    Example:
      >>> from_json(tuple[int, ...], [3, 4], where="config.json")
      (3, 4)
    """
    return cast(Config, _read(kind, value, where, key))


def _read(kind: Any, value: Any, where: object, key: str) -> Any:
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where, key)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _read(inner, value, where, key)
    if origin is Literal:
        if value in arguments:
            return value
        raise InputError(where, f"{key} to be one of {', '.join(map(str, arguments))}", reprlib.repr(value))
    if origin is tuple and isinstance(value, list):
        many = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = arguments[:1] * len(value) if many else arguments
        if len(kinds) == len(value):
            return tuple(_read(kinds[i], item, where, f"{key}[{i}]") for i, item in enumerate(value))
    # JSON has one kind of number, and Python counts True among the integers.
    accepted: dict[Any, tuple[type, ...]] = {
        float: (int, float),
        int: (int,),
        bool: (bool,),
        str: (str,),
        Path: (str,),
    }
    if not isinstance(value, accepted.get(kind, ())) or (isinstance(value, bool) and kind is not bool):
        raise InputError(where, f"{key} to be {getattr(kind, '__name__', kind)}", reprlib.repr(value))
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        raise InputError(where, f"{key} to be a number", reprlib.repr(value))
    return kind(value)


def _read_dataclass(kind: Any, value: Any, where: object, key: str) -> Any:
    if not isinstance(value, Mapping):
        raise InputError(where, f"{key} to be settings by name", reprlib.repr(value))
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in value]
    unknown = sorted(set(value) - set(names))
    if missing or unknown:
        found = f"no {key}.{missing[0]}" if missing else f"{key}.{reprlib.repr(unknown[0])[1:-1]} as well"
        raise InputError(where, f"the settings {', '.join(names)} in {key}", found)
    hints = get_type_hints(kind)
    return kind(**{name: _read(hints[name], value[name], where, f"{key}.{name}") for name in names})
