"""Speed of our training steps and of the same steps in PyTorch: same sizes and data, measured in turn.

The PyTorch steps, `benchmarks/torch_*.py`, have three forms. "eager" is written as in public code: linear layers on
points are 1 x 1 convolutions, and each Langevin step evaluates and differentiates both networks. "tuned" is eager too,
as fast as we know how to write it: no network is evaluated more often than the algorithm needs, and points are rows.
"compiled" is "tuned" through `torch.compile`. In all of them, weights have no gradients while latents move, Adam is
fused, and groups of points are computed in the step, as in ours.

Ours are "jax", on one device, and "jax_per_core", where each of the processor's cores is a device, as in the
experiments on images and videos; the latter is measured where the cores divide the batch.

Times are medians with quartiles in brackets; a ratio is PyTorch's time over ours.

Run:       python -m benchmarks.peers
           python -m benchmarks.peers --what farthest_points --repeats 15 --json peers.json
Needs:     PyTorch, and a C++ compiler for `torch.compile` (not with --no-compile); tens of minutes on two CPU cores,
           most of them for the dynamic generator.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import jax
import numpy as np

from benchmarks.measurement import BenchmarkOptions, device_description, print_table, run_benchmark, time_in_turn
from benchmarks.models import (
    COMA_FACES,
    COMA_SCALE,
    NUM_CLIPS,
    NUM_IMAGES,
    STEPS,
    TrainingStep,
    fake_face,
    fake_faces,
)
from benchmarks.train_step import RunningStep
from facedis_jax.errors import InputError
from facedis_jax.geometry import farthest_point_sample
from facedis_jax.learners import Learner
from facedis_jax.learners.rivals.faces import RIVALS, Latents, RivalConstants, rival_learner
from facedis_jax.models.rivals.faces.hierarchy import mesh_hierarchy
from facedis_jax.runs.command_line import one_device_per_core

What = Literal["ib_vae", "mesh_ae", "spiral_net", "deformable", "dynamic", "farthest_points"]
Call = Callable[[], Any]

# Faces, images, clips and clouds of a step; a clip has 60 frames.
BATCH_SIZES: dict[What, int] = {
    "ib_vae": 16,
    "mesh_ae": 16,
    "spiral_net": 32,
    "deformable": 64,
    "dynamic": 2,
    "farthest_points": 16,
}
# Of the mesh of MeshAE and SpiralNet++, a little more than FLAME's 5,023 vertices.
GRID = 71
NUM_POINTS, NUM_CENTRES = 5023, 512
PAUSE_S = 0.05


@dataclass(frozen=True)
class PeersConfig(BenchmarkOptions):
    """The benchmark.

    Attributes:
      what: which of them.
      batch_size: faces, images, clips of 60 frames or clouds; by default as many as `BATCH_SIZES` says.
      compile: also measure `torch.compile`.
      tune: also measure the tuned form.

    Raises:
      InputError: for no examples.
    """

    what: tuple[What, ...] = get_args(What)
    batch_size: int | None = None
    compile: bool = True
    tune: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError("--batch-size", "1 or more", str(self.batch_size))


def main(config: PeersConfig) -> list[dict[str, Any]]:
    """Measures one thing after another; see the module.

    Raises:
      InputError: PyTorch is not installed, or JAX would not run on the processor, as PyTorch does here.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("torch", "PyTorch to compare with, as by `pip install torch`", "no such package")
    if jax.default_backend() != "cpu":
        raise InputError("JAX_PLATFORMS", "cpu, where both sides are measured", jax.default_backend())
    import torch

    torch.set_num_threads(device_description()["cores"])
    torch.manual_seed(0)
    forms = ["eager", *(["tuned"] if config.tune else []), *(["compiled"] if config.compile else [])]
    rows = []
    for what in config.what:
        batch_size = config.batch_size or BATCH_SIZES[what]
        calls, theirs = steps(what, batch_size)
        ours = tuple(calls)
        calls = {**calls, **{form: theirs(form) for form in forms}}
        # After a step, the threads of both libraries spin for a while; the pause lets them end before the next step.
        turns: dict[str, Call] = {}
        for name, call in calls.items():
            turns |= {name: call, f"pause after {name}": partial(time.sleep, PAUSE_S)}
        taken = time_in_turn(turns, repeats=config.repeats, warmup=2)
        times = {name: taken[name] for name in calls}
        ratios = {f"{name} / {our}": times[name].median_s / times[our].median_s for our in ours for name in forms}
        rows.append({"what": what, "batch": batch_size, **times, **ratios})
        print_table(f"{what}, torch {torch.__version__}", rows[-1:])
    return [{**row, "torch": torch.__version__} for row in rows]


def steps(what: What, batch_size: int) -> tuple[dict[str, Call], Callable[[Any], Call]]:
    """Our steps by name, and the function from a form to PyTorch's step; each call of either runs one more step."""
    if what == "farthest_points":
        return _farthest_points(batch_size)
    if what == "mesh_ae" or what == "spiral_net":
        return _mesh_autoencoder(what, batch_size)
    from benchmarks import torch_deformable, torch_dynamic, torch_ib_vae

    ours = STEPS[what](batch_size, axis_name=None)
    batch = _tensors(ours.make_batch(0))
    if what == "ib_vae":
        mean_face = fake_face(batch["vertices"].shape[1])
        theirs = partial(torch_ib_vae.training_step, ours.config, mean_face, COMA_SCALE, COMA_FACES, batch)
    elif what == "deformable":
        theirs = partial(torch_deformable.training_step, ours.config, NUM_IMAGES, batch)
    else:
        theirs = partial(torch_dynamic.training_step, ours.config, NUM_CLIPS, batch)
    calls = {"jax": _on_one_device(ours)}
    count = jax.device_count()
    if count > 1 and batch_size % count == 0:
        calls["jax_per_core"] = RunningStep(STEPS[what](batch_size), count)
    return calls, lambda form: theirs(form=form)


def _mesh_autoencoder(
    what: Literal["mesh_ae", "spiral_net"], batch_size: int, grid: int = GRID
) -> tuple[dict[str, Call], Callable[[Any], Call]]:
    """A rival on a bulging grid of vertices, with the sizes of its paper."""
    import torch

    from benchmarks import torch_meshes

    kind = RIVALS[what]
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-90, 90, grid), np.linspace(-90, 90, grid)))
    template = np.stack([x, y, 60 - (x**2 + y**2) / 300], 1).astype(np.float32)
    corner = (np.arange(grid - 1)[:, None] * grid + np.arange(grid - 1)).ravel()
    right, up = corner + 1, corner + grid
    triangles = np.concatenate([np.stack([corner, right, up], 1), np.stack([right, up + 1, up], 1)])
    constants = RivalConstants(template, np.ones_like(template), template, triangles, COMA_SCALE)
    config: Any = kind.config()
    rival = kind.make(config, constants, Latents(4, 4))
    learner = rival_learner(rival, steps_per_epoch=COMA_FACES / batch_size, num_steps=1000)
    faces = np.random.default_rng(0).standard_normal((batch_size, *template.shape), np.float32)
    hierarchy = mesh_hierarchy(template, triangles, num_coarser=len(config.model.filters), where=what)
    tensor = torch.as_tensor(faces)
    calls = {"jax": _stepping(learner, {"vertices": template + faces})}
    return calls, lambda form: torch_meshes.training_step(config, hierarchy, 8, tensor, form=form)


def _on_one_device(step: TrainingStep) -> Call:
    return _stepping(step.learner, step.make_batch(0))


def _stepping(learner: Learner, host_batch: Mapping[str, Any]) -> Call:
    batch = jax.device_put(host_batch)
    advance = jax.jit(learner.step, donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)

    def call() -> Any:
        nonlocal state
        state, metrics = advance(state, batch)
        return state, metrics

    return call


def _farthest_points(batch_size: int) -> tuple[dict[str, Call], Callable[[Any], Call]]:
    import torch

    from benchmarks import torch_ib_vae

    clouds = fake_faces(fake_face(NUM_POINTS), batch_size, seed=0)["vertices"]
    sample = jax.jit(jax.vmap(lambda cloud: farthest_point_sample(cloud, NUM_CENTRES)))
    ours, theirs = partial(sample, jax.device_put(clouds)), torch.as_tensor(clouds)
    return {"jax": ours}, lambda form: partial(torch_ib_vae.sampler(form), theirs, NUM_CENTRES)


def _tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.as_tensor(values) for name, values in batch.items()}


if __name__ == "__main__":
    one_device_per_core()
    run_benchmark("peers", __doc__ or "", PeersConfig(), main)
