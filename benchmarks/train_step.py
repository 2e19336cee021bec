"""Training steps at full size: examples per second, and their share of the peak speeds of the device.

    python -m benchmarks.train_step --model ib_vae --batch-sizes 16 32
    python -m benchmarks.train_step --model deformable --precision default bfloat16

A CPU can stand for several devices, to see what sharing the work costs:

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.train_step --device-counts 1 8

A step starts from a batch on the host, as in training, or with `--keep-on-device` from the indices of examples that are
on the device, and goes through `facedis_jax.training.data_parallel`. Its operations and bytes are XLA's count for the
compiled program, all operations and not products alone (of the IB-VAE's, 95 % are products), with loops counted as
often as they run (`benchmarks.programs`). Bytes are those between XLA's kernels: where a cache holds them, the share of
the memory's rate may exceed 1. The learners keep all in float32; `--precision` is `jax.default_matmul_precision`, how
products of such numbers are taken, which a CPU does not ask for. `--compute bfloat16` has what flows from layer to
layer of the IB-VAE's encoder or the generators in that type, `--groups given` its groups of points beside each mesh, as
where they are computed once for a whole run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from benchmarks.measurement import (
    BenchmarkOptions,
    matmul_rate,
    memory_rate,
    print_table,
    run_benchmark,
    time_in_turn,
)
from benchmarks.models import AXIS, Compute, Groups, ModelName, TrainingStep, step_of
from benchmarks.programs import Cost, compiled_cost, loops_cost
from facedis_jax.data.on_device import DeviceDataset, device_dataset
from facedis_jax.errors import InputError
from facedis_jax.training import check_batch_size, data_parallel
from facedis_jax.training.parallel import Method

Precision = Literal["default", "bfloat16", "tensorfloat32", "float32"]

# About as in the papers' experiments.
BATCH_SIZES: dict[ModelName, tuple[int, ...]] = {"ib_vae": (16,), "deformable": (64,), "dynamic": (2,)}


@dataclass(frozen=True)
class TrainStepConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      model: whose step.
      batch_sizes: examples of a step, over all devices; by default 16 faces, 64 images or 2 clips.
      device_counts: how many devices share it; as many as there are, at most.
      precision: of products of float32 numbers.
      compute: type of what flows through the IB-VAE's encoder or the generators' networks.
      groups: of the IB-VAE's points, computed in the step or given with each mesh.
      parallel: how the devices share the work.
      keep_on_device: keep the examples there; a step is sent their indices alone.
      steps_per_call: steps that are dispatched before the last one is waited for, as a training run does; the
        milliseconds are of one of them.
    """

    model: ModelName = "ib_vae"
    batch_sizes: tuple[int, ...] = ()
    device_counts: tuple[int, ...] = (1,)
    precision: tuple[Precision, ...] = ("default",)
    compute: Compute = "float32"
    groups: Groups = "step"
    parallel: Method = "pmap"
    keep_on_device: bool = False
    steps_per_call: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_call < 1:
            raise InputError("--steps-per-call", "1 or more", str(self.steps_per_call))
        step_of(self.model, self.compute, self.groups)


# Batches of examples that are kept on the device, so that those of a step are not adjacent there.
_KEPT_BATCHES = 4


class _Examples:
    """The examples of some batches, one by one."""

    def __init__(self, batches: Sequence[Any]):
        self._columns = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)

    def __len__(self) -> int:
        return len(jax.tree.leaves(self._columns)[0])

    def __getitem__(self, index: int) -> Any:
        return jax.tree.map(lambda column: column[index], self._columns)


def _kept(step: TrainingStep) -> tuple[DeviceDataset, Any]:
    """Examples on the device, and the indices of those of a step."""
    examples = _Examples([step.make_batch(seed) for seed in range(_KEPT_BATCHES)])
    indices = np.random.default_rng(0).permutation(len(examples))[: len(examples) // _KEPT_BATCHES]
    return device_dataset(examples), {"index": indices.astype(np.int32)}


class RunningStep:
    """One training step on some devices, started: it has compiled and run once.

    Attributes:
      first_s: seconds from the learner to the end of its first step: initial state, tracing, compilation.
    """

    def __init__(self, step: TrainingStep, num_devices: int, *, method: Method = "pmap", keep_on_device: bool = False):
        batch: Any = step.make_batch(0)
        dataset, self._batch = _kept(step) if keep_on_device else (None, batch)
        began = time.perf_counter()
        self._step = data_parallel(
            step.learner.step,
            devices=jax.devices()[:num_devices],
            method=method,
            axis_name=AXIS,
            state_axes=step.state_axes,
            dataset=dataset,
        )
        init = jax.jit(step.learner.init, compiler_options={"xla_backend_optimization_level": 0})
        self._state = self._step.place_state(init(jax.random.key(0), batch))
        jax.block_until_ready(self())
        self.first_s = time.perf_counter() - began

    def __call__(self) -> Any:
        """Takes a step; returns its metrics, on the device."""
        self._state, metrics = self._step(self._state, self._batch)
        return metrics

    def cost(self) -> Cost:
        """Of one device, but for the loops' later trips."""
        return compiled_cost(self._step.compiled(self._state, self._batch))


def whole_cost(running: RunningStep, num_devices: int, make_step: Callable[..., TrainingStep], batch_size: int) -> Cost:
    """What a step takes on all devices together."""
    alone = make_step(batch_size, axis_name=None)
    batch = alone.make_batch(0)
    state = jax.eval_shape(alone.learner.init, jax.random.key(0), batch)
    loops = loops_cost(alone.learner.step, state, batch)
    return loops.plus(num_devices, running.cost())


def measure(config: TrainStepConfig, batch_size: int, precision: Precision) -> list[dict[str, Any]]:
    """One row for each number of devices, which are timed in turn."""
    make_step = step_of(config.model, config.compute, config.groups)
    with jax.default_matmul_precision(precision):
        running = {
            count: RunningStep(
                make_step(batch_size), count, method=config.parallel, keep_on_device=config.keep_on_device
            )
            for count in config.device_counts
        }
        products, memory = matmul_rate(), memory_rate()
        timings = time_in_turn(
            {str(count): _steps(step, config.steps_per_call) for count, step in running.items()}, repeats=config.repeats
        )
        rows = []
        for count, step in running.items():
            timing = timings[str(count)].divided_by(config.steps_per_call)
            cost = whole_cost(step, count, make_step, batch_size)
            # Virtual devices share one processor, whose rates were measured whole.
            machines = 1 if jax.default_backend() == "cpu" else count
            rows.append(
                {
                    "model": config.model,
                    "batch": batch_size,
                    "devices": count,
                    "precision": precision,
                    "compute": config.compute,
                    "groups": config.groups,
                    "kept": config.keep_on_device,
                    "examples_per_s": batch_size / timing.median_s,
                    "step": timing,
                    "gflop": cost.flops / 1e9,
                    "gbytes": cost.bytes / 1e9,
                    "of_product_rate": cost.flops / timing.median_s / (products * machines),
                    "of_memory_rate": cost.bytes / timing.median_s / (memory * machines),
                    "product_gflop_per_s": products / 1e9,
                    "memory_gb_per_s": memory / 1e9,
                    "first_step_s": step.first_s,
                }
            )
    return rows


def _steps(step: RunningStep, number: int) -> Callable[[], Any]:
    def call() -> Any:
        for _ in range(number):
            metrics = step()
        return metrics

    return call


def check_devices(config: TrainStepConfig, batch_sizes: tuple[int, ...]) -> None:
    """Checks before the first of many minutes that there are the devices and that they divide the batches.

    Raises:
      InputError: if not.
    """
    available = len(jax.devices())
    for count in config.device_counts:
        if not 1 <= count <= available:
            raise InputError("--device-counts", f"1 to {available}, the devices that there are", str(count))
        for batch_size in batch_sizes:
            try:
                check_batch_size(batch_size, count)
            except InputError as error:
                raise InputError("--batch-sizes", error.expected, error.found) from error


def main(config: TrainStepConfig) -> list[dict[str, Any]]:
    batch_sizes = config.batch_sizes or BATCH_SIZES[config.model]
    check_devices(config, batch_sizes)
    rows = []
    for precision in config.precision:
        for batch_size in batch_sizes:
            rows += measure(config, batch_size, precision)
    print_table(f"Training step, {config.model}", rows)
    return rows


if __name__ == "__main__":
    run_benchmark("train_step", __doc__ or "", TrainStepConfig(), main)
