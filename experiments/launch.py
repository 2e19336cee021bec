"""Starts an experiment as several processes on this machine: `python -m experiments.launch --processes 2 coma_ib ...`.

Everything after the experiment's name is passed on. The processes find each other on the loopback interface and share
the work as several machines would; the run's folder, and what comes out, are those of one process. On several machines
start the experiment itself on each, with `--coordinator` (see `experiments/RUNS.md`).
"""

import argparse
import os
import signal
from pathlib import Path

from facedis_jax.errors import InputError
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.processes import commands, launch


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.launch", description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="how many (default: %(default)s)")
    parser.add_argument("experiment", help="name of a module in experiments/")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its own options")
    given = parser.parse_args()
    here = Path(__file__).parent
    names = sorted(path.stem for path in here.glob("[a-z]*.py") if path.stem not in ("differences", "launch"))
    if given.experiment not in names:
        raise InputError("experiment", f"one of {', '.join(names)}", given.experiment)
    if given.processes < 1:
        raise InputError("--processes", "1 or more", str(given.processes))
    # Else each process takes every core for its own thread pool and all of an accelerator's memory.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Ctrl-C reaches all processes of a terminal by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return launch(commands(f"experiments.{given.experiment}", given.arguments, given.processes))


if __name__ == "__main__":
    exit_with(_main)
