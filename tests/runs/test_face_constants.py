"""What a learner is given of its training set, and the linear model as which it begins."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.evaluation.baselines import fit_linear_model
from facedis_jax.geometry import sample_surface
from facedis_jax.learners import IbVaeConfig, face_functions, ib_vae_learner
from facedis_jax.learners.recombination import RecombinationConfig
from facedis_jax.models.surfaces import Cloud, CloudConfig, SurfaceConfig
from facedis_jax.runs.face_constants import check_faces, face_constants
from tests.small_runs import MODEL, OPTIMISER

CLOUDS = CloudConfig(points=600, least=300, noise=0.1, hole=5.0, tilt=0, shift=0)
SURFACE = replace(
    MODEL, surface=SurfaceConfig(anchors=40, components=(4, 8)), linear=True, identity_latents=2, expression_latents=6
)
LEARNER = IbVaeConfig(
    model=replace(SURFACE, encoder=replace(MODEL.encoder, features=replace(MODEL.encoder.features, harmonics=0))),
    recombination=RecombinationConfig(share=0.5, new_people=0.0, pairs=0.5),
    optimiser=OPTIMISER,
)


@pytest.fixture(scope="module")
def known(face_set):
    return face_constants(face_set, LEARNER, CLOUDS)


@pytest.fixture(scope="module")
def constants(known):
    return known[0]


@pytest.fixture(scope="module")
def begun(face_set, known):
    """The learner of those constants, and its state before the first step."""
    learner = ib_vae_learner(LEARNER, *known, steps_per_epoch=10, num_steps=100)
    train = face_set.train.take(np.arange(8))
    batch = {name: getattr(train, name) for name in ("vertices", "subject", "expression", "level")}
    batch |= {"neutral": face_set.neutrals[train.subject]}
    return learner, jax.jit(learner.init)(jax.random.key(0), batch), batch


def test_the_decoders_begin_as_a_linear_model(face_set, constants, begun):
    train = face_set.train
    model = fit_linear_model(
        train.vertices, train.subject, face_set.neutrals, identity_components=2, expression_components=6
    )
    codes = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    full, neutral = face_functions(LEARNER, constants).decode(begun[1], codes[:, :2], codes[:, 2:], None)
    expected = model.codec()
    expected_full, expected_neutral = expected.decode(codes[:, :2], codes[:, 2:], None)
    np.testing.assert_allclose(neutral, expected_neutral, atol=2e-3)
    np.testing.assert_allclose(full, expected_full, atol=2e-3)


@pytest.mark.thorough
def test_the_encoder_begins_with_estimates_of_the_linear_codes(face_set, known, begun):
    constants, start = known
    functions = face_functions(LEARNER, constants)
    vertices = jnp.asarray(face_set.train.vertices)
    features = jax.jit(jax.vmap(functions.features))(vertices)
    mean = np.asarray(functions.encode(begun[1], vertices, features, None).mean)
    neutrals = face_set.neutrals - start.linear.neutral
    basis = start.linear.basis[:2].reshape(2, -1)
    codes = np.linalg.lstsq(basis.T, neutrals.reshape(len(neutrals), -1).T, rcond=None)[0].T
    assert np.abs(mean[:, :2] - codes[face_set.train.subject]).mean() < 0.25 * np.abs(codes).mean()


def test_the_same_surface_gives_the_same_codes_by_any_points(face_set, constants, begun):
    functions, triangles = face_functions(LEARNER, constants), jnp.asarray(face_set.triangles)
    vertices = jnp.asarray(face_set.train.vertices[:6])
    of_mesh = jax.jit(jax.vmap(functions.features))(vertices)
    keys = jax.random.split(jax.random.key(0), 6)
    points = jax.jit(jax.vmap(lambda key, face: sample_surface(key, face, triangles, 3000)))(keys, vertices)
    of_points = jax.jit(jax.vmap(functions.features_of_cloud))(Cloud(points, jnp.ones((6, 3000))))
    encode = jax.jit(lambda features: functions.encode(begun[1], vertices, features, None).mean)
    mesh, random = (np.asarray(encode(features)) for features in (of_mesh, of_points))
    assert np.abs(mesh - random).max() < 0.2 * mesh.std()


def test_a_step_learns_from_clouds_and_recombined_people(begun):
    learner, state, batch = begun
    stepped, metrics = jax.jit(learner.step)(state, batch)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((stepped.params, metrics)))
    again, same = jax.jit(learner.step)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, metrics, same)
    # Other clouds and people in the next step, from the same batch.
    _, later = jax.jit(learner.step)(again.replace(params=state.params), batch)
    assert metrics["reconstruction_mm"].sum != later["reconstruction_mm"].sum


def test_a_linear_estimate_of_nothing_is_refused(face_set):
    features = replace(MODEL.encoder.features, harmonics=0)
    blind = replace(MODEL, encoder=replace(MODEL.encoder, features=features), linear=True)
    with pytest.raises(InputError, match="sees surfaces, or moments"):
        check_faces(face_set, replace(LEARNER, model=blind), CloudConfig())


def test_fewer_points_than_centres_are_refused(face_set):
    centres = replace(MODEL.encoder.features, centres=(50, 6))
    many = replace(LEARNER.model, encoder=replace(LEARNER.model.encoder, features=centres))
    learner = replace(LEARNER, model=many)
    with pytest.raises(InputError, match=r"surface.anchors: expected 50 or more, the encoder's centres, found 40"):
        check_faces(face_set, learner, CLOUDS)
    on_points = replace(learner, model=replace(many, surface=SurfaceConfig(), linear=False))
    check_faces(face_set, on_points, CLOUDS)
    with pytest.raises(InputError, match=r"clouds.points: expected 50 or more"):
        check_faces(face_set, on_points, replace(CLOUDS, points=49, least=49))
    with pytest.raises(InputError, match=r"vertices: expected 50 or more.*found 42"):
        check_faces(face_set, on_points, CloudConfig())


def test_a_person_with_a_single_face_cannot_be_paired(face_set):
    subject = face_set.train.subject
    rows = np.flatnonzero(subject != 1).tolist() + np.flatnonzero(subject == 1)[:1].tolist()
    lonely = replace(face_set, train=face_set.train.take(np.array(rows)))
    with pytest.raises(InputError, match=r"recombination.pairs: expected two .* found one of subject_02"):
        check_faces(lonely, LEARNER, CLOUDS)
    check_faces(lonely, replace(LEARNER, recombination=RecombinationConfig(share=0.5)), CLOUDS)


def test_the_paper_s_constants_hold_no_more_than_it_needs(face_set):
    constants, start = face_constants(face_set, IbVaeConfig(), CloudConfig())
    assert constants.moment_mean.shape == (0,)
    assert constants.triangles is constants.estimate is constants.surface is start.linear is None
    np.testing.assert_allclose(constants.mean_face, face_set.train.vertices.mean(0, dtype=np.float64), atol=1e-4)


def test_neutrals_may_be_decoded_without_a_linear_layer(known, begun):
    learner = replace(LEARNER, model=replace(LEARNER.model, linear_identity=False))
    state = jax.jit(ib_vae_learner(learner, *known, steps_per_epoch=10, num_steps=100).init)(
        jax.random.key(0), begun[2]
    )
    assert "linear" not in state.params["identity_decoder"]
    np.testing.assert_array_equal(
        state.params["full_decoder"]["linear"]["kernel"], begun[1].params["full_decoder"]["linear"]["kernel"]
    )


def test_a_mesh_of_few_triangles_has_as_many_places(face_set):
    surface = SurfaceConfig(anchors=384, components=(4, 8))
    model = replace(LEARNER.model, surface=surface, linear=False)
    known, _ = face_constants(face_set, replace(LEARNER, model=model), CLOUDS)
    features = jax.jit(face_functions(replace(LEARNER, model=model), known).features)(face_set.train.vertices[0])
    assert features.points.shape == (len(face_set.triangles), 3)
