import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.faces import codec_of
from facedis_jax.runs.finished import load_run
from tests.small_runs import small_config, train


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_face_set):
    """A run that is finished, though it has learned next to nothing."""
    return train(tmp_path_factory.mktemp("run"), small_face_set, small_config(conditional=False, epochs=2.0))


def test_a_run_is_read_back_as_it_was_trained(run):
    before = contents(run.path)
    codec, trained = load_run(run.path)
    expected = codec_of(run.config.learner, trained.constants, run.state, run.face_set.expressions)
    faces = run.face_set.test.vertices[:3]
    labels = codec.labels(run.face_set.test.expression[:3], run.face_set.test.level[:3])
    assert (labels is not None) == run.config.learner.conditional
    for got, wanted in zip(codec.encode(faces, labels), expected.encode(faces, labels), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(trained.triangles, run.face_set.triangles)
    assert tuple(trained.expressions) == tuple(run.face_set.expressions)
    assert contents(run.path) == before


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run.path, tmp_path / "run"))


def edit_config(run, change):
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no config.json"),
        (lambda run: (run / "config.json").write_text("["), "JSON"),
        (lambda run: (run / "config.json").write_text("[]"), "IB-VAE"),
        (lambda run: (run / "model.npz").unlink(), "model file of a finished run"),
        (lambda run: (run / "model.npz").write_bytes(b"no archive"), "model file of a finished run"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "no such folder"),
        (
            lambda run: edit_config(run, lambda c: c.update(experiment="abp", config={"x": 1})),
            "found one of abp",
        ),
        (
            lambda run: edit_config(run, lambda c: c["config"].pop("epochs")),
            "an earlier version, without a setting config.epochs",
        ),
        (lambda run: edit_config(run, lambda c: c["config"].update(epochs=60.0)), "that of step"),
        (
            lambda run: edit_config(run, lambda c: c["config"]["learner"]["model"].update(head=[8])),
            "checkpoints",
        ),
    ],
)
def test_a_run_that_cannot_be_used_is_one_clear_line(copy, damage, message):
    damage(copy)
    with pytest.raises(InputError, match=message) as error:
        load_run(copy)
    assert str(copy) in str(error.value)
    assert "\n" not in str(error.value)
