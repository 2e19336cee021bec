"""Cost of checkpoints in a run: `python -m benchmarks.saving`.

Trains the demo of `coma_ib` for a while, first without a checkpoint and then with one every few steps, in turn, and
sets the difference per checkpoint against the steps between two checkpoints of the demo.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from experiments.coma_ib import DEMO
from facedis_jax.data.pipeline import train_batches
from facedis_jax.runs.command_line import RunOptions, exit_with
from facedis_jax.runs.faces import AXIS, open_face_run
from facedis_jax.runs.options import parse_options
from facedis_jax.training import Checkpoints, data_parallel


@dataclass(frozen=True)
class Saving:
    """How long to measure.

    Attributes:
      rounds: of some steps without a checkpoint and as many with one.
      steps: of each.
    """

    rounds: int = 5
    steps: int = 100


def _main() -> int:
    config = parse_options(Saving, prog="python -m benchmarks.saving", description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        run = open_face_run(
            "coma_ib", replace(DEMO, precompute=False), RunOptions(workdir=Path(folder) / "run", quiet=True), "coma"
        )
        learner = run.learner()
        batches = iter(
            train_batches(run.face_set.train, run.face_set.neutrals, batch_size=run.config.batch_size, seed=0)
        )
        step = data_parallel(learner.step, axis_name=AXIS)
        state = step.place_state(learner.init(jax.random.key(0), next(batches)))
        plain: list[float] = []
        saving: list[float] = []
        with Checkpoints(Path(folder) / "checkpoints") as checkpoints:
            for number in range(config.rounds + 1):
                for seconds, save in ((plain, False), (saving, True)):
                    began = time.perf_counter()
                    for _ in range(config.steps):
                        state, metrics = step(state, next(batches))
                    if save:
                        checkpoints.save(number, state, {"batches": batches.get_state()})
                    for _ in range(config.steps):
                        state, metrics = step(state, next(batches))
                    jax.block_until_ready(metrics)
                    # The first round compiles.
                    if number:
                        seconds.append(time.perf_counter() - began)
    without, with_one = statistics.median(plain), statistics.median(saving)
    per_step = without / (2 * config.steps)
    share = (with_one - without) / (per_step * DEMO.checkpoint_every_steps)
    print(
        f"{1e3 * per_step:.1f} ms a step; a checkpoint costs {1e3 * (with_one - without):.0f} ms, every "
        f"{DEMO.checkpoint_every_steps} steps: {share:.2%} of the steps' time"
    )
    return 0 if share < 0.02 else 1


if __name__ == "__main__":
    exit_with(_main)
