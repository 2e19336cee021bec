import jax
import numpy as np
import pytest

from benchmarks import models
from benchmarks.models import deformable_step, dynamic_step, fake_face, ib_vae_step
from experiments import coma_ib, faces_deformable, faces_video
from facedis_jax.learners.chains import num_chains


def test_faces_are_of_the_real_shapes():
    batch = ib_vae_step(3).make_batch(0)
    assert {name: (x.shape, x.dtype.name) for name, x in batch.items()} == {
        "vertices": ((3, 5023, 3), "float32"),
        "neutral": ((3, 5023, 3), "float32"),
        "expression": ((3,), "int32"),
        "level": ((3,), "float32"),
    }
    distance = np.linalg.norm(batch["vertices"] - batch["neutral"], axis=-1).mean()
    assert 0.1 < distance < 5
    assert np.ptp(fake_face(5023), axis=0) == pytest.approx([150, 220, 190], rel=0.01)


def test_pixels_are_of_the_real_shapes():
    batch = deformable_step(4).make_batch(0)
    assert batch["image"].shape == (4, 64, 64, 3)
    assert batch["image"].dtype == np.uint8
    assert len(np.unique(batch["index"])) == 4
    batch = dynamic_step(2, 5).make_batch(0)
    assert batch["frames"].shape == (2, 5, 64, 64, 3)
    assert batch["index"].dtype == np.int32


@pytest.mark.parametrize("make", [lambda: ib_vae_step(2, 600), lambda: deformable_step(2), lambda: dynamic_step(1, 2)])
def test_batches_follow_from_their_seed(make):
    step = make()
    one, same, other = step.make_batch(1), step.make_batch(1), step.make_batch(2)
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert any(np.any(one[name] != other[name]) for name in one)


def test_the_sizes_are_those_of_the_papers_presets():
    assert ib_vae_step(2).config == coma_ib.PRESETS["paper"].learner
    assert deformable_step(2).config == faces_deformable.PRESETS["paper"].learner
    assert dynamic_step(1).config == faces_video.PRESETS["paper"].learner
    assert dynamic_step(1, langevin_steps=7).config.langevin.num_steps == 7
    assert dynamic_step().make_batch(0)["frames"].shape[:2] == (10, 60)


@pytest.mark.parametrize("name", list(models.STEPS))
def test_a_step_takes_its_batch_and_gives_the_state_back(name, small_steps):
    step = small_steps[name](2, axis_name=None)
    batch = step.make_batch(0)
    state = jax.eval_shape(step.learner.init, jax.random.key(0), batch)
    after, metrics = jax.eval_shape(step.learner.step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert metrics


def test_a_batch_may_be_larger_than_the_set():
    step = deformable_step(models.NUM_IMAGES + 1, 8)
    assert max(step.make_batch(0)["index"]) == models.NUM_IMAGES
    assert num_chains(models.NUM_IMAGES + 1) > models.NUM_IMAGES
