"""How far a loop is and how long it has to go: a bar in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BEFORE_PROGRESS = 5.0

T = TypeVar("T")


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
