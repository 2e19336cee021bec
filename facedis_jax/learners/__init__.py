"""What is learned: pure `(init, step, evaluate)` triples that never see a file, a clock or a device list."""

from facedis_jax.learners.ensemble import ensemble_learner, members
from facedis_jax.learners.ib_vae import (
    FaceConstants,
    FaceFunctions,
    IbVaeConfig,
    IbVaeState,
    face_functions,
    ib_vae_learner,
)
from facedis_jax.learners.learner import Batch, Learner, Metrics, State
from facedis_jax.learners.optimiser import OptimiserConfig, make_optimiser

__all__ = [
    "Batch",
    "FaceConstants",
    "FaceFunctions",
    "IbVaeConfig",
    "IbVaeState",
    "Learner",
    "Metrics",
    "OptimiserConfig",
    "State",
    "ensemble_learner",
    "face_functions",
    "ib_vae_learner",
    "make_optimiser",
    "members",
]
