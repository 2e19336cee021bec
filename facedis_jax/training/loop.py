"""The training loop: init or resume, step, log, evaluate, save. It never sees which learner it drives.

The step counter is its only clock: what is logged, evaluated and saved depends on the step alone, so that a
run that was interrupted repeats the one that was not, bit for bit.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import write_json
from facedis_jax.learners.learner import Batch, Learner, Metrics, State
from facedis_jax.metrics import Average
from facedis_jax.training.checkpoints import Checkpoints
from facedis_jax.training.interruption import Interruption, exit_code
from facedis_jax.training.logs import JsonLinesWriter, MetricWriter, TensorBoardWriter
from facedis_jax.training.parallel import DataParallel, Method, Tables, data_parallel
from facedis_jax.training.progress import ProgressReport
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
    """

    num_steps: int = 1000
    log_every_steps: int = 20
    evaluate_every_steps: int = 500
    checkpoint_every_steps: int = 500
    keep_checkpoints: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise InputError(field.name, "at least 1", str(value))


class BatchIterator(Protocol):
    """Endless batches of host arrays [batch, ...] whose place can be saved; Grain's `DatasetIterator` is one.

    The batches are this process's share of the global batch. The state is plain values that become JSON.
    """

    def __next__(self) -> Batch: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


class TrainingDiverged(RuntimeError):
    """Training gave a number that is not finite; the checkpoints are from before it did.

    Args:
      step: the step that gave it.
      values: the metrics of that step.
      file: where the step, its metrics and its examples are written down.
    """

    def __init__(self, step: int, values: Mapping[str, float], file: Path):
        self.step, self.values, self.file = step, dict(values), file
        parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        super().__init__(f"training diverged at step {step}: {parts}; its examples are listed in {file}")


class FitResult(NamedTuple):
    """How a call of `fit` ended.

    Attributes:
      state: the learner's state, on the devices.
      step: the number of steps behind it.
      seconds: how long training took, resumptions added up.
      interrupted_by: the number of the signal that ended it early, or None.
    """

    state: State
    step: int
    seconds: float
    interrupted_by: int | None

    @property
    def exit_code(self) -> int:
        """What a command exits with: 0, or 130 and 143 after SIGINT and SIGTERM."""
        return exit_code(self.interrupted_by)


class _Step(NamedTuple):
    """A step that was given to the device: its metrics are still there, and so is whether all numbers are finite."""

    number: int
    batch: Batch
    metrics: Metrics
    finite: jax.Array


class _Unread(NamedTuple):
    """Metrics that are still on the device, summed over the steps up to `step`."""

    step: int
    metrics: Metrics


def fit(
    learner: Learner,
    train_batches: BatchIterator,
    test_batches: Iterable[Batch],
    folder: RunFolder,
    config: LoopConfig,
    *,
    key: jax.Array,
    devices: Sequence[jax.Device] | None = None,
    method: Method = "pmap",
    axis_name: str = "devices",
    state_axes: Any = None,
    tensorboard: bool = False,
    quiet: bool = False,
    names: Sequence[str] | None = None,
    tables: Tables | None = None,
) -> FitResult:
    """Trains a learner, from its last checkpoint if the folder holds one.

    Args:
      learner: its `step` and `evaluate` take their collectives over `axis_name`; `init` is called without it.
      train_batches: endless; read one step ahead of the device at most.
      test_batches: iterated anew at each evaluation; `batch["mask"]` is 0 where an example is padding.
      folder: takes `metrics.jsonl` and `checkpoints/`.
      config: the length of the run and its intervals.
      key: a typed PRNG key, for `init`.
      devices, method, axis_name, state_axes: as for `data_parallel`.
      tensorboard: also write event files to the folder.
      quiet: show no progress.
      names: what the training examples are called, by `batch["index"]`; told of a batch that training diverges on.
      tables: what the training batches are taken from on the devices.

    Returns:
      The last state and how training ended.

    Raises:
      TrainingDiverged: on a metric or a parameter that is not finite.
      SaveFailed: a checkpoint could not be written.
      InputError: on a batch that the devices do not divide, or checkpoints that do not fit the learner or that
        another run has made: chains belong to examples by their places, which shapes do not tell apart.
    """

    def on_devices(function, **options) -> DataParallel:
        return data_parallel(
            function, devices=devices, method=method, axis_name=axis_name, state_axes=state_axes, **options
        )

    def whole(batch: Batch) -> Batch:
        return batch if tables is None else tables.take(tables.arrays, batch)

    train, evaluate = on_devices(learner.step, tables=tables), on_devices(learner.evaluate, returns_state=False)
    first_process = jax.process_index() == 0

    def so_far(batches: Any, seconds: float, window: Metrics | None) -> dict[str, Any]:
        return {"batches": batches, "seconds": seconds, "window": _window_to_json(window), "run": folder.identity}

    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, keep=config.keep_checkpoints))

        beginning = train_batches.get_state()
        sample = whole(next(train_batches))
        restored = checkpoints.restore(train.abstract_state(jax.eval_shape(learner.init, key, sample)))
        if restored is None:
            train_batches.set_state(beginning)
            # It runs once, and to optimise its random draws takes longer than they do.
            init = jax.jit(learner.init, compiler_options={"xla_backend_optimization_level": 0})
            state = train.place_state(init(key, sample))
            first_step, seconds_before, window = 0, 0.0, None
            # So that there is one from before whatever happens.
            checkpoints.save(0, state, so_far(beginning, 0.0, None))
        else:
            if restored.progress.get("run", folder.identity) != folder.identity:
                raise InputError(
                    folder.checkpoints, "checkpoints of this run, of its settings and data", "another run's"
                )
            train_batches.set_state(restored.progress["batches"])
            state = restored.state
            first_step, seconds_before = restored.step, restored.progress["seconds"]
            window = _window_from_json(restored.progress["window"])

        writers: list[MetricWriter] = []
        if first_process:
            writers.append(stack.enter_context(closing(JsonLinesWriter(folder.metrics_file, first_step))))
            if tensorboard:
                writers.append(stack.enter_context(closing(TensorBoardWriter(folder.tensorboard, first_step))))
        progress = stack.enter_context(
            ProgressReport(config.num_steps, step=first_step, quiet=quiet or not first_process)
        )
        interruption = stack.enter_context(Interruption())

        # JAX's own transfers between processes are implicit, and the guard would stop them.
        guard = "disallow" if jax.process_count() == 1 else "allow"
        began = time.perf_counter()

        def seconds() -> float:
            return seconds_before + time.perf_counter() - began

        def check(done: _Step) -> None:
            if not done.finite:
                values = _read(done.metrics)
                if first_process:
                    write_json(
                        folder.divergence_file, _what_diverged(done._replace(batch=whole(done.batch)), values, names)
                    )
                raise TrainingDiverged(done.number, values, folder.divergence_file)

        def report(unread: _Unread) -> None:
            values = _read(unread.metrics)
            for writer in writers:
                writer.write(unread.step, "train", values)
            progress.update(unread.step, values)

        step, previous, unread, stopped_by = first_step, None, None, None
        while step < config.num_steps and stopped_by is None:
            batch = next(train_batches)
            with jax.transfer_guard(guard):
                state, metrics = train(state, batch)
            step += 1
            current = _Step(step, batch, metrics, _all_finite(metrics))
            # The device has its next step; only now wait for the one before, which bounds what is queued.
            if previous is not None:
                check(previous)
            if unread is not None:
                report(unread)
            previous, unread = current, None
            progress.update(step - 1)

            last = step == config.num_steps
            window = metrics if window is None else _merge(window, metrics)
            if last or step % config.log_every_steps == 0:
                unread, window = _Unread(step, window), None

            stopped_by = interruption.agreed_signal(step, every=config.log_every_steps)
            evaluate_now = last or step % config.evaluate_every_steps == 0
            save_now = last or step % config.checkpoint_every_steps == 0 or stopped_by is not None
            if save_now:
                current = current._replace(finite=_all_finite((state, metrics)))
            if evaluate_now or save_now:
                check(current)
                if unread is not None:
                    report(unread)
                    unread = None
            # Lines come before the checkpoint of their step, so that none is missing after it.
            if evaluate_now:
                values = _evaluate(evaluate, state, test_batches)
                for writer in writers if values else ():
                    writer.write(step, "test", values)
            if save_now:
                checkpoints.save(step, state, so_far(train_batches.get_state(), seconds(), window))

        return FitResult(state, step, seconds(), None if step == config.num_steps else stopped_by)


def _what_diverged(done: _Step, values: Mapping[str, float], names: Sequence[str] | None) -> dict[str, Any]:
    """The step, its metrics as text, which JSON needs for NaN, and all that says which examples it was given."""
    labels = {
        name: np.asarray(column).tolist()
        for name, column in done.batch.items()
        if np.ndim(column) == 1  # one number an example
    }
    examples = [dict(zip(labels, row, strict=True)) for row in zip(*labels.values(), strict=True)]
    for example in examples:
        if names is not None and "index" in example:
            example["name"] = names[example["index"]]
    return {
        "step": done.number,
        "metrics": {name: value if np.isfinite(value) else str(value) for name, value in values.items()},
        "examples": examples,
    }


def _evaluate(evaluate: DataParallel, state: State, batches: Iterable[Batch]) -> dict[str, float]:
    total = None
    for batch in batches:
        metrics = evaluate(state, batch)
        jax.block_until_ready(total)
        total = metrics if total is None else _merge(total, metrics)
    return {} if total is None else _read(total)


@jax.jit
def _merge(one: Metrics, other: Metrics) -> Metrics:
    return {name: one[name].merge(other[name]) for name in one}


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in numbers]))


def _read(metrics: Metrics) -> dict[str, float]:
    """Waits for the device; names in sorted order, as a compiled function returns them."""
    return {name: average.compute() for name, average in jax.device_get(metrics).items()}


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
