import numpy as np
import pytest

from facedis_jax.evaluation.faces import predict
from facedis_jax.reports.faces import figures as face_figures
from facedis_jax.reports.faces import named_expressions as named_figures
from facedis_jax.reports.faces.figures import Scene
from tests.pages import cells


@pytest.fixture(scope="module")
def named_scene(named_codec, face_set):
    return Scene.of(named_codec, face_set, predict(named_codec, face_set.test, face_set.neutrals))


def test_named_levels_begin_at_the_same_face_and_part(named_scene):
    person = int(face_figures.people(named_scene.true, 1)[0])
    images = cells(named_figures.named_levels(named_scene, person, np.array([0, 7]), steps=3))
    np.testing.assert_array_equal(images[0], images[3])
    assert not np.array_equal(images[2], images[5])
    level_1 = cells(named_figures.named_expressions(named_scene, np.array([person]), np.array([0, 7])))
    np.testing.assert_array_equal(level_1[0], images[2])
    np.testing.assert_array_equal(level_1[1], images[5])


def test_the_latent_that_has_not_collapsed_is_swept(named_scene):
    assert named_figures.free_latent(named_scene) == 0
    person = int(face_figures.people(named_scene.true, 1)[0])
    first, last = cells(named_figures.free_latent_sweep(named_scene, person, np.array([0]), steps=2))
    assert not np.array_equal(first, last)
