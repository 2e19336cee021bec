"""Work on many files: ahead of whoever wants it, on all cores, and in sight of whoever waits."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import rich.console
import rich.progress

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What `read` makes of each item, in their order, computed ahead by a thread for each core.

    At most two results for each thread are held. Decoding and hashing leave Python's lock to the others.
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


def num_cores() -> int:
    """How many of the CPU's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def track(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a progress bar on standard error where that is a terminal."""
    console = rich.console.Console(stderr=True)
    return rich.progress.track(items, description, console=console, transient=True, disable=not sys.stderr.isatty())
