"""A few made-up people and a linear model of them, standing in for a trained one."""

import numpy as np
import pytest

from facedis_jax.data.faces.face_set import FaceSet
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig, synthetic_coma
from facedis_jax.evaluation.baselines import LinearModel, PcaModel, fit_linear_model
from facedis_jax.inference.faces import FaceCodec

UNITS = ("jawOpen", "mouthSmile_L", "mouthSmile_R", "mouthPucker", "browInnerUp", "mouthLeft", "mouthRight")
UNITS += ("mouthUpperUp", "mouthShrugLower", "mouthFrown", "mouthDimple", "mouthRollUpper")
LOGVAR = -6.0


def made_up_face_model() -> FaceModel:
    """A face of 42 vertices, in a grid of 7 by 6 that bulges along +z, with random identities and expressions."""
    rng = np.random.default_rng(0)
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-70, 70, 6), np.linspace(-90, 90, 7)))
    neutral = np.stack([x, y, 60 - (x**2 + y**2) / 150], axis=1)
    corner = (np.arange(6)[:, None] * 6 + np.arange(5)).ravel()
    right, up = corner + 1, corner + 6
    triangles = np.concatenate([np.stack([corner, right, up], 1), np.stack([right, up + 1, up], 1)])
    return FaceModel(
        name="made-up face",
        neutral=neutral.astype(np.float32),
        identity=rng.normal(scale=4, size=(3, 42, 3)).astype(np.float32),
        expression=rng.normal(scale=6, size=(len(UNITS), 42, 3)).astype(np.float32),
        expression_names=UNITS,
        triangles=triangles.astype(np.int32),
    )


@pytest.fixture(scope="session")
def face_set() -> FaceSet:
    """Three people of 42 vertices in CoMA's arrangement."""
    return synthetic_coma(made_up_face_model(), SyntheticFaceConfig(num_subjects=3, frames=(6, 9)))


@pytest.fixture(scope="session")
def codec(face_set: FaceSet) -> FaceCodec:
    """The linear model of 2 + 3 components with posteriors of one width."""
    model = fit_linear(face_set)

    def encode(vertices, labels):
        mean = model.encode(vertices)
        return mean, np.full_like(mean, LOGVAR)

    def decode(identity, expression, labels):
        neutral = model.identity.mean + _offsets(model.identity, identity)
        return neutral + model.expression.mean + _offsets(model.expression, expression), neutral

    return FaceCodec(encode, decode, identity_latents=2, expression_latents=3)


@pytest.fixture(scope="session")
def named_codec(face_set: FaceSet, codec: FaceCodec) -> FaceCodec:
    """A conditional model: labels bring mean offsets, and one of two expression latents has collapsed."""
    model, train = fit_linear(face_set), face_set.train
    offsets = train.vertices - face_set.neutrals[train.subject]
    offsets = np.stack(
        [offsets[(train.expression == e) & (train.level > 0.5)].mean(axis=0) for e in range(len(face_set.expressions))]
    )

    def encode(vertices, labels):
        assert labels.shape == (len(vertices), len(face_set.expressions))
        mean = model.encode(vertices - np.tensordot(labels, offsets, axes=1))[:, :4]
        mean[:, 3] = 0
        return mean, np.float32([LOGVAR, LOGVAR, LOGVAR, 0]) * np.ones_like(mean)

    def decode(identity, expression, labels):
        neutral = model.identity.mean + _offsets(model.identity, identity)
        first = expression * np.float32([1, 0])
        return neutral + np.tensordot(labels, offsets, axes=1) + _offsets(model.expression, first), neutral

    return FaceCodec(encode, decode, 2, 2, label_names=face_set.expressions)


def fit_linear(face_set: FaceSet) -> LinearModel:
    train = face_set.train
    return fit_linear_model(
        train.vertices, train.subject, face_set.neutrals, identity_components=2, expression_components=3
    )


def _offsets(part: PcaModel, codes: np.ndarray) -> np.ndarray:
    used = codes.shape[1]
    return np.tensordot(codes * part.deviations[:used], part.directions[:used], axes=1).astype(np.float32)
