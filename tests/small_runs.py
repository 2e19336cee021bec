"""Two small finished runs, one plain and one with labels, trained on three made-up people."""

from dataclasses import dataclass
from pathlib import Path

import jax
import pytest

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.pipeline import evaluation_batches, train_batches
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.evaluation import face_surfaces
from facedis_jax.formats.settings import as_json
from facedis_jax.inference.faces import codec_of
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.learners import IbVaeConfig, IbVaeState, OptimiserConfig, ib_vae_learner
from facedis_jax.losses import IbVaeWeights
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.face_config import FaceDataConfig, FaceRunConfig
from facedis_jax.runs.face_constants import face_constants
from facedis_jax.runs.faces import AXIS, FaceRun, trained_model
from facedis_jax.training import LoopConfig, Parallel, RunFolder, fit
from tests.made_up_faces import made_up_face_model

ENCODER = PctConfig(
    features=PointFeatureConfig(centres=(12, 6), neighbours=4, start="foremost", harmonics=2),
    embedding=8,
    width=16,
    attention_layers=1,
    global_features=16,
    normalisation="layer",
    moment_features=32,
)
MODEL = FaceVaeConfig(encoder=ENCODER, head=(32, 16), decoder_hidden=32, initial_logvar=-5.0)
OPTIMISER = OptimiserConfig(learning_rate=4e-3, weight_decay=0.0, schedule="cosine")
# The squared error is a sum over the vertices, of which there are a hundredth of CoMA's.
WEIGHTS = IbVaeWeights(lambda_1=8.0, lambda_2=5e-4)
SYNTHETIC = SyntheticFaceConfig(num_subjects=3, frames=(4, 7))


@dataclass(frozen=True)
class SmallRun:
    """A run on disk, with what went into it."""

    path: Path
    config: FaceRunConfig
    face_set: FaceSet
    state: IbVaeState


@pytest.fixture(scope="session")
def small_face_set() -> FaceSet:
    """Three people of 42 vertices in CoMA's arrangement."""
    return synthetic_coma(made_up_face_model(), SYNTHETIC)


def small_config(*, conditional: bool, epochs: float = 100.0) -> FaceRunConfig:
    """The settings of a small run."""
    learner = IbVaeConfig(model=MODEL, weights=WEIGHTS, conditional=conditional, optimiser=OPTIMISER)
    data = FaceDataConfig(face_model=Path("made-up.npz"), synthetic=SYNTHETIC)
    return FaceRunConfig(data=data, learner=learner, epochs=epochs)


def train(path: Path, face_set: FaceSet, config: FaceRunConfig) -> SmallRun:
    """A run of those settings, trained and saved."""
    learner_config = config.learner
    folder = RunFolder.open(path, {"experiment": "small", "data": "made up", "config": as_json(config)})
    constants, start = face_constants(face_set, learner_config, config.data.clouds)
    steps_per_epoch = constants.num_faces / config.batch_size
    num_steps = round(config.epochs * steps_per_epoch)
    loop = LoopConfig(num_steps, checkpoint_every_steps=num_steps, evaluate_every_steps=num_steps, quiet=True)
    batches = train_batches(face_set.train, face_set.neutrals, batch_size=32, seed=0, num_threads=1)
    result = fit(
        ib_vae_learner(learner_config, constants, steps_per_epoch=steps_per_epoch, num_steps=num_steps, axis_name=AXIS),
        iter(batches),
        evaluation_batches(face_set.test, face_set.neutrals, batch_size=32),
        folder,
        loop,
        key=jax.random.key(0),
        parallel=Parallel(jax.devices()[:1], axis_name=AXIS),
    )
    state = jax.device_get(result.state)
    codec = codec_of(learner_config, constants, state, face_set.expressions)
    run = FaceRun(config, RunOptions(), face_set, constants, start, jax.devices()[:1], folder, loop)
    trained_model(run, codec, state).save(path / MODEL_FILE)
    return SmallRun(path, config, face_set, state)


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, small_face_set: FaceSet) -> SmallRun:
    return train(tmp_path_factory.mktemp("plain"), small_face_set, small_config(conditional=False))


@pytest.fixture(scope="session")
def labelled_run(tmp_path_factory: pytest.TempPathFactory, small_face_set: FaceSet) -> SmallRun:
    return train(tmp_path_factory.mktemp("labelled"), small_face_set, small_config(conditional=True))


@pytest.fixture
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces are read by few random points: to compile a small model for 10,000 takes longer than to train it."""
    monkeypatch.setattr(face_surfaces, "_POINTS", (50,))
    monkeypatch.setattr(face_surfaces, "_NOISY_POINTS", 50)
