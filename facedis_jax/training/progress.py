"""What a person sees while a run goes on: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BEFORE_PROGRESS = 5.0
SHOWN_METRICS = 4

T = TypeVar("T")


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


class _Display:
    """Where `track` shows what it does, one thing at a time."""

    def __init__(self, file: TextIO | None):
        self.console = Console(file=file or sys.stderr)
        self.is_busy = False


_display: ContextVar[_Display | None] = ContextVar("display", default=None)


@contextmanager
def showing_progress(*, quiet: bool = False, file: TextIO | None = None) -> Iterator[None]:
    """While it is entered, `track` shows how far it is.

    Args:
      quiet: it shows nothing.
      file: stderr by default.
    """
    token = _display.set(None if quiet else _Display(file))
    try:
        yield
    finally:
        _display.reset(token)


def track(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """The items, with a bar and the time left on a terminal, else a plain line now and then, once seconds have passed.

    Shows nothing outside of `showing_progress`, in other threads, and inside of another loop that is shown.

    Args:
      items: to be iterated once.
      what: is done with them, such as "encoding faces".
      total: their number, where they have no length.
    """
    display = _display.get()
    if display is None or display.is_busy:
        yield from items
        return
    total = total if total is not None else len(items) if isinstance(items, Sized) else None
    display.is_busy = True
    bar = _Bar(display.console, what, total)
    try:
        for done, item in enumerate(items):
            bar.update(done)
            yield item
    finally:
        bar.stop()
        display.is_busy = False


class _Bar:
    """The progress of one loop, on a terminal or as lines; nothing before some seconds have passed."""

    def __init__(self, console: Console, what: str, total: int | None):
        self._console, self._what, self._total = console, what, total
        self._began = time.monotonic()
        self._next_line = self._began + SECONDS_BEFORE_PROGRESS
        self._bar: Progress | None = None

    def update(self, done: int) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif now >= self._next_line and self._console.is_terminal:
            columns = (TextColumn("{task.description}", markup=False), MofNCompleteColumn(), BarColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._task: TaskID = self._bar.add_task(self._what, total=self._total, completed=done)
            self._bar.start()
        elif now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            self._console.print(self._line(done, now - self._began), markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _line(self, done: int, seconds: float) -> str:
        if self._total is None or not done:
            return f"{self._what}: {done} done"
        left = timedelta(seconds=round(seconds / done * (self._total - done)))
        return f"{self._what}: {done} of {self._total}, {left} left"


def _as_text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:SHOWN_METRICS])
