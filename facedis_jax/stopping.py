"""Ctrl-C and a scheduler's SIGTERM: a command ends at any instant with one line and code 130 or 143.

A `KeyboardInterrupt` does not do: raised inside a callback of XLA's compiler or of an import it is swallowed, or leaves
C++ code half-way, and the interpreter's shutdown then takes the process down while other threads still compute (a
segmentation fault). A handler in Python that sets a flag is not enough either, since it runs only when the main thread
is back from C++ code, minutes later where a large step is compiled.

So no exception is raised. The handler in C passes the number of the signal to a thread that waits for it, and this
thread ends the process by `os._exit`, which runs no destructors: at once, as files are written whole or not at all
(`facedis_jax.formats.whole`) and checkpoints get their names last; or, where there is something worth saving (`hold`),
when that is saved, or at the second signal. There is no deadline: a step may last longer than any, and what would be
lost is hours of steps.

Signals belong to the process, and so does the one object here. It stands below everything and imports no other module,
so that it is there before the imports that take seconds. Only what runs as a command asks for it; as a library, and
under pytest, the package leaves signals alone. What comes before the package itself is loaded, in the first hundredths
of a second, is Python's own affair.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# `timeout -s INT` sends a signal to its command and to the group of processes: one request in two.
_SAME_REQUEST_S = 0.25
# For a stdout that nobody reads.
_FLUSH_S = 0.5
# Progress bars hide it.
_SHOW_CURSOR = "\x1b[?25h"


class Hold:
    """A stretch of a command that a first signal does not end.

    Attributes:
      doing: what is done first, for the line that is printed.
      signal: the number of the signal that came, or None.
    """

    def __init__(self, doing: str):
        self.doing = doing
        self.signal: int | None = None


class _Command:
    """The signals of this process while it runs a command."""

    def __init__(self, last_words: str):
        self.last_words = last_words
        self.lock = threading.Lock()
        self.hold: Hold | None = None
        self.unfinished: set[str] = set()
        self.helpers: set[subprocess.Popen[bytes]] = set()
        self.first_signal: float | None = None
        self.has_begun_line = False
        self.leaving = threading.Lock()
        self._wakeups, self._sender = socket.socketpair()

    def listen(self) -> None:
        """Takes the signals; in the main thread alone."""
        self._sender.setblocking(False)
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, _pass)
            # System calls of other libraries go on, as if there had been no signal.
            signal.siginterrupt(number, False)
        os.register_at_fork(after_in_child=_leave_to_parent)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def _watch(self) -> None:
        while numbers := self._wakeups.recv(64):
            for number in numbers:
                # Whoever has set another handler since has taken the signal over.
                if signal.getsignal(number) is _pass:
                    self._take(number)

    def _take(self, number: int) -> None:
        now = time.monotonic()
        with self.lock:
            if self.first_signal is not None and now - self.first_signal < _SAME_REQUEST_S:
                return
            self.first_signal = now if self.first_signal is None else self.first_signal
            hold = self.hold
            if hold is not None and hold.signal is None:
                hold.signal = number
                self.has_begun_line = True
                _say(f"{_to_line_start()}{_name(number)}: {hold.doing} (once more stops at once) ... ")
                return
        self.leave(128 + number, self.last_words if self.has_begun_line else f"{_name(number)}: {self.last_words}")

    def leave(self, code: int, line: str) -> None:
        """Prints the line and ends the process; in any thread."""
        if not self.leaving.acquire(blocking=False):
            wait_if_leaving()  # Another thread is about to end the process.
        _say(f"{'' if self.has_begun_line else _to_line_start()}{line}\n{_SHOW_CURSOR if _is_terminal() else ''}")
        flushing = threading.Thread(target=_flush, daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
        processes = sys.modules.get("multiprocessing")
        for child in [] if processes is None else processes.active_children():
            child.kill()
        for helper in tuple(self.helpers):
            helper.kill()
            helper.wait()
        for path in tuple(self.unfinished):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                os.unlink(path)
        os._exit(code)


_command: _Command | None = None


def stop_on_signals(last_words: str = "stopped") -> None:
    """From here on SIGINT and SIGTERM end this process, a command, with one line and code 130 or 143.

    Args:
      last_words: the line, after the name of the signal.
    """
    global _command
    if _command is None and threading.current_thread() is threading.main_thread():
        _command = _Command(last_words)
        _command.listen()


def is_command() -> bool:
    """Whether signals end this process as `stop_on_signals` says."""
    return _command is not None


@contextmanager
def hold(doing: str) -> Iterator[Hold]:
    """A stretch that a first signal does not end: it is noted, and whoever holds has to look for it and to end soon.

    Args:
      doing: what is done first, such as "saving after this step".
    """
    held = Hold(doing)
    if _command is None:
        yield held
        return
    with _command.lock:
        before, _command.hold = _command.hold, held
    try:
        yield held
    finally:
        with _command.lock:
            _command.hold = before


@contextmanager
def removed_when_stopped(path: str | os.PathLike[str]) -> Iterator[None]:
    """While it is entered, a signal that ends the process removes this unfinished file or folder as well."""
    if _command is None:
        yield
        return
    _command.unfinished.add(os.fspath(path))
    try:
        yield
    finally:
        _command.unfinished.discard(os.fspath(path))


@contextmanager
def killed_when_stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """While it is entered, a signal that ends this process kills another one first, which may write what is removed."""
    if _command is None:
        yield
        return
    _command.helpers.add(process)
    try:
        yield
    finally:
        _command.helpers.discard(process)


def leave(code: int, line: str) -> None:
    """Ends a command that a signal has stopped, with its last line; returns where signals were not asked for."""
    if _command is not None:
        _command.leave(code, line)


def wait_if_leaving() -> None:
    """Does not return while a signal ends the process: what fails in the main thread meanwhile is not to be told."""
    while _command is not None and _command.leaving.locked():
        time.sleep(1)


def ignore_signals() -> None:
    """The command has done all it had to: what comes while the interpreter shuts down changes nothing."""
    wait_if_leaving()
    if _command is not None:
        for number in _SIGNALS:
            if signal.getsignal(number) is _pass:
                signal.signal(number, signal.SIG_IGN)


def _pass(number: int, frame: FrameType | None) -> None:
    """Does nothing in the main thread: the other one has been told already."""


def _leave_to_parent() -> None:
    """In a forked process: its parent is told of Ctrl-C as well, and ends it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _name(number: int) -> str:
    return signal.Signals(number).name


def _to_line_start() -> str:
    """On a terminal, the line has begun with ^C or a progress bar."""
    return "\n" if _is_terminal() else ""


def _say(text: str) -> None:
    # Not print, whose lock the main thread may hold.
    with suppress(OSError):
        os.write(2, text.encode())


def _is_terminal() -> bool:
    try:
        return os.isatty(2) and os.environ.get("TERM") != "dumb"
    except OSError:
        return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
