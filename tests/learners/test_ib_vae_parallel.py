import jax
import numpy as np
import optax
import pytest

from facedis_jax.training import data_parallel


@pytest.fixture(scope="module", params=["layer", "batch"])
def expected(request, tiny):
    """The first states of a run on one device without any device axis, and the metrics of each step."""
    config = tiny.config(normalisation=request.param)
    learner = tiny.learner(config)
    step = jax.jit(learner.step)
    states, metrics = [jax.jit(learner.init)(jax.random.key(0), tiny.batch(8))], []
    for seed in range(3):
        state, measured = step(states[-1], tiny.batch(8, seed))
        states.append(state)
        metrics.append(measured)
    return config, states, metrics


@pytest.mark.parametrize(
    ("method", "num_devices"),
    [
        ("pmap", 4),
        ("shard_map", 2),
        *(pytest.param(*other, marks=pytest.mark.thorough) for other in (("pmap", 1), ("shard_map", 4))),
    ],
)
def test_devices_do_not_change_what_is_learned(tiny, expected, method, num_devices):
    config, states, metrics = expected
    learner = tiny.learner(config, axis_name="devices")
    traces = []

    def counted(state, batch):
        traces.append(batch["vertices"].shape)
        return learner.step(state, batch)

    step = data_parallel(counted, devices=jax.devices()[:num_devices], method=method)
    # Each step from the state of the plain run: Adam turns the rounding of a gradient of zero into a whole
    # step, and after that the runs are of two models.
    for seed in range(3):
        found, found_metrics = step(step.place_state(states[seed]), tiny.batch(8, seed))
        state = states[seed + 1]
        # Adam hides a gradient that is N times too large; its first moment shows it.
        close(gradient_of(found), gradient_of(state), rtol=1e-3, atol=1e-6)
        close(found.batch_stats, state.batch_stats, rtol=1e-5, atol=1e-6)
        for name, average in metrics[seed].items():
            close(found_metrics[name], average, rtol=1e-5, atol=1e-4)
        off, moved = (distance(other.params, state.params) for other in (found, states[seed]))
        assert off < 0.02 * moved
        assert int(found.step) == seed + 1
    assert len(traces) == 1


def gradient_of(state):
    return optax.tree_utils.tree_get(state.opt_state, "mu")


def close(found, expected, *, rtol, atol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


def distance(one, other):
    squares = jax.tree.map(lambda a, b: np.square(np.asarray(a) - np.asarray(b)).sum(), one, other)
    return np.sqrt(sum(jax.tree.leaves(squares)))
