"""Work on many files ahead of whoever wants it, on all cores."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import cycle, islice
from typing import Any, Generic, Self, TypeVar

import cloudpickle

from facedis_jax.stopping import killed_when_stopped

with suppress(ImportError):  # Windows
    import fcntl

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `read` makes of each item, in their order, computed ahead by a thread for each core.

    At most two results for each thread are held. For what leaves Python's lock to other threads: hashing, and JAX.
    """
    threads = num_cores()
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(read, item))
                if len(pending) >= 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class ProcessReader(Generic[T, R]):
    """Reads items ahead in processes, one for each core up to eight, where it would last long in this one.

    Decoding in Python holds Python's lock: threads would not read faster than one of them. The first items are read
    here, and processes are started once these have shown that the rest would take longer than starting does.

    Args:
      read: what is made of an item; it is sent to the processes.
      total: how many items there will be.
      counts: what `read` counts up, and holds itself.

    Example:
      >>> with ProcessReader(abs, total=3) as reader:
      ...     list(reader([1, -2, 3]))
      [1, 2, 3]
    """

    def __init__(self, read: Callable[[T], R], *, total: int, counts: Counter[str] | None = None):
        self._read, self._left, self._counts = read, total, Counter() if counts is None else counts
        self._seconds, self._done = 0.0, 0
        self._processes: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.end()
        self._processes = []

    def __call__(self, items: Iterable[T], *, at_once: int | None = None) -> Iterator[R]:
        """What `read` makes of the items, in their order; an error comes where its item would.

        Args:
          items: no more of them are taken than are soon read.
          at_once: how many a process reads and sends back together; by the time that they took so far if None.
        """
        waiting = iter(items)
        while not self._processes or not all(process.is_ready for process in self._processes):
            item = next(waiting, _NONE)
            if item is _NONE:
                return
            began = time.monotonic()
            result = self._read(item)  # type: ignore[arg-type]
            self._seconds += time.monotonic() - began
            self._done, self._left = self._done + 1, self._left - 1
            slow = self._seconds / self._done * self._left > _WORTH_STARTING_S
            if slow and num_cores() > 1 and not self._processes:
                task = cloudpickle.dumps((self._read, self._counts))
                self._processes = [_Process(task) for _ in range(min(num_cores(), _MOST_PROCESSES))]
            yield result
        size = at_once or max(1, min(_MOST_AT_ONCE, int(_AT_ONCE_S * self._done / max(self._seconds, 1e-9))))
        asked: deque[tuple[_Process, list[T]]] = deque()
        try:
            for process in cycle(self._processes):
                chunk = list(islice(waiting, size))
                if not chunk:
                    break
                process.ask(chunk)
                asked.append((process, chunk))
                if len(asked) > _CHUNKS_AHEAD * len(self._processes):
                    yield from self._answer(*asked.popleft())
            while asked:
                yield from self._answer(*asked.popleft())
        finally:
            # Of a loop that was left: what has been asked for would else be taken for the answer to something else.
            for process, _ in asked:
                process.answer()

    def _answer(self, process: "_Process", chunk: list[T]) -> Iterator[R]:
        answer = process.answer()
        if answer is None:
            # The process is gone. What ended it may end this one too, but then it says so.
            yield from map(self._read, chunk)
            return
        results, error, counted = answer
        self._counts.update(counted)
        yield from results
        if error is not None:
            raise error


_NONE: Any = object()
# More would wait for this one, which hashes and writes; each takes 0.2 GB.
_MOST_PROCESSES = 8
# Starting takes about a second of each core.
_WORTH_STARTING_S = 6.0
# What is sent at once: enough not to wait for pipes, in little memory.
_AT_ONCE_S, _MOST_AT_ONCE, _CHUNKS_AHEAD = 0.05, 64, 2
# Of an answer's pipe, where the system allows it: the most that Linux gives to every user. With its 64 kB, processes
# would wait for each other ten times as often.
_PIPE_BYTES = 1 << 20

Answer = tuple[list[Any], Exception | None, Counter[str]]


class _Process:
    """A process that reads for this one: with nothing of the program that runs here, in a session of its own.

    So Ctrl-C does not reach it, and it can print nothing; it ends when this process does, by the end of its input.
    `multiprocessing` would import the program anew, or fork a process with threads.
    """

    def __init__(self, task: bytes):
        program = "from facedis_jax.data.ahead import _serve; _serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        self._until_end = ExitStack()
        self._until_end.enter_context(killed_when_stopped(self._process))
        with suppress(NameError, AttributeError, OSError):
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[arg-type]
        # In a thread, since it waits until the process has begun and takes it.
        self._beginning = threading.Thread(target=self._send, args=(task,), daemon=True)
        self._beginning.start()

    @property
    def is_ready(self) -> bool:
        """Whether it has taken what it is to read by."""
        return not self._beginning.is_alive()

    def ask(self, chunk: list[Any]) -> None:
        self._send(pickle.dumps(chunk))

    def answer(self) -> Answer | None:
        """The answer to what was asked first; None if the process is gone."""
        try:
            return pickle.load(self._process.stdout)  # type: ignore[arg-type]
        except (EOFError, pickle.UnpicklingError, ValueError):  # The last of a pipe that `end` has closed.
            return None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._until_end.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]

    def _send(self, data: bytes) -> None:
        with suppress(OSError):  # It is gone, as its answer will show.
            self._process.stdin.write(data)  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]


def _serve() -> None:
    """What a `_Process` does: answers chunks of items on stdin with what is made of them, up to the first error."""
    # Nothing that a library prints may come between the answers.
    with os.fdopen(os.dup(1), "wb") as answers, suppress(EOFError, OSError):
        os.dup2(2, 1)
        read, counts = pickle.load(sys.stdin.buffer)
        while True:
            before, results, found = Counter(counts), [], None
            for item in pickle.load(sys.stdin.buffer):
                try:
                    results.append(read(item))
                except Exception as error:
                    found = error
                    break
            answers.write(cloudpickle.dumps((results, found, counts - before)))
            answers.flush()


def num_cores() -> int:
    """How many of the CPU's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
