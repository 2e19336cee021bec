"""Runs of the real learners, pipeline and loop that last seconds: `python -m tests.durability.small_runs`.

The commands beside this one start it again and again, and kill it. When it ends it leaves `state.npz`, all that the
learner carries, to be compared byte by byte.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from facedis_jax.data.faces.face_set import ArraySource
from facedis_jax.data.images.image_set import ArrayImages
from facedis_jax.data.pipeline import evaluation_batches
from facedis_jax.formats.whole import open_whole
from facedis_jax.learners import (
    ABP_STATE_AXES,
    AbpConfig,
    FaceConstants,
    IbVaeConfig,
    LangevinConfig,
    Learner,
    OptimiserConfig,
    abp_learner,
    ib_vae_learner,
)
from facedis_jax.models import FaceVaeConfig, GeneratorConfig, PctConfig, PointFeatureConfig
from facedis_jax.runs.batches import training_batches
from facedis_jax.runs.command_line import RunOptions, chosen_devices, exit_with, join_processes
from facedis_jax.runs.options import parse_options
from facedis_jax.training import FitResult, LoopConfig, Parallel, RunFolder, fit
from facedis_jax.training.parallel import Method

AXIS = "devices"
BATCH = 16
EXAMPLES = 48
STATE_FILE = "state.npz"

Model = Literal["ib_vae", "abp"]


@dataclass(frozen=True)
class SmallRun:
    """One small run.

    Attributes:
      workdir: its folder; the same command resumes it.
      model: what is trained.
      steps: of the whole run.
      stop_after: end early, at this step, as a signal would; 0 for never.
      checkpoint_every_steps: steps between checkpoints.
      devices: how many of them; 0 for all.
      method: how they share the work.
      keep_on_device: the training examples.
      coordinator, num_processes, process_id: of a run over several processes.
    """

    workdir: Path
    model: Model = "abp"
    steps: int = 120
    stop_after: int = 0
    checkpoint_every_steps: int = 5
    devices: int = 0
    method: Method = "pmap"
    keep_on_device: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def train(run: SmallRun) -> FitResult:
    """Trains, from the last checkpoint if there is one, and writes the state where the run has ended."""
    learner, source, neutrals, axes = _ib_vae() if run.model == "ib_vae" else _abp()
    devices = chosen_devices(run.devices)
    index, count = jax.process_index(), jax.process_count()
    folder = RunFolder.open(run.workdir, {"model": run.model, "steps": run.steps})
    options = RunOptions(keep_on_device=run.keep_on_device)
    batches, dataset = training_batches(options, source, neutrals, batch_size=BATCH, seed=0, in_memory=True)
    test = evaluation_batches(source, neutrals, batch_size=BATCH, process_index=index, process_count=count)
    result = fit(
        learner(num_steps=run.steps),
        batches,
        test,
        folder,
        LoopConfig(
            run.stop_after or run.steps,
            log_every_steps=3,
            evaluate_every_steps=20,
            checkpoint_every_steps=run.checkpoint_every_steps,
            quiet=True,
        ),
        key=jax.random.key(0),
        parallel=Parallel(devices, run.method, AXIS, axes),
        dataset=dataset,
    )
    if result.step == run.steps and count == 1:
        save_state(run.workdir / STATE_FILE, result.state)
    return result


def save_state(path: Path, state: Any) -> None:
    """Writes every array of a state, in the order of its leaves, whole or not at all."""
    with open_whole(path) as file:
        np.savez(file, *[host_array(leaf) for leaf in jax.tree.leaves(state)])


def state_bytes(path: Path) -> list[bytes]:
    """The arrays that `save_state` wrote, as bytes."""
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name].tobytes() for name in arrays.files]


def host_array(leaf: jax.Array) -> np.ndarray:
    """An array of a state on the host; of typed PRNG keys the integers behind them."""
    return np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def _ib_vae() -> tuple[Callable[..., Learner], ArraySource, np.ndarray, Any]:
    rng = np.random.default_rng(0)
    neutrals = rng.normal(scale=50, size=(4, 40, 3)).astype(np.float32)
    subject = np.arange(EXAMPLES, dtype=np.int32) % 4
    faces = neutrals[subject] + rng.normal(scale=2, size=(EXAMPLES, 40, 3)).astype(np.float32)
    index = np.arange(EXAMPLES, dtype=np.int32)
    source = ArraySource(faces, subject, index % 3, np.linspace(0, 1, EXAMPLES, dtype=np.float32), index)
    encoder = PctConfig(
        PointFeatureConfig(centres=(6, 4), neighbours=3),
        embedding=4,
        width=8,
        attention_layers=1,
        global_features=8,
    )
    model = FaceVaeConfig(encoder, head=(8,), identity_latents=2, expression_latents=2, decoder_hidden=8)
    constants = FaceConstants(
        mean_face=faces.mean(0),
        scale=100.0,
        num_faces=EXAMPLES,
        num_expressions=3,
        moment_mean=np.zeros(0, np.float32),
        moment_deviation=1.0,
    )
    config = IbVaeConfig(model=model, optimiser=OptimiserConfig(learning_rate=1e-3, weight_decay=0.0))

    def learner(num_steps: int) -> Learner:
        return ib_vae_learner(config, constants, steps_per_epoch=3, num_steps=num_steps, axis_name=AXIS)

    return learner, source, neutrals, None


def _abp() -> tuple[Callable[..., Learner], ArrayImages, None, Any]:
    images = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 8, 8, 3), dtype=np.uint8)
    config = AbpConfig(
        model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4),
        langevin=LangevinConfig(num_steps=2, inference_steps=2),
        early_epochs=1,
        optimiser=replace(OptimiserConfig(), learning_rate=1e-3, weight_decay=0.0),
    )

    def learner(num_steps: int) -> Learner:
        return abp_learner(config, num_images=EXAMPLES, steps_per_epoch=3, num_steps=num_steps, axis_name=AXIS)

    return learner, ArrayImages(images), None, ABP_STATE_AXES


def _main() -> int:
    run = parse_options(SmallRun, prog="python -m tests.durability.small_runs", description=__doc__)
    join_processes(run.coordinator, run.num_processes, run.process_id)
    # The programs run for milliseconds and would compile for seconds.
    jax.config.update("jax_disable_most_optimizations", True)
    return train(run).exit_code


if __name__ == "__main__":
    exit_with(_main)
