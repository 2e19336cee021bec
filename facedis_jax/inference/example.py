"""A tiny model of faces that has learned nothing, for examples in docstrings and for tests."""

import jax
import numpy as np

from facedis_jax.inference.face_model import FaceParams, TrainedFaceModel
from facedis_jax.inference.faces import codec_of
from facedis_jax.inference.model_files import Origin
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import FaceConstants, IbVaeConfig, ib_vae_learner
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig

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
    state = jax.device_get(jax.jit(learner.init)(jax.random.key(seed), batch))
    codec = codec_of(config, constants, state, _EXPRESSIONS)
    trained = TrainedFaces(
        constants=constants,
        triangles=triangles.astype(np.int32),
        subjects=("ann", "ben", "cem", "dan"),
        expressions=_EXPRESSIONS,
        neutrals=neutrals,
        codes=codec.encode(faces, codec.labels(expression, level))[0],
        subject=subject.astype(np.int32),
        expression=expression.astype(np.int32),
        level=level.astype(np.float32),
    )
    origin = Origin("example", "made-up faces", "", "CC0-1.0", "none", seed, "")
    return TrainedFaceModel.of(config, FaceParams(state.params, state.batch_stats), trained, origin)
