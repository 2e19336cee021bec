import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from facedis_jax.evaluation.baselines import fit_linear_model, fit_pca
from facedis_jax.metrics import disentanglement_error


def linear_faces(seed=0, subjects=6, frames=120, vertices=40, noise=0.0):
    """Faces made by an identity + expression linear model with 3 and 2 components, in mm, and their truth."""
    rng = np.random.default_rng(seed)
    base = 50 * rng.normal(size=(vertices, 3))
    identity, expression = 5 * rng.normal(size=(3, vertices, 3)), 2 * rng.normal(size=(2, vertices, 3))
    neutrals = base + np.tensordot(rng.normal(size=(subjects, 3)), identity, axes=1)
    subject = np.arange(frames) % subjects
    faces = neutrals[subject] + np.tensordot(rng.uniform(size=(frames, 2)), expression, axes=1)
    faces += noise * rng.normal(size=faces.shape)
    return faces.astype(np.float32), subject, neutrals.astype(np.float32)


def test_pca_is_numpys_svd():
    faces, _, _ = linear_faces(noise=0.5)
    train, test = faces[:90].reshape(90, -1).astype(np.float64), faces[90:].reshape(30, -1)
    _, values, directions = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    expected = train.mean(axis=0) + (test - train.mean(axis=0)) @ directions[:4].T @ directions[:4]
    model = fit_pca(faces[:90], 4)
    np.testing.assert_allclose(model.reconstruct(faces[90:]).reshape(30, -1), expected, atol=2e-3)
    np.testing.assert_allclose(model.deviations, values[:4] / np.sqrt(89), rtol=1e-4)
    assert model.reconstruct(faces).dtype == np.float32


def test_pca_codes_rebuild_the_face_and_more_components_fit_better():
    faces, _, _ = linear_faces(noise=0.1)
    errors = []
    for components in (1, 3, 5):
        model = fit_pca(faces[:90], components)
        np.testing.assert_allclose(model.encode(model.decode(np.eye(components))), np.eye(components), atol=1e-4)
        errors.append(np.abs(model.reconstruct(faces[90:]) - faces[90:]).mean())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


def test_pca_has_no_more_components_than_the_faces_allow():
    faces, _, _ = linear_faces()
    assert len(fit_pca(faces[:4], 8).directions) == 3
    with pytest.raises(ValueError, match="got 1"):
        fit_pca(faces[:1], 2)


def fit(noise, **options):
    faces, subject, neutrals = linear_faces(noise=noise)
    sizes = {"identity_components": 3, "expression_components": 2} | options
    return faces, subject, neutrals, fit_linear_model(faces[:90], subject[:90], neutrals, **sizes)


def test_linear_model_recovers_linear_faces_and_their_neutrals():
    faces, subject, neutrals, model = fit(noise=0.0)
    held_out = faces[90:]
    np.testing.assert_allclose(model.reconstruct(held_out), held_out, atol=5e-3)
    np.testing.assert_allclose(model.neutralise(held_out), neutrals[subject[90:]], atol=5e-2)
    assert disentanglement_error(model.neutralise(held_out), subject[90:]).max() < 5e-3


def test_linear_model_codes_are_the_most_probable_ones():
    faces, _, _, model = fit(noise=1.0)
    assert model.noise == pytest.approx(1.0, rel=0.1)
    parts = (model.identity, model.expression)
    basis = np.concatenate([p.directions.reshape(len(p.directions), -1) * p.deviations[:, None] for p in parts])
    rest = (faces[90:] - model.identity.mean - model.expression.mean).reshape(30, -1)
    # The normal prior as further rows of an ordinary least-squares problem.
    rows = np.concatenate([basis.T.astype(np.float64), np.sqrt(model.noise) * np.eye(5)])
    right = np.concatenate([rest.T, np.zeros([5, 30])])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0].T
    np.testing.assert_allclose(model.encode(faces[90:]), expected, atol=1e-4)


def test_linear_model_survives_more_directions_than_the_data_have():
    faces, _, _, model = fit(noise=0.0, identity_components=9, expression_components=9)
    assert len(model.identity.directions) == 5
    np.testing.assert_allclose(model.reconstruct(faces[90:]), faces[90:], atol=5e-3)


def test_subjects_that_are_not_trained_on_are_not_looked_at():
    faces, subject, neutrals = linear_faces()
    neutrals[5] = np.nan
    seen = subject != 5
    model = fit_linear_model(faces[seen], subject[seen], neutrals, identity_components=3, expression_components=2)
    assert np.isfinite(model.reconstruct(faces)).all()


@pytest.mark.parametrize(("shape", "components"), [((40, 30, 3), 6), ((300, 20, 3), 4), ((300, 20, 3), 30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pca_is_that_of_scikit_learn_to_the_last_bit(shape, components, dtype):
    faces = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 9, shape[1])[:, None]
    faces = faces.astype(dtype)
    with threadpool_limits(1, "blas"):
        expected = PCA(components, svd_solver="randomized", random_state=3).fit(faces.reshape(len(faces), -1))
    found = fit_pca(faces, components, seed=3)
    assert found.directions.dtype == dtype
    np.testing.assert_array_equal(found.mean.ravel(), expected.mean_)
    np.testing.assert_array_equal(found.directions.reshape(components, -1), expected.components_)
    np.testing.assert_array_equal(found.deviations, np.sqrt(expected.explained_variance_))
