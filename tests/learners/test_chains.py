import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.learners.chains import gather_chains, num_chains, scatter_chains
from facedis_jax.models import Latents
from facedis_jax.training import data_parallel

COUNT, BATCH = 24, 8


@pytest.mark.parametrize(("examples", "chains"), [(1, 3840), (3840, 3840), (3841, 7680), (10_000, 11_520)])
def test_chains_are_as_many_as_any_usual_number_of_devices_divides(examples, chains):
    assert num_chains(examples) == chains
    for devices in (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48, 60, 64, 128, 256):
        assert num_chains(examples) % devices == 0


def affine(axis_name):
    """A step that doubles the chains of its examples and adds to them what the batch brings."""

    def step(state, batch):
        index = batch["index"]
        moved = jax.tree.map(lambda z, new: 2 * z + new, gather_chains(state["chains"], index, axis_name), batch["new"])
        return {**state, "chains": scatter_chains(state["chains"], index, moved, axis_name)}, {}

    return step


LAYOUTS = [("jit", 1), ("pmap", 1), ("pmap", 4), ("shard_map", 2), ("shard_map", 4)]


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: f"{layout[0]}-{layout[1]}")
def run(request):
    """`(chains, batch) -> chains` after the step, in one of the layouts."""
    method, num_devices = request.param
    if method == "jit":
        alone = jax.jit(affine(None))
        return lambda chains, batch: alone({"chains": chains, "seen": np.float32(0)}, batch)[0]["chains"]
    step = data_parallel(
        affine("devices"),
        devices=jax.devices()[:num_devices],
        method=method,
        state_axes={"chains": 0, "seen": None},
    )

    def run(chains, batch):
        state, _ = step(step.place_state({"chains": chains, "seen": np.float32(0)}), batch)
        assert len(state["chains"].appearance.sharding.device_set) == num_devices
        return state["chains"]

    return run


@pytest.mark.parametrize("deformable", [True, False])
def test_latents_are_found_and_put_back_wherever_they_are(run, deformable):
    """Any distinct indices in any order: chains of one device alone, of all, and of devices that have no example."""

    @settings(max_examples=25, deadline=None)
    @given(st.permutations(range(COUNT)), st.integers(0, 2**32 - 1))
    def check(order, seed):
        rng = np.random.default_rng(seed)

        def draw(count):
            geometry = rng.normal(size=count).astype(np.float32) if deformable else None
            return Latents(rng.normal(size=(count, 3, 2)).astype(np.float32), geometry)

        chains, index = draw(COUNT), np.array(order[:BATCH], np.int32)
        new = draw(BATCH)
        found = run(chains, {"index": index, "new": new})
        for z, before, added in zip(found, chains, new, strict=True):
            if before is None:
                assert z is None
                continue
            expected = before.copy()
            expected[index] = 2 * before[index] + added
            np.testing.assert_array_equal(z, expected)

    check()
