"""Ctrl-C at instants over a whole run, and the same command again: `python -m tests.durability.signals --count 100`.

Each run is a small experiment on images, from its first import to the last figure, and gets SIGINT at an instant of its
own, in even steps over the time that a whole run takes. It must end with code 130 and one line on stderr, or with 0
where it had finished; then the same command must end well, with the numbers of a run that was never interrupted. The
first hundredths of a second, until Python has begun to load the package, are Python's own: the clock starts after them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options

_PATIENCE = 600.0
# Of `experiments.faces_deformable --preset tiny`; three models, so that one ends and another begins.
SMALL = ("--data.synthetic.train-subjects", "4", "--data.synthetic.test-subjects", "2", "--training.epochs", "2")


@dataclass(frozen=True)
class Signals:
    """How often to interrupt.

    Attributes:
      count: instants.
      first, last: part of a whole run's time at the first and at the last of them.
      resume: also start the same command again after each, which takes as long as a run.
    """

    count: int = 100
    first: float = 0.0
    last: float = 1.0
    resume: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of one interrupted run.

    Attributes:
      at: seconds after its start.
      code: that it ended with.
      said: on stderr.
      seconds: from the signal to the end.
      problem: what is wrong with it; empty where nothing is.
    """

    at: float
    code: int
    said: str
    seconds: float
    problem: str


def interrupt_runs(
    instants: Sequence[float], folder: Path, *, resume: bool = True, options: Sequence[str] = SMALL
) -> Iterator[Outcome]:
    """What becomes of a run that is interrupted, for each of some instants.

    Args:
      instants: parts of the time that a whole run takes, 0 to 1.
      folder: where the runs go.
      resume: also start the same command again.
      options: of the experiment, beside those of its preset.
    """
    # The first one compiles for all.
    for name in ("first", "whole"):
        began = time.monotonic()
        process = _start(folder, name, options)
        said = process.communicate(timeout=_PATIENCE)[1]
        if process.returncode:
            raise RuntimeError(f"the whole run ended with code {process.returncode}: {said}")
        whole = time.monotonic() - began
    wanted = _what_it_left(folder / "whole")
    for i, instant in enumerate(instants):
        yield interrupt(folder, f"run{i}", partial(_wait, instant * whole), wanted if resume else None, options)


def interrupt(
    folder: Path,
    name: str,
    wait: Callable[[subprocess.Popen], None],
    wanted: dict[str, Any] | None = None,
    options: Sequence[str] = SMALL,
) -> Outcome:
    """What becomes of one run that is interrupted.

    Args:
      folder: where it goes.
      name: its own folder there.
      wait: returns at the instant; it gets the process.
      wanted: what the same command must leave when it is started again; it is not for None.
      options: of the experiment, beside those of its preset.
    """
    began = time.monotonic()
    process = _start(folder, name, options)
    while not _listens(process):
        time.sleep(0.001)
    wait(process)
    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    said = process.communicate(timeout=_PATIENCE)[1]
    seconds, code, problem = time.monotonic() - sent, process.returncode, ""
    if (code, said.count("\n")) != (130, 1) and (code, said) != (0, ""):
        problem = f"code {code} and {said.count(chr(10))} lines on stderr"
    elif wanted is not None:
        process = _start(folder, name, options)
        again = process.communicate(timeout=_PATIENCE)[1]
        if process.returncode or again:
            problem = f"the same command then ended with code {process.returncode}: {again}"
        elif _what_it_left(folder / name) != wanted:
            problem = "the same command then came to other numbers"
    return Outcome(sent - began, code, said, seconds, problem)


def _wait(seconds: float, process: subprocess.Popen) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _start(folder: Path, name: str, options: Sequence[str]) -> subprocess.Popen:
    # All runs share their compiled programs, which take longer than all else.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "experiments.faces_deformable", "--preset", "tiny", "--quiet", *options]
    command += ["--workdir", str(folder / name)]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **cache}, **pipes)


def _listens(process: subprocess.Popen) -> bool:
    """Whether the process has ended, or has handlers for both signals; Python's own is for SIGINT alone."""
    if process.poll() is not None:
        return True
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
    return all(caught >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))


def _what_it_left(workdir: Path) -> dict[str, Any]:
    """The results without times, and the metrics of both models."""
    results = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    for value in [results, *results.values()]:
        for name in ("seconds", "command") if isinstance(value, dict) else ():
            value.pop(name, None)
    metrics = {path.parent.name: path.read_text(encoding="utf-8") for path in workdir.glob("*/metrics.jsonl")}
    assert (workdir / "report.html").is_file()
    return {"results": results, "metrics": metrics}


def _main() -> int:
    config = parse_options(Signals, prog="python -m tests.durability.signals", description=__doc__)
    step = (config.last - config.first) / max(config.count - 1, 1)
    instants = [config.first + i * step for i in range(config.count)]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for outcome in interrupt_runs(instants, Path(folder), resume=config.resume):
            line = f"{outcome.at:6.2f} s  code {outcome.code}  after {outcome.seconds:.2f} s  {outcome.said.strip()}"
            print(f"{line}  PROBLEM: {outcome.problem}" if outcome.problem else line, flush=True)
            wrong += bool(outcome.problem)
    print(f"{config.count - wrong} of {config.count} as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    exit_with(_main)
