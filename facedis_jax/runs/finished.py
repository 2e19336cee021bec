"""A finished IB-VAE run, read back from its folder alone: no data set, no training."""

import reprlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.inference.faces import FaceCodec, codec_of
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import IbVaeState, ib_vae_learner
from facedis_jax.runs.faces import MODEL_FILE, FaceRunConfig
from facedis_jax.runs.renamed import new_key
from facedis_jax.runs.settings import as_json, from_json
from facedis_jax.training import Checkpoints, RunFolder
from facedis_jax.training.run_folder import other_version


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
