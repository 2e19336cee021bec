"""How the process of a command begins and ends: its signals, its streams, its last line and exit code."""

import atexit
import ctypes
import gc
import io
import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from facedis_jax.stopping import ignore_signals, stop_on_signals

# Options of glibc's `mallopt` by their numbers in <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
_KEEP_FREED_MEMORY = {
    M_TRIM_THRESHOLD: 2**31 - 1,  # what is free at the top is not given back
    M_TOP_PAD: 2**26,  # 64 MiB more than is asked for
    M_MMAP_MAX: 0,  # no array has pages of its own
    M_ARENA_MAX: 1,  # all threads share what is free
}
# Objects that are made before Python looks for those that only refer to each other, at first and later. By its own
# numbers, 700, it did so 1,500 times before a first step, as modules are imported and programs traced: a seventh of a
# start for next to nothing that was found.
_OBJECTS, _TIMES = 50_000, (10, 10)
# The code with which this process, a command, ends at once; empty where it does not.
_exit_code: list[int] = []


def begin_command(last_words: str = "stopped") -> None:
    """Signals end this process, a command, with one line, and it can print whatever its streams are.

    Its freed memory stays its own, see `keep_freed_memory`.

    Args:
      last_words: the line, after the name of the signal.
    """
    keep_freed_memory()
    _open_streams()
    gc.set_threshold(_OBJECTS, *_TIMES)
    # What is registered first is run last.
    atexit.register(_leave_without_teardown)
    # It tells of a home that cannot be written, which matters to no run.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    stop_on_signals(last_words)


def begin_command_of_package(last_words: str = "stopped") -> None:
    """As `begin_command`, where `python -m` looks for a module of the package whose `__init__` calls this."""
    if sys.argv[:1] == ["-m"]:
        begin_command(last_words)


def keep_freed_memory() -> None:
    """Has glibc keep what is freed for the next array, rather than give it back to the system.

    A training step takes and frees the same arrays over and over. Those above 32 MiB, and those of any thread but the
    first, would be pages that the system has to clear anew: up to a third of the time of a step on a CPU
    (benchmarks/RESULTS.md). The most that a process holds at once stays as it was. Must come before threads take memory
    of their own. Elsewhere than under glibc, and where its `MALLOC_` variables are set, nothing changes.
    """
    if any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ:
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    for option, value in _KEEP_FREED_MEMORY.items():
        set_option(option, value)


def end_command(code: int, line: str = "", *, at_once: bool = False) -> NoReturn:
    """Exits with a code, after a line on stderr if there is one; also where a stream has nobody who reads it.

    Args:
      code: of the process.
      line: for stderr.
      at_once: the command has opened no file and started nothing, so that there is nothing to be taken apart.
    """
    ignore_signals()
    with suppress(OSError, ValueError):
        if line:
            print(line, file=sys.stderr, flush=True)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            # What it still holds would fail again at the interpreter's end, with lines and a code of its own.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    _exit_code[:] = [code] if at_once else []
    sys.exit(code)


def _leave_without_teardown() -> None:
    """Ends the process where the interpreter would take its modules apart, object by object: 0.3 s of jax's alone."""
    if _exit_code:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(_exit_code[0])


def _open_streams() -> None:
    """Makes streams of what is closed, and escapes of characters that an encoding lacks."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file to be opened, a checkpoint perhaps, would get its number and all that is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
