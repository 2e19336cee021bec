"""Moves a run between machines of every shape: `python -m tests.durability.machines`.

Each pair of shapes, of 1, 2, 4 or 8 devices or of 2 processes, has a run that begins on the one and goes on, from its
checkpoint, on the other. Its losses must be those of a run on one device from beginning to end, but for the order in
which float32 numbers are added.
"""

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options
from facedis_jax.runs.processes import commands, launch
from tests.durability.small_runs import Model

HALF, WHOLE = 6, 12
LOSS = {"ib_vae": "loss", "abp": "energy_nats"}


@dataclass(frozen=True)
class Shape:
    """A machine: so many processes, of so many devices each."""

    processes: int
    devices: int

    def __str__(self) -> str:
        many = f"{self.devices} device{'s' * (self.devices > 1)}"
        return many if self.processes == 1 else f"{self.processes} processes of {many}"


SHAPES = (Shape(1, 1), Shape(1, 2), Shape(1, 4), Shape(1, 8), Shape(2, 1), Shape(2, 2))


@dataclass(frozen=True)
class Machines:
    """What to move.

    Attributes:
      models: what is trained.
      tolerance: by which share of itself a loss may differ.
    """

    models: tuple[Model, ...] = ("ib_vae", "abp")
    tolerance: float = 1e-5


def run_on(shape: Shape, model: Model, workdir: Path, *, stop_after: int = 0, keep_on_device: bool = False) -> None:
    """Trains on a machine of some shape, made of virtual devices and processes of this one.

    Raises:
      RuntimeError: training failed.
    """
    arguments = ["--model", model, "--workdir", str(workdir), "--steps", str(WHOLE), "--stop-after", str(stop_after)]
    arguments += ["--keep-on-device"] * keep_on_device
    env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={shape.devices}"}
    code = launch(
        commands("tests.durability.small_runs", arguments, shape.processes), env=env, stderr=subprocess.DEVNULL
    )
    if code:
        raise RuntimeError(f"{model} on {shape} ended with code {code}")


def losses(workdir: Path, model: Model) -> np.ndarray:
    """Of the steps after the move, as they were logged."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return np.array([line[LOSS[model]] for line in lines if line["split"] == "train" and line["step"] > HALF])


def moved_losses(model: Model, folder: Path, shapes: tuple[Shape, ...]) -> Iterator[tuple[Shape, Shape, float]]:
    """For each pair of shapes, the largest relative difference of a loss from that of the run that stays."""
    whole = folder / "whole"
    run_on(shapes[0], model, whole)
    wanted = losses(whole, model)
    for shape in shapes:
        run_on(shape, model, folder / str(shape), stop_after=HALF)
    for start, end in itertools.product(shapes, repeat=2):
        moved = folder / "moved"
        shutil.copytree(folder / str(start), moved)
        run_on(end, model, moved)
        yield start, end, float(np.max(np.abs(losses(moved, model) / wanted - 1)))
        shutil.rmtree(moved)


def _main() -> int:
    config = parse_options(Machines, prog="python -m tests.durability.machines", description=__doc__)
    ok = True
    for model in config.models:
        with tempfile.TemporaryDirectory() as folder:
            for start, end, difference in moved_losses(model, Path(folder), SHAPES):
                ok &= difference <= config.tolerance
                print(f"{model}: {start} -> {end}: losses differ by {difference:.1e}", flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    exit_with(_main)
