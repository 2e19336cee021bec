import gc
import time
import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.metrics import Average
from facedis_jax.training import check_batch_size, data_parallel

METHODS = ("pmap", "shard_map")
layouts = pytest.mark.parametrize(("method", "num_devices"), [(m, n) for m in METHODS for n in (1, 2, 4)])


def run(toys, learner, method, num_devices, num_steps=5):
    step = data_parallel(learner.step, devices=jax.devices()[:num_devices], method=method)
    state = step.place_state(learner.init(jax.random.key(0), toys.make_batch(0)))
    for i in range(num_steps):
        state, metrics = step(state, toys.make_batch(i))
    return state, metrics


@layouts
@pytest.mark.parametrize("centred", [False, True])
def test_parameters_and_metrics_are_those_of_one_device(toys, method, num_devices, centred):
    state, metrics = run(toys, toys.regression("devices", centred=centred), method, num_devices)

    plain = toys.regression(centred=centred)
    expected = plain.init(jax.random.key(0), toys.make_batch(0))
    for i in range(5):
        expected, expected_metrics = jax.jit(plain.step)(expected, toys.make_batch(i))

    np.testing.assert_allclose(state.weights, expected.weights, rtol=1e-5)
    assert state.weights.shape == expected.weights.shape
    assert int(state.step) == 5
    np.testing.assert_allclose(metrics["loss"].sum, expected_metrics["loss"].sum, rtol=1e-5)
    assert float(metrics["loss"].count) == 8


@layouts
def test_arrays_without_numbers_are_split_too(method, num_devices):
    """As the moments of a face are where none are asked for."""
    batch = {"x": np.ones((8, 3), np.float32), "moments": np.zeros((8, 0), np.float32)}

    def step(state, batch):
        total = jax.lax.psum(batch["x"].sum() + batch["moments"].sum(), "devices")
        return state | {"total": state["total"] + total}, {"columns": jnp.float32(batch["moments"].shape[1])}

    parallel = data_parallel(
        step,
        devices=jax.devices()[:num_devices],
        method=method,
        state_axes={"total": None, "chains": 0},
    )
    state = {"total": jnp.zeros(()), "chains": jnp.zeros((4, 0))}
    state, metrics = parallel(parallel.place_state(state), batch)
    assert state["total"] == 24
    assert state["chains"].shape == (4, 0)
    assert metrics["columns"] == 0


@pytest.mark.parametrize("method", METHODS)
def test_arrays_on_the_devices_are_given_back_with_what_used_them(method):
    class Rows(NamedTuple):
        arrays: Any
        take: Any

    def step(state, batch):
        return state + jax.lax.psum(batch.sum(), "devices"), {}

    gc.disable()
    try:
        rows = np.arange(8.0, dtype=np.float32)
        dataset = Rows(rows, lambda rows, indices: rows[indices])
        parallel = data_parallel(step, devices=jax.devices()[:2], method=method, state_axes=0, dataset=dataset)
        state, _ = parallel(parallel.place_state(jnp.zeros(2)), np.array([1, 3]))
        assert state.tolist() == [4, 4]
        kept = [weakref.ref(each) for each in (rows, parallel, parallel._arrays)]
        del rows, dataset, parallel
        # A thread of the runtime may let go of a host array a moment later, and the next call ends Python's hold on it.
        for _ in range(500):
            if all(each() is None for each in kept):
                break
            time.sleep(0.01)
            jnp.zeros(1).block_until_ready()
        assert all(each() is None for each in kept)
    finally:
        gc.enable()


@layouts
def test_gradient_is_that_of_one_device(method, num_devices):
    # Adam hides a gradient that is N times too large, so this looks at the gradient itself.
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def step(state, batch):
        def loss(weights):
            prediction = jnp.sin(batch @ weights)
            return jnp.mean((prediction - jax.lax.pmean(prediction.mean(), "devices")) ** 2)

        return jax.lax.pmean(jax.grad(loss)(state), "devices"), {}

    parallel = data_parallel(step, devices=jax.devices()[:num_devices], method=method)
    gradient, _ = parallel(parallel.place_state(jnp.ones(3)), x)

    with jax.enable_x64(True):
        expected = jax.grad(lambda weights: jnp.var(jnp.sin(x.astype(np.float64) @ weights)))(jnp.ones(3, float))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@layouts
def test_split_fields_keep_their_shape_and_replicated_ones_their_value(toys, method, num_devices):
    learner = toys.chains("devices")
    options = {
        "devices": jax.devices()[:num_devices],
        "method": method,
        "state_axes": toys.ChainState(0, None, None, None),
    }
    step = data_parallel(learner.step, **options)
    evaluate = data_parallel(learner.evaluate, returns_state=False, **options)
    state = step.place_state(learner.init(jax.random.key(0), toys.make_batch(0)))

    expected, scale = np.arange(16.0).reshape(8, 2), 1.0
    for i in range(3):
        batch = toys.make_batch(i)
        state, metrics = step(state, batch)
        expected = expected + 0.5 * (expected.mean(0) - expected) + scale * batch["x"][:, :2]
        scale *= 0.9

    assert state.chains.shape == (8, 2)
    assert len(state.chains.sharding.device_set) == num_devices
    assert state.chains.addressable_shards[0].data.shape == (8 // num_devices, 2)
    np.testing.assert_allclose(state.chains, expected, rtol=1e-5)
    np.testing.assert_allclose(state.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"].sum, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(evaluate(state, batch)["loss"].sum, expected.sum(), rtol=1e-5)
    assert not state.chains.is_deleted()


@layouts
def test_padding_does_not_count_wherever_it_falls(toys, method, num_devices):
    learner = toys.regression("devices")
    evaluate = data_parallel(learner.evaluate, devices=jax.devices()[:num_devices], method=method, returns_state=False)
    batch = toys.make_batch(0)
    batch["mask"][5:] = 0
    batch["x"][5:] = np.nan
    state = evaluate.place_state(learner.init(jax.random.key(0), batch))
    loss = evaluate(state, batch)["loss"]
    errors = (np.tanh(batch["x"][:5].astype(np.float64) @ np.asarray(state.weights)) - batch["y"][:5]) ** 2
    assert float(loss.count) == 5
    np.testing.assert_allclose(loss.compute(), errors.mean(), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_steps_compile_once_give_up_their_input_and_copy_nothing_unasked(toys, method):
    traces = []
    learner = toys.regression("devices")
    center = jnp.ones(3)

    def step(state, batch):
        traces.append(1)
        return learner.step(state, batch | {"x": batch["x"] - center})

    parallel = data_parallel(step, method=method)
    state = learner.init(jax.random.key(0), toys.make_batch(0))
    placed = first = parallel.place_state(state)
    with jax.transfer_guard("disallow"):
        for i in range(4):
            placed, _ = parallel(placed, toys.make_batch(i))
    assert len(traces) == 1
    assert first.weights.is_deleted()
    assert not state.weights.is_deleted()


@pytest.mark.parametrize("method", METHODS)
def test_guard_notices_a_host_array_that_slips_into_the_state(toys, method):
    learner = toys.regression("devices")
    parallel = data_parallel(learner.step, method=method)
    state = parallel.place_state(learner.init(jax.random.key(0), toys.make_batch(0)))
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match=r"[Dd]isallowed"):
        parallel(state._replace(weights=np.zeros(3, np.float32)), toys.make_batch(0))


def test_batch_that_the_devices_do_not_divide(toys):
    with pytest.raises(InputError, match=r"batch_size: expected .*devices \(4\), found 6"):
        check_batch_size(6, 4)
    with pytest.raises(InputError, match="found 0"):
        check_batch_size(0, 4)
    check_batch_size(8, 4)
    learner = toys.regression("devices")
    parallel = data_parallel(learner.step)
    state = parallel.place_state(learner.init(jax.random.key(0), toys.make_batch(0)))
    with pytest.raises(InputError, match="batch_size"):
        parallel(state, toys.make_batch(0, size=6))


def test_unknown_method():
    with pytest.raises(ValueError, match="pmap"):
        data_parallel(lambda state, batch: (state, {"x": Average.of(batch)}), method="vmap")
