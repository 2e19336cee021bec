from dataclasses import fields, replace

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.model_files import ModelFile
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import FaceConstants
from facedis_jax.models.surfaces import CloudConfig
from facedis_jax.runs.faces import trained_faces


def test_expressions_are_edited_by_true_levels_and_labels_are_those_of_training(face_set, codec, named_codec):
    """Noise makes the measured levels of weak expressions."""
    constants = FaceConstants(face_set.neutrals[0], 260.0, len(face_set.train), 12, np.zeros(0, np.float32), 1.0)
    true = face_set.truth.factors["level"][face_set.train.index, 0]
    np.testing.assert_array_equal(trained_faces(codec, constants, face_set).level, true)
    np.testing.assert_array_equal(trained_faces(named_codec, constants, face_set).level, face_set.train.level)
    recorded = replace(face_set, truth=None)
    np.testing.assert_array_equal(trained_faces(codec, constants, recorded).level, face_set.train.level)


def with_surfaces():
    """Faces of a model that draws clouds, sees surfaces and begins as a linear one."""
    trained, rng = example_face_model().trained, np.random.default_rng(0)
    arrays = {
        "estimate": rng.normal(size=(27, 5)),
        "surface_mean": rng.normal(size=(36, 3)),
        "surface_basis": rng.normal(size=(26, 36, 3)),
    }
    constants = replace(
        trained.constants,
        triangles=trained.triangles,
        clouds=CloudConfig(points=1000, noise=0.25),
        surface_places=np.array([0, 7, 20], np.int32),
        surface_near=rng.integers(50, size=(3, 9), dtype=np.int32),
        **{name: array.astype(np.float32) for name, array in arrays.items()},
    )
    return replace(trained, constants=constants)


def test_what_a_model_knows_of_surfaces_is_kept(tmp_path):
    trained = with_surfaces()
    file = ModelFile(tmp_path / "a.safetensors", "faces", example_face_model().origin, trained.card(), trained.arrays())
    file.write()
    found = TrainedFaces.from_file(ModelFile.read(file.path), 5).constants
    for field in fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(trained.constants, field.name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triangles": np.full((3, 3), 36, np.int32)}, "triangles beyond 36"),
        ({"triangles": np.zeros((3, 4), np.int32)}, "constants/triangles of another shape"),
        ({"estimate": np.zeros((26, 5), np.float32)}, "constants/estimate of another shape"),
        ({"surface_basis": np.zeros((26, 35, 3), np.float32)}, "constants/surface_basis of another shape"),
        ({"surface_basis": np.zeros((25, 36, 3), np.float32)}, "constants/surface_basis of another shape"),
        ({"surface_near": np.full((3, 9), 50, np.int32)}, "surface_near beyond 50 triangles"),
        ({"surface_places": np.zeros(4, np.int32)}, "constants/surface_near of another shape"),
        ({"surface_mean": None}, "no constants/surface_mean"),
        ({"clouds": CloudConfig(points=10**9)}, "clouds of 1000000000 points"),
    ],
)
def test_surfaces_that_do_not_belong_together_are_refused(tmp_path, changes, message):
    trained = with_surfaces()
    trained = replace(trained, constants=replace(trained.constants, **changes))
    file = ModelFile(tmp_path / "a.safetensors", "faces", example_face_model().origin, trained.card(), trained.arrays())
    with pytest.raises(InputError, match=message):
        TrainedFaces.from_file(file, 5)
