"""What a person sees while a run goes on: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from facedis_jax.progress import SECONDS_BETWEEN_LINES

SHOWN_METRICS = 4


class ProgressReport:
    """Step, speed, time left and losses of a run, on stderr; a context manager.

    Args:
      num_steps: where the run ends.
      step: where it begins; not counted into the speed.
      quiet: show nothing.
      file: stderr by default.
    """

    def __init__(self, num_steps: int, *, step: int = 0, quiet: bool = False, file: TextIO | None = None):
        console = Console(file=file or sys.stderr)
        self._num_steps, self._first_step = num_steps, step
        self._quiet = quiet
        self._console = console
        self._began = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal and not quiet:
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                _SpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}", markup=False),
                console=console,
            )
            self._task = self._bar.add_task("train", total=num_steps, completed=step, values="")

    def __enter__(self) -> "ProgressReport":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """Shows that a step is done, and the metrics where there are new ones."""
        if self._bar is not None:
            if values is None:
                self._bar.update(self._task, completed=step)
            else:
                self._bar.update(self._task, completed=step, values=_as_text(values))
        elif values is not None and not self._quiet:
            now = time.monotonic()
            if now - self._last_line >= SECONDS_BETWEEN_LINES or step == self._num_steps:
                self._last_line = now
                self._console.print(self._line(step, now, values), markup=False, highlight=False, soft_wrap=True)

    def evaluated(self, step: int, batches: int, total: int | None) -> None:
        """Shows how much of the evaluation after a step is done."""
        text = f"evaluating: batch {batches}" + ("" if total is None else f" of {total}")
        if self._bar is not None:
            self._bar.update(self._task, completed=step, values=text)
        elif not self._quiet and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(f"step {step}/{self._num_steps}  {text}", markup=False, highlight=False)

    def _line(self, step: int, now: float, values: Mapping[str, float]) -> str:
        speed = (step - self._first_step) / max(now - self._began, 1e-9)
        left = timedelta(seconds=round((self._num_steps - step) / max(speed, 1e-9)))
        return f"step {step}/{self._num_steps}  {speed:.1f} steps/s  {left} left  {_as_text(values)}"


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} steps/s")


def _as_text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:SHOWN_METRICS])
