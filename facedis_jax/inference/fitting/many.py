"""Many scans at a time: a compiled fit keeps one core busy, so that as many are under way as there are cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")

# Each holds the samples and equations of a scan, some 100 MB.
_MOST_THREADS = 16


def on_all_cores(function: Callable[..., Result], arguments: Sequence[tuple[Any, ...]]) -> list[Result]:
    """What a function gives for each of some arguments, in their order, by a thread for each core.

    The first is computed alone: it compiles what all others need.

    Example:
      >>> on_all_cores(pow, [(2, 3), (3, 2), (5, 1)])
      [8, 9, 5]
    """
    results = [function(*first) for first in arguments[:1]]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(cores, _MOST_THREADS)) as pool:
        return results + list(pool.map(lambda each: function(*each), arguments[1:]))
