"""What a run writes and shows on the way, and the check that it has not diverged."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.formats.json_files import write_json
from facedis_jax.learners.learner import Batch, Metrics
from facedis_jax.training.logs import JsonLinesWriter, MetricWriter, TensorBoardWriter
from facedis_jax.training.progress import ProgressReport
from facedis_jax.training.run_folder import RunFolder


class TrainingDiverged(RuntimeError):
    """Training gave a number that is not finite; the checkpoints are from before it did.

    Args:
      step: the step that gave it.
      values: the metrics of that step.
      file: where the step, its metrics and its examples are written down.

    Example:
      >>> print(TrainingDiverged(7, {"loss": float("nan")}, Path("run/diverged.json")))
      training diverged at step 7: loss nan; its examples are listed in run/diverged.json
    """

    def __init__(self, step: int, values: Mapping[str, float], file: Path):
        self.step, self.values, self.file = step, dict(values), file
        parts = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        super().__init__(f"training diverged at step {step}: {parts}; its examples are listed in {file}")


class DispatchedStep(NamedTuple):
    """A step that the device may still be at: `metrics`, and whether all numbers are `finite`, are on the device."""

    number: int
    batch: Batch
    metrics: Metrics
    finite: jax.Array


class UnreadMetrics(NamedTuple):
    """Metrics that are still on the device, summed over the steps up to `step`."""

    step: int
    metrics: Metrics


class Record:
    """Writes and shows the metrics of a run, in its first process alone; a context manager.

    Args:
      folder: of the run.
      names: of the training examples.
      whole: gives the examples of a batch, which may have their indices alone.
      first_step: that the run goes on from.
      num_steps: of the whole run.
      tensorboard: also write event files.
      quiet: show no progress.
    """

    def __init__(
        self,
        folder: RunFolder,
        names: Sequence[str] | None,
        whole: Callable[[Batch], Batch],
        *,
        first_step: int,
        num_steps: int,
        tensorboard: bool,
        quiet: bool,
    ):
        self._folder, self._names, self._whole = folder, names, whole
        self._writes = jax.process_index() == 0
        self._writers: list[MetricWriter] = []
        self._stack = ExitStack()
        self._tensorboard, self._first_step = tensorboard, first_step
        self.progress = ProgressReport(num_steps, step=first_step, quiet=quiet or not self._writes)

    def __enter__(self) -> "Record":
        with ExitStack() as stack:
            if self._writes:
                self._writers.append(JsonLinesWriter(self._folder.metrics_file, self._first_step))
                stack.enter_context(closing(self._writers[-1]))
                if self._tensorboard:
                    self._writers.append(TensorBoardWriter(self._folder.tensorboard, self._first_step))
                    stack.enter_context(closing(self._writers[-1]))
            stack.enter_context(self.progress)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def check(self, done: DispatchedStep) -> None:
        """Waits for a step; raises `TrainingDiverged`, with its examples written down, if it is not finite."""
        if not done.finite:
            values = read_metrics_of(done.metrics)
            if self._writes:
                done = done._replace(batch=self._whole(done.batch))
                write_json(self._folder.divergence_file, _what_diverged(done, values, self._names))
            raise TrainingDiverged(done.number, values, self._folder.divergence_file)

    def train(self, unread: UnreadMetrics) -> None:
        """Writes and shows the metrics of the steps up to one."""
        values = read_metrics_of(unread.metrics)
        for writer in self._writers:
            writer.write(unread.step, "train", values)
        self.progress.update(unread.step, values)

    def test(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of an evaluation; nothing if there are no test examples."""
        for writer in self._writers if values else ():
            writer.write(step, "test", values)


def read_metrics_of(metrics: Metrics) -> dict[str, float]:
    """Metrics by name, in sorted order, as a compiled function returns them; waits for the device."""
    return {name: average.compute() for name, average in jax.device_get(metrics).items()}


def _what_diverged(done: DispatchedStep, values: Mapping[str, float], names: Sequence[str] | None) -> dict[str, Any]:
    """The step, its metrics (NaN as text, for JSON), and the index, labels and name of each of its examples."""
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
