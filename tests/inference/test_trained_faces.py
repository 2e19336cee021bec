from dataclasses import fields, replace

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import FaceConstants
from facedis_jax.models.surfaces import CloudConfig
from facedis_jax.runs.faces import trained_faces

RNG = np.random.default_rng(0)
FACES = TrainedFaces(
    constants=FaceConstants(
        mean_face=RNG.normal(size=(5, 3)).astype(np.float32),
        scale=103.7,
        num_faces=6,
        num_expressions=2,
        moment_mean=RNG.normal(size=26).astype(np.float32),
        moment_deviation=0.5,
        triangles=np.int32([[0, 1, 2], [2, 3, 4]]),
        clouds=CloudConfig(points=1000, least=1),
        estimate=RNG.normal(size=(27, 8)).astype(np.float32),
    ),
    triangles=np.int32([[0, 1, 2], [2, 3, 4]]),
    subjects=["Ann", "Örn", "李"],
    expressions=["bare_teeth", "mouth side"],
    neutrals=RNG.normal(size=(3, 5, 3)).astype(np.float32),
    codes=RNG.normal(size=(6, 8)).astype(np.float32),
    subject=np.int32([0, 0, 1, 1, 2, 2]),
    expression=np.int32([0, 1, 0, 1, 0, 1]),
    level=RNG.uniform(size=6).astype(np.float32),
)


@pytest.fixture
def saved(tmp_path):
    FACES.save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def test_what_is_saved_is_loaded(saved):
    loaded = TrainedFaces.load(saved)
    for record, original in ((loaded, FACES), (loaded.constants, FACES.constants)):
        for field in fields(record):
            if field.name not in ("constants", "clouds"):
                found, expected = getattr(record, field.name), getattr(original, field.name)
                np.testing.assert_array_equal(found, expected, err_msg=field.name)
                assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    assert [path.name for path in saved.parent.iterdir()] == ["model.npz"]


def test_a_failed_save_leaves_the_last_one_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="disk full"):
        FACES.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.npz"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the model file of a finished run, found nothing there"):
        TrainedFaces.load(tmp_path / "model.npz")


def _truncated(path):
    path.write_bytes(path.read_bytes()[:-300])


def _flipped(path):
    data = bytearray(path.read_bytes())
    data[120:160] = bytes(40)
    path.write_bytes(data)


def _one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _lacking(path):
    np.savez(path, mean_face=np.zeros(3))


def _pickled(path):
    np.savez(path, expressions=np.array([{}], dtype=object))


@pytest.mark.parametrize(
    "spoil",
    [
        _truncated,
        _flipped,
        _one_array,
        _lacking,
        _pickled,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a model"),
    ],
)
def test_anything_else_is_refused_in_one_line(saved, spoil):
    spoil(saved)
    expected = "expressions as a plain array" if spoil is _pickled else "the model file of a finished run"
    with pytest.raises(InputError, match=rf"model\.npz: expected {expected}, found ."):
        TrainedFaces.load(saved)


def test_expressions_are_edited_by_true_levels_and_labels_are_those_of_training(face_set, codec, named_codec):
    """Noise makes the measured levels of weak expressions."""
    constants = FACES.constants
    true = face_set.truth.factors["level"][face_set.train.index, 0]
    np.testing.assert_array_equal(trained_faces(codec, constants, face_set).level, true)
    np.testing.assert_array_equal(trained_faces(named_codec, constants, face_set).level, face_set.train.level)
    recorded = replace(face_set, truth=None)
    np.testing.assert_array_equal(trained_faces(codec, constants, recorded).level, face_set.train.level)
