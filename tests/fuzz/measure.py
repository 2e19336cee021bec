"""What one call costs: processor time, and by how much the memory of the process rose."""

import ctypes
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facedis_jax.commands import M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

# Seconds for a file of at most 2 MiB, and for each MiB of a larger one.
MOST_SECONDS = 2.0
SECONDS_PER_MEGABYTE = 1.0
MOST_TIMES_THE_FILE = 10
ALWAYS_ALLOWED = 64 << 20


@dataclass(frozen=True)
class Cost:
    """The cost of one call.

    Attributes:
      seconds: processor time of all threads.
      memory: bytes by which the resident memory rose, at its peak, above what it was before.
      noise: bytes written to standard error meanwhile.
    """

    seconds: float
    memory: int
    noise: int


def most_seconds(size: int) -> float:
    """How long a reader may take for a file of `size` bytes, seconds."""
    return max(MOST_SECONDS, SECONDS_PER_MEGABYTE * size / 2**20)


def memory_share(memory: int, size: int) -> float:
    """Memory as a share of what a file of `size` bytes allows, 10 times the file and 64 MiB."""
    return memory / (MOST_TIMES_THE_FILE * size + ALWAYS_ALLOWED)


def measure(call: Callable[[], None]) -> Cost:
    """The cost of a call that raises nothing.

    Only Linux lets a process reset the peak of its memory; elsewhere memory counts as 0. Output to standard error is
    counted where that is a file.
    """
    noise, before, start = os.fstat(2).st_size, _resident(reset=True), time.process_time()
    call()
    seconds = time.process_time() - start
    return Cost(seconds, max(0, _peak() - before), os.fstat(2).st_size - noise)


def give_memory_back_at_once() -> None:
    """Has the C library return freed memory to the system, so that it counts again when it is taken again."""
    try:
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 18)
        library.mallopt(M_MMAP_THRESHOLD, 1 << 18)
        library.mallopt(M_MMAP_MAX, 1 << 16)
        library.malloc_trim(0)
    except (OSError, AttributeError):
        return


def _resident(*, reset: bool) -> int:
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"{name}:\s*(\d+) kB", text)
    return int(found[1]) << 10 if found else 0
