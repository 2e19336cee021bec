import json
import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.metrics import Average
from facedis_jax.training import LoopConfig, Parallel, RunFolder, TrainingDiverged, fit
from facedis_jax.training.checkpoints import Checkpoints

CONFIG = LoopConfig(num_steps=20, log_every_steps=5, evaluate_every_steps=10, checkpoint_every_steps=7, quiet=True)


class Stops:
    """Batches that call `then` before one of them."""

    def __init__(self, batches, at, then):
        self.batches, self.at, self.then, self.given = batches, at, then, 0

    def __next__(self):
        if self.given == self.at:
            self.then()
        self.given += 1
        return next(self.batches)

    def get_state(self):
        return self.batches.get_state()

    def set_state(self, state):
        self.given = 0
        self.batches.set_state(state)


class Killed(Exception):
    pass


def kill():
    raise Killed


def train(
    toys, path, *, batches=None, config=CONFIG, num_devices=2, method="pmap", state_axes=None, learner=None, **options
):
    folder = RunFolder.open(path, {"seed": 0})
    return fit(
        learner or toys.regression("devices", noise=0.1),
        batches or toys.make_batches(),
        [toys.make_batch(1), toys.make_batch(2)],
        folder,
        config,
        key=jax.random.key(0),
        parallel=Parallel(jax.devices()[:num_devices], method, state_axes=state_axes),
        **options,
    )


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def metrics_bytes(path):
    return (path / "metrics.jsonl").read_bytes()


def assert_same_state(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jax.numpy.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(toys, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, train(toys, path)


def test_what_a_run_leaves_behind(whole):
    path, result = whole
    assert (result.step, result.interrupted_by, result.exit_code) == (20, None, 0)
    assert int(result.state.step) == 20
    assert [(line["step"], line["split"]) for line in lines(path)] == [
        (5, "train"),
        (10, "train"),
        (10, "test"),
        (15, "train"),
        (20, "train"),
        (20, "test"),
    ]
    with Checkpoints(path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step == 20
    assert result.seconds > 0


def test_numbers_are_those_of_a_loop_by_hand(toys, whole):
    path, result = whole
    learner, batches = toys.regression(noise=0.1), toys.make_batches()
    state = learner.init(jax.random.key(0), toys.make_batch(0))
    losses = []
    for _ in range(20):
        state, metrics = jax.jit(learner.step)(state, next(batches))
        losses.append(metrics["loss"].compute())
    np.testing.assert_allclose(result.state.weights, state.weights, rtol=1e-4)
    logged = [line["loss"] for line in lines(path) if line["split"] == "train"]
    np.testing.assert_allclose(logged, np.reshape(losses, (4, 5)).mean(1), rtol=1e-4)

    tests = [learner.evaluate(state, toys.make_batch(i))["loss"] for i in (1, 2)]
    np.testing.assert_allclose(lines(path)[-1]["loss"], tests[0].merge(tests[1]).compute(), rtol=1e-4)


@pytest.mark.parametrize("method", ["pmap", "shard_map"])
def test_killed_and_resumed_run_repeats_the_whole_one(toys, whole, tmp_path, method):
    # Killed at step 13, resumed from the checkpoint at 7, in the middle of a line of the metrics.
    with pytest.raises(Killed):
        train(toys, tmp_path / "run", batches=Stops(toys.make_batches(), 13, kill), method=method)
    assert max(line["step"] for line in lines(tmp_path / "run")) == 10
    result = train(toys, tmp_path / "run", method=method)
    assert result.step == 20
    assert_same_state(result.state, whole[1].state)
    assert metrics_bytes(tmp_path / "run") == metrics_bytes(whole[0])


def test_run_killed_before_its_first_checkpoint_begins_anew(toys, whole, tmp_path):
    with pytest.raises(Killed):
        train(toys, tmp_path / "run", batches=Stops(toys.make_batches(), 6, kill))
    assert_same_state(train(toys, tmp_path / "run").state, whole[1].state)
    assert metrics_bytes(tmp_path / "run") == metrics_bytes(whole[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_the_same_command_goes_on(toys, whole, tmp_path, number, capfd):
    batches = Stops(toys.make_batches(), 8, lambda: signal.raise_signal(number))
    stopped = train(toys, tmp_path / "run", batches=batches)
    assert (stopped.step, stopped.interrupted_by, stopped.exit_code) == (9, number, 128 + number)
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step == 9
    result = train(toys, tmp_path / "run")
    assert result.exit_code == 0
    assert result.seconds > stopped.seconds
    assert_same_state(result.state, whole[1].state)
    assert metrics_bytes(tmp_path / "run") == metrics_bytes(whole[0])


@pytest.mark.parametrize("at", [10, 20])
def test_a_signal_in_an_evaluation_ends_it_and_the_same_command_evaluates_again(toys, whole, tmp_path, at):
    class Interrupts(list):
        """Test batches, before the second of which Ctrl-C comes."""

        def __iter__(self):
            yield self[0]
            signal.raise_signal(signal.SIGINT)
            yield self[1]

    def start(test_batches, batches=None):
        folder = RunFolder.open(tmp_path / "run", {"seed": 0})
        learner = toys.regression("devices", noise=0.1)
        config = replace(CONFIG, evaluate_every_steps=at)
        devices = Parallel(jax.devices()[:2])
        batches = batches or toys.make_batches()
        return fit(learner, batches, test_batches, folder, config, key=jax.random.key(0), parallel=devices)

    tests = [toys.make_batch(1), toys.make_batch(2)]
    stopped = start(Interrupts(tests))
    assert (stopped.step, stopped.interrupted_by) == (at, signal.SIGINT)
    assert not any(line["split"] == "test" for line in lines(tmp_path / "run"))
    result = start(tests)
    assert_same_state(result.state, whole[1].state)
    expected = [line for line in lines(whole[0]) if line["split"] == "train" or line["step"] % at == 0]
    assert lines(tmp_path / "run") == expected


def test_finished_run_is_not_trained_again(toys, whole, tmp_path):
    first = train(toys, tmp_path / "run")
    files = (tmp_path / "run" / "metrics.jsonl").read_text()
    again = train(toys, tmp_path / "run", batches=Stops(toys.make_batches(), 1, kill))
    assert again.step == 20
    assert_same_state(again.state, first.state)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == files


def test_run_moves_between_device_counts(toys, whole, tmp_path):
    with pytest.raises(Killed):
        train(toys, tmp_path / "run", batches=Stops(toys.make_batches(), 13, kill), num_devices=4)
    result = train(toys, tmp_path / "run", num_devices=1)
    np.testing.assert_allclose(result.state.weights, whole[1].state.weights, rtol=1e-4)


def test_chains_go_on_where_they_were(toys, tmp_path):
    options = {
        "learner": toys.chains("devices"),
        "state_axes": toys.ChainState(0, None, None, None),
        "num_devices": 4,
    }
    expected = train(toys, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train(toys, tmp_path / "run", batches=Stops(toys.make_batches(), 13, kill), **options)
    result = train(toys, tmp_path / "run", **options)
    assert result.state.chains.shape == (8, 2)
    assert_same_state(result.state, expected.state)


def test_divergence_stops_with_its_parts_and_keeps_the_checkpoints_before_it(toys, tmp_path):
    learner = toys.regression("devices")

    def step(state, batch):
        state, metrics = learner.step(state, batch)
        bad = jax.numpy.where(state.step > 7, jax.numpy.nan, 1.0)
        return state, metrics | {"loss": Average(metrics["loss"].sum * bad, metrics["loss"].count)}

    names = [f"face {i}" for i in range(40)]
    with pytest.raises(TrainingDiverged, match=r"at step 8: loss nan, weight \d") as caught:
        train(toys, tmp_path / "run", learner=learner._replace(step=step), names=names)
    assert caught.value.step == 8
    told = json.loads(caught.value.file.read_text())
    assert told["step"] == 8
    assert told["metrics"]["loss"] == "nan"
    # The batches once more, up to the one at fault.
    batches = toys.make_batches()
    expected = [next(batches) for _ in range(8)][-1]
    assert [example["name"] for example in told["examples"]] == [f"face {i}" for i in expected["index"]]
    np.testing.assert_allclose([example["y"] for example in told["examples"]], expected["y"], rtol=1e-6)
    assert [line["step"] for line in lines(tmp_path / "run")] == [5]
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step == 7


def test_state_that_is_not_finite_is_not_saved(toys, tmp_path):
    learner = toys.regression("devices")

    def step(state, batch):
        state, metrics = learner.step(state, batch)
        return state._replace(weights=state.weights / (state.step < 7)), metrics

    with pytest.raises(TrainingDiverged, match="at step 7"):
        train(toys, tmp_path / "run", learner=learner._replace(step=step))
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step == 0


class ToyDataset:
    """The rows behind `make_batches`."""

    def __init__(self, toys):
        self.arrays = toys.make_batch(0, 40) | {"index": np.arange(40, dtype=np.int32)}

    def take(self, arrays, batch):
        return {name: rows[batch["index"]] for name, rows in arrays.items()}


class Places:
    """The indices alone of what `make_batches` gives."""

    def __init__(self, batches):
        self.batches = batches
        self.get_state, self.set_state = batches.get_state, batches.set_state

    def __next__(self):
        return {"index": next(self.batches)["index"]}


@pytest.mark.parametrize("method", ["pmap", "shard_map"])
@pytest.mark.parametrize("num_devices", [1, 2])
def test_examples_that_stay_on_the_devices_change_nothing(toys, whole, tmp_path, method, num_devices):
    path, _ = whole
    options = {"dataset": ToyDataset(toys), "method": method, "num_devices": num_devices}
    train(toys, tmp_path, batches=Places(toys.make_batches()), **options)
    for one, other in zip(lines(tmp_path), lines(path), strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(one.values())[2:], list(other.values())[2:], rtol=1e-6)


def test_a_run_goes_on_with_its_examples_on_the_devices(toys, whole, tmp_path):
    path, _ = whole
    train(toys, tmp_path, config=replace(CONFIG, num_steps=9))
    train(toys, tmp_path, batches=Places(toys.make_batches()), dataset=ToyDataset(toys))
    assert lines(tmp_path)[-1]["loss"] == pytest.approx(lines(path)[-1]["loss"], rel=1e-6)


def test_examples_on_the_devices_that_training_diverges_on_are_told_of(toys, tmp_path):
    dataset = ToyDataset(toys)
    dataset.arrays["y"][7] = np.nan
    with pytest.raises(TrainingDiverged):
        train(toys, tmp_path, batches=Places(toys.make_batches()), dataset=dataset)
    written = json.loads((tmp_path / "diverged.json").read_text())
    assert 7 in [example["index"] for example in written["examples"]]
    assert {"y", "mask"} <= written["examples"][0].keys()


def test_step_is_traced_once(toys, tmp_path):
    learner, traces = toys.regression("devices"), []

    def step(state, batch):
        traces.append(1)
        return learner.step(state, batch)

    train(toys, tmp_path / "run", learner=learner._replace(step=step))
    assert len(traces) == 1


def test_next_step_is_dispatched_before_metrics_are_read(toys, tmp_path, monkeypatch):
    events = []
    batches = Stops(toys.make_batches(), None, None)
    take, compute = Stops.__next__, Average.compute
    monkeypatch.setattr(Stops, "__next__", lambda self: events.append("batch") or take(self))
    monkeypatch.setattr(Average, "compute", lambda self: events.append("read") or compute(self))
    config = LoopConfig(num_steps=3, log_every_steps=1, evaluate_every_steps=10, checkpoint_every_steps=10, quiet=True)
    train(toys, tmp_path / "run", batches=batches, config=config)
    # The first batch is init's sample; two metrics are read a step, those of the last one at its evaluation.
    assert events[1:9] == ["batch", "batch", "read", "read", "batch", "read", "read", "read"]


def test_run_without_test_batches(toys, tmp_path):
    folder = RunFolder.open(tmp_path / "run", {})
    config = LoopConfig(num_steps=2, log_every_steps=1, quiet=True)
    learner = toys.regression("devices")
    fit(learner, toys.make_batches(), [], folder, config, key=jax.random.key(0))
    assert {line["split"] for line in lines(folder.path)} == {"train"}


def test_settings_that_make_no_sense():
    with pytest.raises(InputError, match="log_every_steps: expected 1 or more, found 0"):
        LoopConfig(log_every_steps=0)


def test_batch_that_the_devices_do_not_divide(toys, tmp_path):
    with pytest.raises(InputError, match="batch_size"):
        train(toys, tmp_path / "run", batches=toys.make_batches(size=6), num_devices=4)


def test_checkpoints_of_another_run_are_refused(toys, tmp_path):
    """Their shapes fit, as those of chains of other images do."""
    train(toys, tmp_path / "run")
    other = RunFolder.open(tmp_path / "other", {"seed": 1})
    shutil.copytree(tmp_path / "run" / "checkpoints", other.checkpoints)
    learner = toys.regression("devices", noise=0.1)
    with pytest.raises(InputError, match="checkpoints of this run, of its settings and data, found another run's"):
        fit(
            learner,
            toys.make_batches(),
            [],
            other,
            CONFIG,
            key=jax.random.key(0),
            parallel=Parallel(jax.devices()[:2]),
        )
