"""Kills training at random instants and starts it again: `python -m tests.durability.kills --count 50`.

A run that was never interrupted gives the bytes to be reached. Then runs are started in fresh folders, each killed by
SIGKILL again and again at an instant drawn evenly from its training, the saving of checkpoints included, until it ends
by itself. Every ended run must have the same bytes of weights, optimiser and chains and the same metrics file.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options
from tests.durability.small_runs import STATE_FILE, Model, state_bytes

# Longer than any of these runs takes to compile on a busy machine.
_PATIENCE = 300.0


@dataclass(frozen=True)
class Kills:
    """What to kill, and how often.

    Attributes:
      count: kills of each model's training.
      models: what is trained.
      seed: of the instants.
      steps: of each run; a checkpoint is saved every five.
    """

    count: int = 50
    models: tuple[Model, ...] = ("ib_vae", "abp")
    seed: int = 0
    steps: int = 120


@dataclass(frozen=True)
class Outcome:
    """What became of the kills of one model.

    Attributes:
      kills: how many there were.
      while_saving: of them, those that left an unfinished checkpoint.
      runs: that ended.
      equal: of them, those with the bytes of the run that was never interrupted.
    """

    kills: int
    while_saving: int
    runs: int
    equal: int

    @property
    def ok(self) -> bool:
        return self.runs == self.equal > 0


def kill_training(model: Model, count: int, folder: Path, *, steps: int, seed: int = 0) -> Outcome:
    """Kills a model's training `count` times, over as many runs as that takes.

    Args:
      model: what is trained.
      count: how often it is killed.
      folder: where the runs go.
      steps: of each.
      seed: of the instants.
    """
    rng = random.Random(seed)
    whole = folder / "whole"
    process = _start(model, whole, steps)
    began = _wait_for_training(process, whole)
    _finish(process)
    seconds = time.monotonic() - began
    wanted = _what_it_left(whole)

    tally: Counter[str] = Counter()
    while tally["kills"] < count:
        workdir = folder / f"run{tally['runs']}"
        process = _start(model, workdir, steps)
        while True:
            began = _wait_for_training(process, workdir)
            instant = began + rng.uniform(0, seconds) if tally["kills"] < count else float("inf")
            while process.poll() is None and time.monotonic() < instant:
                time.sleep(0.001)
            if process.poll() is not None:
                break
            process.kill()
            process.wait()
            tally["kills"] += 1
            tally["while_saving"] += any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
            process = _start(model, workdir, steps)
        _finish(process)
        tally["runs"] += 1
        tally["equal"] += _what_it_left(workdir) == wanted
        shutil.rmtree(workdir)
    return Outcome(*(tally[name] for name in ("kills", "while_saving", "runs", "equal")))


def _start(model: Model, workdir: Path, steps: int) -> subprocess.Popen:
    program = [sys.executable, "-m", "tests.durability.small_runs", "--model", model, "--steps", str(steps)]
    # All runs of a folder share their compiled programs, which take longer than the training.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    program += ["--devices", "1", "--workdir", str(workdir)]
    return subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env={**os.environ, **cache})


def _wait_for_training(process: subprocess.Popen, workdir: Path) -> float:
    """The moment at which it begins; at once where the process has ended."""
    file = workdir / "metrics.jsonl"
    before = file.stat().st_ino if file.exists() else None
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        # Resuming writes the file anew, by renaming another over it.
        if file.exists() and file.stat().st_ino != before:
            break
        time.sleep(0.001)
    return time.monotonic()


def _finish(process: subprocess.Popen) -> None:
    _, said = process.communicate(timeout=_PATIENCE)
    if process.returncode:
        raise RuntimeError(f"training ended with code {process.returncode}: {said}")


def _what_it_left(workdir: Path) -> tuple[list[bytes], bytes]:
    return state_bytes(workdir / STATE_FILE), (workdir / "metrics.jsonl").read_bytes()


def _main() -> int:
    config = parse_options(Kills, prog="python -m tests.durability.kills", description=__doc__)
    ok = True
    for model in config.models:
        with tempfile.TemporaryDirectory() as folder:
            outcome = kill_training(model, config.count, Path(folder), steps=config.steps, seed=config.seed)
        ok &= outcome.ok
        print(
            f"{model}: {outcome.kills} kills, {outcome.while_saving} of them while a checkpoint was saved; "
            f"{outcome.equal} of {outcome.runs} runs ended with the bytes of one that was never interrupted",
            flush=True,
        )
    return 0 if ok else 1


if __name__ == "__main__":
    exit_with(_main)
