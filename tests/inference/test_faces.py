import jax
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.faces import codec_of
from facedis_jax.learners import FaceConstants, IbVaeConfig, face_functions, ib_vae_learner
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig

ENCODER = PctConfig(
    PointFeatureConfig(centres=(6, 4), neighbours=3, start="foremost"),
    embedding=4,
    width=8,
    attention_layers=1,
    global_features=8,
    normalisation="batch",
)
MODEL = FaceVaeConfig(ENCODER, head=(8,), identity_latents=2, expression_latents=3, decoder_hidden=8)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def trained(request, face_set):
    config = IbVaeConfig(model=MODEL, conditional=request.param)
    vertices = face_set.train.vertices
    constants = FaceConstants(
        vertices.mean(0), 100.0, len(vertices), len(face_set.expressions), np.zeros(0), np.ones(0)
    )
    learner = ib_vae_learner(config, constants, steps_per_epoch=1, num_steps=1)
    batch = {"vertices": vertices[:1], "expression": np.zeros(1, np.int32), "level": np.zeros(1, np.float32)}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    return config, constants, state, codec_of(config, constants, state, face_set.expressions)


def test_codes_and_faces_are_the_models_in_batches_of_any_size(face_set, trained):
    config, constants, state, codec = trained
    functions = face_functions(config, constants)
    faces = face_set.train.take(np.arange(37))
    labels = codec.labels(faces.expression, faces.level)

    @jax.jit
    def both_ways(vertices, labels):
        posterior = functions.encode(state, vertices, jax.vmap(functions.features)(vertices), labels)
        mean = posterior.mean
        return posterior, functions.decode(state, mean[:, :2], mean[:, 2:], labels)

    expected, expected_faces = both_ways(faces.vertices, labels)
    mean, logvar = codec.encode(faces.vertices, labels)
    full, neutral = codec.decode(mean[:, :2], mean[:, 2:], labels)
    assert all(isinstance(x, np.ndarray) for x in (mean, logvar, full, neutral))
    np.testing.assert_allclose(mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(logvar, expected.logvar, atol=1e-5)
    np.testing.assert_allclose(full, expected_faces[0], atol=1e-3)
    np.testing.assert_allclose(neutral, expected_faces[1], atol=1e-3)

    for rows in (slice(36, 37), slice(5, 37)):
        some = codec.encode(faces.vertices[rows], None if labels is None else labels[rows])
        np.testing.assert_allclose(some[0], mean[rows], atol=1e-5, rtol=0)
        np.testing.assert_allclose(some[1], logvar[rows], atol=1e-5, rtol=0)


def test_labels_are_one_hot_times_level(trained, face_set):
    codec, names = trained[-1], face_set.expressions
    labels = codec.labels(np.array([2, 0]), np.array([0.25, 1.0]))
    assert (codec.identity_latents, codec.expression_latents) == (2, 3)
    if not trained[0].conditional:
        assert labels is None
        assert codec.label_names == ()
        return
    expected = np.zeros((2, len(names)))
    expected[0, 2], expected[1, 0] = 0.25, 1
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.float32
    assert list(codec.label_names) == list(names)


def test_the_vertices_as_points_have_the_codes_of_the_mesh(trained, face_set):
    codec = trained[-1]
    faces = face_set.train.take(np.arange(3))
    labels = codec.labels(faces.expression, faces.level)
    mean, logvar = codec.encode_points(list(faces.vertices), labels)
    expected = codec.encode(faces.vertices, labels)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(logvar, expected[1], atol=1e-5)


def test_fewer_points_than_centres_are_refused(trained, face_set):
    codec = trained[-1]
    labels = codec.labels(np.zeros(1, int), np.zeros(1))
    with pytest.raises(InputError, match="points: expected 6 or more of a face, found 5"):
        codec.encode_points([face_set.train.vertices[0, :5]], labels)
