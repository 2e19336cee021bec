"""Trains on a disk that fills up: `python -m tests.durability.full_disk --folder DIR`.

The folder should be a small file system of its own, such as one of 4 MiB: `mount -t tmpfs -o size=4m tmpfs DIR`. What
is left free of it is filled but for a little, then a run is started there. It must end with one line that says why
and with code 74, its last checkpoint must be whole, and once there is room again the same command must finish.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from facedis_jax.errors import InputError
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options
from facedis_jax.training import Checkpoints

# A command that fills a disk should not be pointed at a real one by mistake.
_LARGEST = 64 << 20


@dataclass(frozen=True)
class FullDisk:
    """Where to train.

    Attributes:
      folder: on a small file system.
      room: bytes that are left free at the start; of the runs here a checkpoint takes about 60,000.
    """

    folder: Path
    room: int = 300_000


def train_on_full_disk(folder: Path, room: int) -> tuple[int, str, int | None, int]:
    """Fills the disk, trains, makes room, and trains on.

    Returns:
      The first run's exit code and what it said, the step of the checkpoint that was left, and the second run's code.
    """
    filler, workdir = folder / "filler", folder / "run"
    with filler.open("wb") as file:
        free = shutil.disk_usage(folder).free
        file.write(b"\0" * max(0, free - room))
    command = [sys.executable, "-m", "tests.durability.small_runs", "--workdir", str(workdir)]
    first = subprocess.run(command, capture_output=True, text=True)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        left = checkpoints.latest_step
    filler.unlink()
    second = subprocess.run(command, capture_output=True, text=True)
    return first.returncode, first.stderr, left, second.returncode


def _main() -> int:
    config = parse_options(FullDisk, prog="python -m tests.durability.full_disk", description=__doc__)
    if not config.folder.is_dir():
        raise InputError(config.folder, "a folder on a small file system", "no such folder")
    if (total := shutil.disk_usage(config.folder).total) > _LARGEST:
        raise InputError(config.folder, f"a file system of at most {_LARGEST >> 20} MiB", f"{total >> 20} MiB")
    code, said, left, again = train_on_full_disk(config.folder, config.room)
    print(f"ended with code {code} and said: {said.strip()}")
    print(f"its last checkpoint is of step {left}; with room again it ended with code {again}")
    return 0 if (code, said.count("\n"), again) == (os.EX_IOERR, 1, 0) else 1


if __name__ == "__main__":
    exit_with(_main)
