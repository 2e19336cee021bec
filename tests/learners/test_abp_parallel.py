"""The same chains and weights on any number of devices, and after any interruption."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from facedis_jax.data.images.image_set import ArrayImages
from facedis_jax.data.pipeline import train_batches
from facedis_jax.learners import ABP_STATE_AXES
from facedis_jax.training import LoopConfig, Parallel, RunFolder, data_parallel, fit

NUM_IMAGES = 3600  # of 3840 chains, so that each of four devices holds some


def batches(small):
    order = np.random.default_rng(0).permutation(NUM_IMAGES)
    # A quarter of a batch is a device's, wherever its chains are.
    return [small.batch(order[i : i + 12]) for i in (0, 12, 24)]


@pytest.fixture(scope="module")
def expected(small):
    """The states of a run on one device without any device axis, and the metrics of each step."""
    states, metrics = [small.state], []
    for batch in batches(small):
        state, measured = small.step(states[-1], batch)
        states.append(state)
        metrics.append(measured)
    return states, metrics


@pytest.mark.parametrize("method", ["pmap", "shard_map"])
def test_devices_do_not_change_what_is_learned(small, expected, method):
    states, metrics = expected
    learner = small.learner(num_images=NUM_IMAGES, axis_name="devices")
    traces = []

    def counted(state, batch):
        traces.append(batch["image"].shape)
        return learner.step(state, batch)

    step = data_parallel(counted, devices=jax.devices()[:4], method=method, state_axes=ABP_STATE_AXES)
    for i, batch in enumerate(batches(small)):
        # Each step from the state of the plain run: Adam turns the rounding of a gradient of zero into a whole step.
        found, found_metrics = step(step.place_state(states[i]), batch)
        close(found.chains, states[i + 1].chains, rtol=1e-5, atol=1e-5)
        # Adam hides a gradient that is N times too large; its first moment shows it.
        close(*(optax.tree_utils.tree_get(s.opt_state, "mu") for s in (found, states[i + 1])), rtol=1e-4, atol=1e-5)
        close(found.params, states[i + 1].params, rtol=1e-5, atol=1e-5)
        close(found_metrics, metrics[i], rtol=1e-5, atol=1e-5)
        assert int(found.step) == i + 1
    assert traces == [(3, 8, 8, 3)]
    assert {shard.data.shape for shard in found.chains.appearance.addressable_shards} == {(960, 3)}

    # One image, and one start for all of them: only the noise of the devices' examples tells them apart.
    batch = small.batch([0] * 12)
    batch["index"] = np.arange(12, dtype=np.int32)
    start = jax.tree.map(lambda x: np.tile(x[:1], (len(x), 1)), jax.device_get(small.state.chains))
    moved, _ = step(step.place_state(small.state.replace(chains=start)), batch)
    for z in jax.device_get(moved.chains):
        assert len(np.unique(z[:12].round(4), axis=0)) == 12


class Killed(Exception):
    pass


class Dies:
    """Batches that end with an accident."""

    def __init__(self, batches, at):
        self.batches, self.left = batches, at
        self.get_state, self.set_state = batches.get_state, batches.set_state

    def __next__(self):
        if not self.left:
            raise Killed
        self.left -= 1
        return next(self.batches)


def test_a_run_that_was_killed_goes_on_to_the_same_chains_bit_for_bit(small, tmp_path):
    config = replace(small.config, model=replace(small.config.model, geometry_latents=0))
    learner = small.learner(config, axis_name="devices")
    images = ArrayImages(small.images(range(20)))

    def train(name, dies_at=-1):
        return fit(
            learner,
            Dies(iter(train_batches(images, batch_size=6, seed=0)), dies_at),
            [],
            RunFolder.open(tmp_path / name, {}),
            LoopConfig(num_steps=11, log_every_steps=2, checkpoint_every_steps=4, quiet=True),
            key=jax.random.key(0),
            parallel=Parallel(jax.devices()[:2], state_axes=ABP_STATE_AXES),
        ).state

    whole = train("whole")
    with pytest.raises(Killed):
        train("killed", dies_at=7)
    resumed = train("killed")
    assert whole.chains.geometry is None
    assert not np.array_equal(whole.chains.appearance[:20], small.state.chains.appearance[:20])
    assert int(resumed.step) == 11
    for name in ("params", "opt_state", "chains"):
        jax.tree.map(np.testing.assert_array_equal, getattr(resumed, name), getattr(whole, name))


def close(found, expected, *, rtol, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)
