"""Trains an IB-VAE on synthetic faces for a few steps, by public functions alone. Argument: a folder to be made."""

import sys
from pathlib import Path

import jax
import numpy as np

from facedis_jax.data.pipeline import evaluation_batches, train_batches
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.learners import FaceConstants, IbVaeConfig, ib_vae_learner
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig
from facedis_jax.training import Checkpoints, LoopConfig, Parallel, RunFolder, fit

STEPS, BATCH, AXIS = 6, 8, "devices"

faces = synthetic_coma(load_face_model(None), SyntheticFaceConfig(num_subjects=2, frames=(4, 5)))
features = PointFeatureConfig(centres=(12, 6), neighbours=4, harmonics=0)
config = IbVaeConfig(
    model=FaceVaeConfig(
        encoder=PctConfig(
            features=features, embedding=8, width=16, attention_layers=1, global_features=16, normalisation="layer"
        ),
        head=(32, 16),
        decoder_hidden=32,
    )
)
constants = FaceConstants(
    mean_face=np.mean([faces.train[i]["vertices"] for i in range(len(faces.train))], axis=0),
    scale=faces.scale,
    num_faces=len(faces.train),
    num_expressions=len(faces.expressions),
    moment_mean=np.zeros(0, np.float32),
    moment_deviation=1.0,
)
folder = RunFolder.open(Path(sys.argv[1]), {"experiment": "tiny training"})
result = fit(
    ib_vae_learner(config, constants, steps_per_epoch=len(faces.train) / BATCH, num_steps=STEPS, axis_name=AXIS),
    iter(train_batches(faces.train, faces.neutrals, batch_size=BATCH, seed=0)),
    evaluation_batches(faces.test, faces.neutrals, batch_size=BATCH),
    folder,
    LoopConfig(STEPS, log_every_steps=2, evaluate_every_steps=STEPS, checkpoint_every_steps=STEPS, quiet=True),
    key=jax.random.key(0),
    parallel=Parallel(axis_name=AXIS),
)
assert result.step == STEPS
with Checkpoints(folder.checkpoints, keep=1) as checkpoints:
    assert checkpoints.latest_step == STEPS
print(f"[run]: {STEPS} steps, a checkpoint and {folder.metrics_file.name} in {result.seconds:.0f} s")
