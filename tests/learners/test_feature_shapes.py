from dataclasses import replace

import jax
import numpy as np
import pytest

from facedis_jax.inference.example import example_face_model
from facedis_jax.learners import face_functions, feature_shapes
from facedis_jax.models.surface_fit import linear_surface
from facedis_jax.models.surfaces import CloudConfig, SurfaceConfig

MODEL = example_face_model()
CODES, ANCHORS = 5, 20


def variant(name):
    """Settings and constants of the example model with another encoder."""
    config, constants = MODEL.config, replace(MODEL.trained.constants, triangles=MODEL.triangles)
    if name == "clouds":
        return config, replace(constants, clouds=CloudConfig(points=50, least=30))
    if name == "linear":
        estimate = np.zeros([len(constants.moment_mean) + 1, CODES], np.float32)
        return replace(config, model=replace(config.model, linear=True)), replace(constants, estimate=estimate)
    if name == "surface":
        face = constants.mean_face
        basis = np.random.default_rng(0).normal(size=(7, *face.shape))
        surface = linear_surface(face, basis, MODEL.triangles, ANCHORS)
        parts = {"mean": surface.mean, "basis": surface.basis, "places": surface.places, "near": surface.near}
        constants = replace(
            constants,
            moment_mean=np.zeros(7, np.float32),
            triangles=surface.triangles,
            **{f"surface_{part}": array for part, array in parts.items()},
        )
        return replace(config, model=replace(config.model, surface=SurfaceConfig(anchors=ANCHORS))), constants
    return config, constants


@pytest.mark.parametrize("name", ["plain", "clouds", "linear", "surface"])
def test_shapes_are_those_of_the_features(name):
    config, constants = variant(name)
    expected = jax.eval_shape(face_functions(config, constants).features, constants.mean_face)
    found = feature_shapes(config, constants)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centres": (37, 4)}, "37 and 4 of 36 points"),
        ({"centres": (8, 9)}, "8 and 9"),
        ({"centres": (8, 0)}, "8 and 0"),
        ({"neighbours": 9}, "groups of 9 around 8"),
        ({"harmonics": 2}, "moments .26. where there are 124"),
    ],
)
def test_groups_that_points_do_not_have_are_refused(change, message):
    config = MODEL.config
    encoder = replace(config.model.encoder, features=replace(config.model.encoder.features, **change))
    config = replace(config, model=replace(config.model, encoder=encoder))
    with pytest.raises(ValueError, match=message):
        feature_shapes(config, MODEL.trained.constants)
