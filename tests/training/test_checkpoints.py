import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.training import Checkpoints, data_parallel


def make_state(step):
    return {
        "weights": jax.random.normal(jax.random.key(step), (8, 5)),
        "half": jnp.arange(3, dtype=jnp.bfloat16) + step,
        "keys": jax.random.split(jax.random.key(step), 8),
        "step": jnp.int32(step),
        "absent": None,
    }


def layout(num_devices):
    return data_parallel(
        lambda state, batch: (state, {}),
        devices=jax.devices()[:num_devices],
        state_axes={"weights": 0, "half": None, "keys": 0, "step": None, "absent": None},
    )


def assert_same(state, expected):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(as_bytes(a), as_bytes(b)), state, expected)


def as_bytes(x):
    x = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return np.asarray(x).view(np.uint8) if x.ndim else np.asarray(x).tobytes()


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 1), (4, 1), (1, 4), (4, 2)])
def test_round_trip_between_device_counts(tmp_path, saved_on, restored_on):
    progress = {"batches": {"next_index": np.int64(7), "inner": {"x": None}}, "seconds": 0.1 + 0.2}
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(7, layout(saved_on).place_state(make_state(7)), progress)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(layout(restored_on).abstract_state(jax.eval_shape(lambda: make_state(7))))
    assert restored.step == 7
    assert_same(restored.state, make_state(7))
    assert restored.state["keys"].dtype == jax.random.key(0).dtype
    assert len(restored.state["weights"].sharding.device_set) == restored_on
    assert restored.progress == {"batches": {"next_index": 7, "inner": {"x": None}}, "seconds": 0.1 + 0.2}


def test_keeps_the_newest_and_may_give_up_what_it_saves(tmp_path):
    abstract = layout(1).abstract_state(jax.eval_shape(lambda: make_state(0)))
    spoil = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            state = layout(1).place_state(make_state(step))
            checkpoints.save(step, state, {})
            spoil(state["weights"])
        assert checkpoints.latest_step == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        assert_same(checkpoints.restore(abstract).state, make_state(3))


def damage(folder, name):
    """Cuts the files of one item short."""
    for path in (folder / name).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("item", ["state", "progress"])
def test_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, item):
    abstract = layout(1).abstract_state(jax.eval_shape(lambda: make_state(0)))
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {"step": step})
    damage(tmp_path / "2", item)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(abstract)
        assert restored.step == 1
        assert restored.progress == {"step": 1}
        assert_same(restored.state, make_state(1))
        ours = [r.getMessage() for r in caplog.records if r.name == "facedis_jax.training.checkpoints"]
        assert len(ours) == 2
        assert "cannot read the checkpoint of step 2" in ours[0]
        assert "\n" not in ours[0]
        checkpoints.save(2, make_state(2), {"step": 2})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract).step == 2


def test_checkpoints_of_another_model_are_left_as_they_are(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"weights": jnp.zeros(3)}, {})
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(InputError, match="expected checkpoints of this model"):
            checkpoints.restore({"other": jax.ShapeDtypeStruct((4,), jnp.float32)})
        assert checkpoints.latest_step == 1


def test_save_that_was_cut_off_is_no_checkpoint(tmp_path):
    abstract = layout(1).abstract_state(jax.eval_shape(lambda: make_state(0)))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), {})
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(abstract).step == 1


def test_looking_at_a_run_makes_and_drops_nothing(tmp_path):
    abstract = layout(1).abstract_state(jax.eval_shape(lambda: make_state(0)))
    with Checkpoints(tmp_path / "missing", read_only=True) as checkpoints:
        assert checkpoints.restore(abstract) is None
    assert not (tmp_path / "missing").exists()
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {})
    damage(tmp_path / "2", "state")
    with Checkpoints(tmp_path, keep=1, read_only=True) as checkpoints:
        assert checkpoints.restore(abstract).step == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("content", ["[]", "7", '{"performance_metrics": 3}'])
def test_metadata_of_another_kind_is_refused_in_one_line(tmp_path, content):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, layout(1).place_state(make_state(1)), {})
    (tmp_path / "1" / "_CHECKPOINT_METADATA").write_text(content)
    with pytest.raises(InputError, match="expected checkpoints with whole metadata, found") as raised:
        Checkpoints(tmp_path)
    assert str(raised.value).isprintable()
