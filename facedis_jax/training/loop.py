"""The training loop: init or resume, step, log, evaluate, save. It never sees which learner it drives.

The step counter is its only clock: what is logged, evaluated and saved depends on the step alone, so that a
run that was interrupted repeats the one that was not, bit for bit.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners.learner import Batch, Learner, Metrics, State
from facedis_jax.metrics import Average
from facedis_jax.training.checkpoints import Checkpoints
from facedis_jax.training.interruption import Interruption, exit_code
from facedis_jax.training.logs import read_metrics
from facedis_jax.training.parallel import DataParallel, DeviceDataset, Parallel
from facedis_jax.training.record import DispatchedStep, Record, UnreadMetrics, read_metrics_of
from facedis_jax.training.run_folder import RunFolder


@dataclass(frozen=True)
class LoopConfig:
    """How long a run is and what it does on the way.

    Attributes:
      num_steps: steps of the whole run, those before a resumption included.
      log_every_steps: steps that one line of metrics averages over.
      evaluate_every_steps: steps from one evaluation to the next; the last step is always evaluated.
      checkpoint_every_steps: steps from one checkpoint to the next; the last step is always saved.
      keep_checkpoints: how many of the newest are kept.
      tensorboard: also write event files to the folder.
      quiet: show no progress.

    Raises:
      InputError: for a number below 1.

    Example:
      >>> LoopConfig(num_steps=5000, evaluate_every_steps=1000).checkpoint_every_steps
      500
    """

    num_steps: int = 1000
    log_every_steps: int = 20
    evaluate_every_steps: int = 500
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3
    tensorboard: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        intervals = {"log_every_steps": 1, "evaluate_every_steps": 1, "checkpoint_every_steps": 1}
        check_least(self, num_steps=1, **intervals, keep_checkpoints=1)


class BatchIterator(Protocol):
    """Endless batches of host arrays [batch, ...] whose place can be saved; Grain's `DatasetIterator` is one.

    The batches are this process's share of the global batch. The state is plain values that become JSON.

    Example:
      >>> class Rows:
      ...     def __init__(self, rows, size):
      ...         self.rows, self.size, self.place = rows, size, 0
      ...     def __next__(self):
      ...         index = (self.place + np.arange(self.size)) % len(self.rows)
      ...         self.place += self.size
      ...         return {"x": self.rows[index], "index": index}
      ...     def get_state(self):
      ...         return {"place": self.place}
      ...     def set_state(self, state):
      ...         self.place = state["place"]
      >>> batches: BatchIterator = Rows(np.arange(5.0), size=2)
      >>> next(batches)["x"].tolist(), next(batches)["x"].tolist(), batches.get_state()
      ([0.0, 1.0], [2.0, 3.0], {'place': 4})
    """

    def __next__(self) -> Batch: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


class FitResult(NamedTuple):
    """How a call of `fit` ended.

    Attributes:
      state: the learner's state, on the devices.
      step: the number of steps behind it.
      seconds: of training, before and after resumptions.
      interrupted_by: the number of the signal that came meanwhile and ended it, or None.

    Example:
      >>> FitResult(state=None, step=40, seconds=2.5, interrupted_by=None).exit_code
      0
      >>> FitResult(state=None, step=12, seconds=0.7, interrupted_by=15).exit_code  # SIGTERM came
      143
    """

    state: State
    step: int
    seconds: float
    interrupted_by: int | None

    @property
    def exit_code(self) -> int:
        """What a command exits with, 0, or 130 and 143 after SIGINT and SIGTERM."""
        return exit_code(self.interrupted_by)


def fit(
    learner: Learner,
    train_batches: BatchIterator,
    test_batches: Iterable[Batch],
    folder: RunFolder,
    config: LoopConfig,
    *,
    key: jax.Array,
    parallel: Parallel | None = None,
    names: Sequence[str] | None = None,
    dataset: DeviceDataset | None = None,
) -> FitResult:
    """Trains a learner, from its last checkpoint if the folder holds one.

    Args:
      learner: its `step` and `evaluate` take their collectives over the axis of `parallel`; `init` has none.
      train_batches: endless; read one step ahead of the device at most.
      test_batches: iterated anew at each evaluation; `batch["mask"]` is 0 where an example is padding.
      folder: takes `metrics.jsonl` and `checkpoints/`.
      config: the length of the run and its intervals.
      key: a typed PRNG key, for `init`.
      parallel: how devices share the work; all of them, by `Parallel`'s defaults, for None.
      names: of the training examples, by `batch["index"]`; used in `diverged.json`.
      dataset: the training examples on the devices, if the training batches are of their indices.

    Returns:
      The last state and how training ended.

    Raises:
      TrainingDiverged: on a metric or a parameter that is not finite.
      SaveFailed: a checkpoint could not be written.
      InputError: on a batch that the devices do not divide, or checkpoints that do not fit the learner or that
        another run has made: chains belong to examples by their indices, which shapes do not tell apart.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> class Batches:  # one and the same, with a place that can be saved
      ...     def __next__(self):
      ...         return {"x": np.array([1.0, 3.0], np.float32)}
      ...     def get_state(self):
      ...         return {}
      ...     def set_state(self, state):
      ...         pass
      >>> def init(key, batch):
      ...     return {"mean": jnp.float32(0), "key": key, "step": jnp.int32(0)}
      >>> def step(state, batch):
      ...     mean = state["mean"] + 0.5 * (batch["x"].mean() - state["mean"])
      ...     return {**state, "mean": mean, "step": state["step"] + 1}, {"x": Average.of(batch["x"])}
      >>> def evaluate(state, batch):
      ...     return {"error": Average.of(jnp.abs(batch["x"] - state["mean"]))}
      >>> how = LoopConfig(num_steps=4, log_every_steps=2, quiet=True), Parallel(jax.devices()[:1])
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     run = RunFolder.open(Path(folder) / "run", {"experiment": "mean"})
      ...     learner, test = Learner(init, step, evaluate), [next(Batches())]
      ...     ended = fit(learner, Batches(), test, run, how[0], key=jax.random.key(0), parallel=how[1])
      ...     lines = run.metrics_file.read_text().splitlines()
      >>> ended.step, float(ended.state["mean"]), len(lines)
      (4, 1.875, 3)
    """

    def whole(batch: Batch) -> Batch:
        return batch if dataset is None else dataset.take(dataset.arrays, batch)

    parallel = parallel or Parallel()
    train = DataParallel(learner.step, parallel, dataset=dataset)
    evaluate = DataParallel(learner.evaluate, parallel, returns_state=False)
    with ExitStack() as stack:
        # The first to be entered, so that a signal waits for the last save too.
        interruption = stack.enter_context(Interruption())
        checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, keep=config.keep_checkpoints))
        state, first_step, clock, window = _begin(learner, train, train_batches, checkpoints, folder, key, whole)
        output = {"tensorboard": config.tensorboard, "quiet": config.quiet}
        record = Record(folder, names, whole, first_step=first_step, num_steps=config.num_steps, **output)
        stack.enter_context(record)
        # JAX's own transfers between processes are implicit, and the guard would stop them.
        guard = "disallow" if jax.process_count() == 1 else "allow"

        step, previous, unread, stopped_by = first_step, None, None, None
        if _is_not_evaluated(step, config, folder):
            values = _evaluate(evaluate, state, test_batches, interruption, partial(record.progress.evaluated, step))
            if values is None:
                stopped_by = interruption.signal
            else:
                record.test(step, values)
        while step < config.num_steps and stopped_by is None:
            batch = next(train_batches)
            with jax.transfer_guard(guard):
                state, metrics = train(state, batch)
            step += 1
            current = DispatchedStep(step, batch, metrics, _all_finite(metrics))
            # The device has its next step; only now wait for the one before, which bounds what is queued.
            if previous is not None:
                record.check(previous)
            if unread is not None:
                record.train(unread)
            previous, unread = current, None
            record.progress.update(step - 1)

            last = step == config.num_steps
            window = metrics if window is None else _merge(window, metrics)
            if last or step % config.log_every_steps == 0:
                unread, window = UnreadMetrics(step, window), None

            stopped_by = interruption.agreed_signal(step, every=config.log_every_steps)
            evaluate_now = last or step % config.evaluate_every_steps == 0
            save_now = last or step % config.checkpoint_every_steps == 0 or stopped_by is not None
            if evaluate_now or save_now:
                # An evaluation that a signal ends is followed by a checkpoint too.
                record.check(current._replace(finite=_all_finite((state, metrics))))
                if unread is not None:
                    record.train(unread)
                    unread = None
            # Lines come before the checkpoint of their step, so that none is missing after it.
            if evaluate_now and (stopped_by is None or jax.process_count() > 1):
                show = partial(record.progress.evaluated, step)
                values = _evaluate(evaluate, state, test_batches, interruption, show)
                if values is None:
                    stopped_by, save_now = interruption.signal, True
                else:
                    record.test(step, values)
            if save_now:
                checkpoints.save(step, state, _so_far(train_batches.get_state(), clock.seconds, window, folder))

    return FitResult(state, step, clock.seconds, stopped_by or interruption.signal)


class _Clock:
    """Seconds of training, those before a resumption included."""

    def __init__(self, before: float):
        self._before, self._began = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._began


def _begin(
    learner: Learner,
    train: DataParallel,
    batches: BatchIterator,
    checkpoints: Checkpoints,
    folder: RunFolder,
    key: jax.Array,
    whole: Callable[[Batch], Batch],
) -> tuple[State, int, _Clock, Metrics | None]:
    """The state to go on from, its step, the clock, and the metrics since the last line: restored or new."""
    beginning = batches.get_state()
    sample = whole(next(batches))
    restored = checkpoints.restore(train.abstract_state(jax.eval_shape(learner.init, key, sample)))
    if restored is None:
        batches.set_state(beginning)
        # It runs once, and to optimise its random draws takes longer than they do.
        init = jax.jit(learner.init, compiler_options={"xla_backend_optimization_level": 0})
        state = train.place_state(init(key, sample))
        # So that there is one from before whatever happens.
        checkpoints.save(0, state, _so_far(beginning, 0.0, None, folder))
        return state, 0, _Clock(0.0), None
    progress = restored.progress
    if progress.get("run", folder.identity) != folder.identity:
        raise InputError(folder.checkpoints, "checkpoints of this run, of its settings and data", "another run's")
    batches.set_state(progress["batches"])
    return restored.state, restored.step, _Clock(progress["seconds"]), _window_from_json(progress["window"])


def _so_far(batches: Any, seconds: float, window: Metrics | None, folder: RunFolder) -> dict[str, Any]:
    """What a checkpoint holds beside the state."""
    return {"batches": batches, "seconds": seconds, "window": _window_to_json(window), "run": folder.identity}


def _evaluate(
    evaluate: DataParallel,
    state: State,
    batches: Iterable[Batch],
    interruption: Interruption,
    show: Callable[[int, int | None], None],
) -> dict[str, float] | None:
    """Means over all batches; None where a signal came before the last, in a run of one process."""
    total = None
    count = len(batches) if isinstance(batches, Sized) else None
    for number, batch in enumerate(batches):
        show(number, count)
        if interruption.signal is not None and jax.process_count() == 1:
            return None
        metrics = evaluate(state, batch)
        jax.block_until_ready(total)
        total = metrics if total is None else _merge(total, metrics)
    return {} if total is None else read_metrics_of(total)


def _is_not_evaluated(step: int, config: LoopConfig, folder: RunFolder) -> bool:
    """Whether a signal ended the run in this step's evaluation, which goes on with it; of one process."""
    is_due = step > 0 and (step == config.num_steps or step % config.evaluate_every_steps == 0)
    if not is_due or jax.process_count() > 1:
        return False
    return all(line["step"] != step for line in read_metrics(folder.metrics_file, "test"))


@jax.jit
def _merge(one: Metrics, other: Metrics) -> Metrics:
    return {name: one[name].merge(other[name]) for name in one}


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in numbers]))


def _window_to_json(window: Metrics | None) -> dict[str, list]:
    """The sums and counts of the steps since the last line, exact in JSON, with their types."""
    return {
        name: [[str(number.dtype), float(number)] for number in average]
        for name, average in jax.device_get(window or {}).items()
    }


def _window_from_json(window: Mapping[str, Any]) -> Metrics | None:
    averages = {
        name: Average(*(jnp.asarray(value, np.dtype(dtype)) for dtype, value in pair)) for name, pair in window.items()
    }
    return averages or None
