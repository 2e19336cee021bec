"""Tiny models that have learned nothing, for examples in docstrings and for tests.

Each is made once: whoever asks again gets the same one, with what is compiled of it.
"""

from functools import cache
from typing import Any

import jax
import numpy as np

from facedis_jax.inference.face_model import FaceParams, TrainedFaceModel
from facedis_jax.inference.generator_models import TrainedImageModel, TrainedVideoModel
from facedis_jax.inference.model_files import Origin
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import (
    AbpConfig,
    AbpVideoConfig,
    FaceConstants,
    IbVaeConfig,
    LangevinConfig,
    abp_functions,
    abp_video_functions,
    ib_vae_learner,
)
from facedis_jax.models import (
    DynamicConfig,
    DynamicLatents,
    FaceVaeConfig,
    GeneratorConfig,
    Latents,
    PctConfig,
    PointFeatureConfig,
    Trajectory,
)

_ENCODER = PctConfig(
    PointFeatureConfig(centres=(8, 4), neighbours=3, start="foremost", harmonics=1),
    embedding=4,
    width=8,
    attention_layers=1,
    global_features=8,
    normalisation="layer",
    moment_features=8,
)
_MODEL = FaceVaeConfig(_ENCODER, head=(8,), identity_latents=3, expression_latents=2, decoder_hidden=8)
_EXPRESSIONS = ("jaw_open", "smile")
_SIDE = 6


@cache
def example_face_model(seed: int = 0, *, conditional: bool = False) -> TrainedFaceModel:
    """A model with random weights of four people in two expressions, 36 vertices each.

    Args:
      seed: of the weights and of the people.
      conditional: whether it takes labels.
    """
    rng = np.random.default_rng(seed)
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-70, 70, _SIDE), np.linspace(-90, 90, _SIDE)))
    mean_face = np.stack([x, y, 60 - (x**2 + y**2) / 150], axis=1).astype(np.float32)
    corner = (np.arange(_SIDE - 1)[:, None] * _SIDE + np.arange(_SIDE - 1)).ravel()
    right, up = corner + 1, corner + _SIDE
    triangles = np.concatenate([np.stack([corner, right, up], 1), np.stack([right, up + 1, up], 1)])
    neutrals = (mean_face + rng.normal(scale=3, size=(4, *mean_face.shape))).astype(np.float32)
    subject, expression, level = (x.ravel() for x in np.meshgrid(range(4), range(2), [0.0, 1.0], indexing="ij"))
    moves = rng.normal(scale=4, size=(2, *mean_face.shape))
    faces = (neutrals[subject] + level[:, None, None] * moves[expression]).astype(np.float32)

    config = IbVaeConfig(model=_MODEL, conditional=conditional)
    constants = FaceConstants(mean_face, 260.0, len(faces), len(_EXPRESSIONS), np.zeros(26, np.float32), 1.0)
    learner = ib_vae_learner(config, constants, steps_per_epoch=1.0, num_steps=1)
    batch = {"vertices": faces[:1], "expression": np.zeros(1, np.int32), "level": np.zeros(1, np.float32)}
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    trained = TrainedFaces(
        constants=constants,
        triangles=triangles.astype(np.int32),
        subjects=("ann", "ben", "cem", "dan"),
        expressions=_EXPRESSIONS,
        neutrals=neutrals,
        codes=rng.normal(size=(len(faces), _MODEL.identity_latents + _MODEL.expression_latents)).astype(np.float32),
        subject=subject.astype(np.int32),
        expression=expression.astype(np.int32),
        level=level.astype(np.float32),
    )
    params = FaceParams(_random(rng, state.params), _random(rng, state.batch_stats))
    return TrainedFaceModel.of(config, params, trained, _origin(seed))


@cache
def example_image_model(seed: int = 0) -> TrainedImageModel:
    """A deformable generator of images of 8 x 8 pixels with random weights."""
    model = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4)
    config = AbpConfig(model, LangevinConfig(num_steps=1, inference_steps=2))
    rng = np.random.default_rng(seed)
    params = _random(rng, jax.eval_shape(abp_functions(config).init, jax.random.key(0)))
    codes = Latents(*(rng.normal(size=(6, length)) for length in (3, 4)))
    return TrainedImageModel.of(config, params, _origin(seed), codes=codes)


@cache
def example_video_model(seed: int = 0) -> TrainedVideoModel:
    """A dynamic generator of clips of 4 frames of 16 x 16 pixels with random weights."""
    config = AbpVideoConfig(
        DynamicConfig(
            size=16,
            appearance_latents=3,
            geometry_latents=4,
            appearance_noise=0,
            geometry_noise=2,
            appearance_filters=16,
            geometry_filters=16,
        ),
        LangevinConfig(num_steps=1, inference_steps=2),
    )
    rng = np.random.default_rng(seed)
    params = _random(rng, jax.eval_shape(abp_video_functions(config).init, jax.random.key(0)))
    geometry = Trajectory(rng.normal(size=(5, 4)), rng.normal(size=(5, 3, 2)))
    codes = DynamicLatents(Trajectory(rng.normal(size=(5, 3)), None), geometry)
    return TrainedVideoModel.of(config, params, _origin(seed), codes=codes, frames=4)


def _origin(seed: int) -> Origin:
    return Origin("example", "made up", "", "CC0-1.0", "none", seed, "")


def _random(rng: np.random.Generator, shapes: Any) -> Any:
    """Arrays of these shapes, small enough for networks to be finite."""
    return jax.tree.map(lambda leaf: rng.normal(scale=0.2, size=leaf.shape).astype(leaf.dtype), shapes)
