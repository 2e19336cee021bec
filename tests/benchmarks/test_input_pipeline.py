import numpy as np
import pytest

from benchmarks import input_pipeline
from benchmarks.input_pipeline import InputConfig, fake_face_set, fake_images, main
from benchmarks.measurement import Timing
from facedis_jax.errors import InputError


def test_faces_come_back_from_disk_in_millimetres(tmp_path):
    faces = fake_face_set(tmp_path, 5, 700)
    assert len(faces.train) == 5
    assert len(list(tmp_path.rglob("*.array_record*"))) > 0
    face = faces.train[3]
    assert face["vertices"].shape == (700, 3)
    assert 150 < np.ptp(face["vertices"][:, 1]) < 300
    assert not np.array_equal(face["vertices"], faces.train[4]["vertices"])
    assert faces.neutrals.shape == (input_pipeline.SUBJECTS, 700, 3)


def test_images_come_back_from_disk(tmp_path):
    images = fake_images(tmp_path, 5, 16)
    assert len(images) == 5
    assert images[4]["image"].shape == (16, 16, 3)
    np.testing.assert_array_equal(
        images[4]["image"], np.random.default_rng(4).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    )


def test_the_ratio_is_of_the_pipeline_to_the_step(monkeypatch):
    class Step:
        def __init__(self, step, num_devices):
            assert num_devices == 1
            assert len(step.make_batch(0)["index"]) == 4

        def __call__(self):
            return {}

    def timed(calls, repeats):
        assert list(calls) == ["0", "2", "kept", "step"]
        for call in calls.values():
            call()
        return {name: Timing(*[0.5 if name == "step" else 0.25] * 3, repeats) for name in calls}

    monkeypatch.setattr(input_pipeline, "RunningStep", Step)
    monkeypatch.setattr(input_pipeline, "time_in_turn", timed)
    config = InputConfig(kinds=("images",), examples=8, size=8, threads=(0, 2), batch_size=4, batches=5)
    rows = main(config)
    assert [(row["threads"], row["kept"]) for row in rows] == [(0, False), (2, False), (None, True)]
    for row in rows:
        assert row["step_takes_per_s"] == 4 / 0.5
        assert row["examples_per_s"] == pytest.approx(5 * 4 / 0.25)
        assert row["ratio"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    "wrong", [{"batches": 0}, {"examples": 8, "batch_size": 9}, {"threads": (-1,)}, {"size": 0}, {"vertices": 0}]
)
def test_a_wrong_request_is_refused(wrong):
    with pytest.raises(InputError):
        InputConfig(**wrong)
