"""A learner small enough to compile in seconds, and made-up faces for it."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from facedis_jax.learners import FaceConstants, IbVaeConfig, OptimiserConfig, ib_vae_learner
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig

VERTICES = 30
SCALE = 100.0

PAPER_LIKE = PctConfig(
    PointFeatureConfig(centres=(6, 4), neighbours=3),
    embedding=4,
    width=8,
    attention_layers=1,
    global_features=8,
)
DEMO_LIKE = replace(
    PAPER_LIKE,
    features=PointFeatureConfig(centres=(6, 4), neighbours=3, start="foremost", harmonics=1),
    frequencies=2,
    pooling="max_mean",
    moment_features=4,
)


def make_config(encoder=DEMO_LIKE, normalisation="layer", **changes):
    model = FaceVaeConfig(
        replace(encoder, normalisation=normalisation),
        head=(8,),
        identity_latents=2,
        expression_latents=2,
        decoder_hidden=8,
    )
    optimiser = OptimiserConfig(learning_rate=1e-3, weight_decay=0.0)
    return replace(IbVaeConfig(model=model, optimiser=optimiser), **changes)


def make_constants(config):
    moments = (2 * config.model.encoder.features.harmonics + 1) ** 3 - 1
    rng = np.random.default_rng(3)
    return FaceConstants(
        mean_face=make_batch(64)["neutral"].mean(0),
        scale=SCALE,
        num_faces=100,
        num_expressions=3,
        moment_mean=rng.normal(size=moments).astype(np.float32),
        moment_deviation=0.7,
    )


def make_learner(config, **settings):
    settings = {"steps_per_epoch": 10, "num_steps": 100, **settings}
    return ib_vae_learner(config, make_constants(config), **settings)


def make_batch(size, seed=0):
    """Faces in mm: 4 people, 3 expressions, any level."""
    basis = np.random.default_rng(100)
    sheet = basis.uniform(-80, 80, (VERTICES, 3))
    people, motions = (
        basis.normal(scale=5, size=(4, VERTICES, 3)),
        basis.normal(scale=5, size=(3, VERTICES, 3)),
    )
    rng = np.random.default_rng(seed)
    subject, expression, level = (
        rng.integers(4, size=size),
        rng.integers(3, size=size),
        rng.uniform(size=size),
    )
    level[::4] = 0
    neutral = sheet + people[subject]
    return {
        "vertices": (neutral + level[:, None, None] * motions[expression]).astype(np.float32),
        "neutral": neutral.astype(np.float32),
        "expression": expression.astype(np.int32),
        "level": level.astype(np.float32),
        "mask": np.ones(size, np.float32),
    }


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """These programs run for milliseconds and compile for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def tiny():
    return SimpleNamespace(
        paper=PAPER_LIKE,
        demo=DEMO_LIKE,
        config=make_config,
        constants=make_constants,
        learner=make_learner,
        batch=make_batch,
    )
