"""Training steps compiled for TPUs without one at hand: whether they compile and fit, and what devices exchange.

libtpu is the compiler as well as the driver: `pip install 'facedis-jax[benchmarks-tpu]'`, on any Linux machine. Nothing
runs. Seconds are the compiler's own estimate, so they say where to look and not how fast a TPU is; those for
large programs come back negative on some chips, and count as missing.

    python -m benchmarks.tpu --models ib_vae --topologies v5e:2x4 --batch-per-device 16
"""

import importlib.util
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark
from benchmarks.models import AXIS, Compute, Groups, ModelName, TrainingStep, step_of
from benchmarks.programs import Cost, collectives, compiled_cost, loops_cost
from facedis_jax.errors import InputError
from facedis_jax.training import data_parallel
from facedis_jax.training.parallel import Method

# Examples of a step on each chip, where none are asked for.
BATCH_PER_DEVICE: dict[ModelName, int] = {"ib_vae": 32, "deformable": 16, "dynamic": 1}


class Chip(NamedTuple):
    """Peaks of a chip as Google's documentation of Cloud TPU gives them.

    Attributes:
      flops: per second, of bfloat16 products.
      hbm: bytes of main memory.
    """

    flops: float
    hbm: float


# By jax's `device_kind`; https://cloud.google.com/tpu/docs/system-architecture-tpu-vm
CHIPS = {
    "TPU v4": Chip(275e12, 32e9),
    "TPU v5 lite": Chip(197e12, 16e9),
    "TPU v5": Chip(459e12, 95e9),
    "TPU v6 lite": Chip(918e12, 32e9),
}


@dataclass(frozen=True)
class TpuConfig(BenchmarkOptions):
    """What is compiled, and for which TPUs.

    Attributes:
      models: whose steps.
      topologies: as libtpu names them, chip and shape.
      batch_per_device: examples of a step on each chip; by default 32 faces, 16 images or one clip.
      compute: type of what flows through the IB-VAE's encoder or the generators' networks.
      groups: of the IB-VAE's points, computed in the step or given with each mesh.
      precision: how products of float32 numbers are taken, `jax.default_matmul_precision`; a TPU's default is one pass
        in bfloat16.
      parallel: how the devices share the work.
    """

    models: tuple[ModelName, ...] = ("ib_vae", "deformable", "dynamic")
    topologies: tuple[str, ...] = ("v5e:2x4", "v5e:16x16", "v6e:4x4", "v5p:2x2x2")
    batch_per_device: int | None = None
    compute: Compute = "float32"
    groups: Groups = "step"
    precision: str = "default"
    parallel: Method = "pmap"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_per_device is not None and self.batch_per_device < 1:
            raise InputError("--batch-per-device", "1 or more", str(self.batch_per_device))
        for model in self.models:
            step_of(model, self.compute, self.groups)


def topology_devices(name: str) -> Sequence[Any]:
    """The devices of a topology, which programs can be compiled for and not run on.

    Raises:
      InputError: libtpu is not installed, or knows no such topology.
    """
    if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        raise InputError("libtpu", "it installed (pip install 'facedis-jax[benchmarks-tpu]')", "no such package")
    # A compiler may run several times at once, unlike a driver; and without the other three libtpu asks the cloud what
    # machine it is on, and complains of the answer.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        return topologies.get_topology_desc(name, "tpu").devices
    except (RuntimeError, ValueError) as error:
        raise InputError("--topologies", "one that libtpu knows, such as v5e:2x4", f"{name} ({error})") from None


def compile_step(
    make_step: Callable[..., TrainingStep],
    devices: Sequence[Any],
    batch_per_device: int,
    parallel: Method,
    programs: list[str] | None = None,
) -> dict[str, Any]:
    """A row of the results: a step of some batch size compiled for some devices.

    A program that the compiler refuses, for want of memory or because the devices do not divide its arrays, gives a row
    that says so. The text of the compiled program is appended to `programs`, if there is such a list.
    """
    row: dict[str, Any] = {"chips": len(devices), "batch": batch_per_device * len(devices)}
    step = make_step(row["batch"])
    state, batch = step_shapes(make_step, step, row["batch"])
    mapped = data_parallel(
        step.learner.step, devices=devices, method=parallel, axis_name=AXIS, state_axes=step.state_axes
    )
    began = time.perf_counter()
    try:
        compiled, text = compile_with_text(mapped.lower(state, batch))
    except (RuntimeError, TypeError, ValueError) as error:
        return row | {"compiles": False, "why": _reason(error)}
    if programs is not None:
        programs.append(text)
    chip = CHIPS.get(devices[0].device_kind)
    row |= {"compiles": True, "compile_s": time.perf_counter() - began}
    memory = compiled.memory_analysis()
    used = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    cost = compiled_cost(compiled).plus(1, loops_of_share(make_step, batch_per_device, devices[0]))
    row |= {"memory_gb": used / 1e9, "of_hbm": None if chip is None else used / chip.hbm}
    row |= {"gflop": cost.flops / 1e9, "gbytes": cost.bytes / 1e9}
    row |= {"estimated_ms": None if cost.seconds is None else 1e3 * cost.seconds}
    if chip is not None:
        row["at_peak_ms"] = 1e3 * cost.flops / chip.flops
        row["times_peak"] = None if cost.seconds is None else cost.seconds * chip.flops / cost.flops
    return row | exchanged(text, state.params)


def compile_with_text(lowered: Any) -> tuple[Any, str]:
    """A compiled program, and its text as the compiler dumps it: libtpu's can be newer than what jaxlib can read."""
    with tempfile.TemporaryDirectory() as folder, without_xla_flags():
        compiled = lowered.compile(compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        texts = [path.read_text(encoding="utf-8") for path in Path(folder).glob("*.after_optimizations.txt")]
    return compiled, "\n".join(texts)


@contextmanager
def without_xla_flags() -> Iterator[None]:
    """Hides flags for other compilers: libtpu ends the process at one that it does not know."""
    flags = os.environ.pop("XLA_FLAGS", None)
    try:
        yield
    finally:
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags


def step_shapes(make_step: Callable[..., TrainingStep], step: TrainingStep, batch_size: int) -> tuple[Any, Any]:
    """Shapes of a step's state and batch, without making either."""
    example = make_step(1).make_batch(0)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), x.dtype), example)
    return jax.eval_shape(step.learner.init, jax.random.key(0), batch), batch


def loops_of_share(make_step: Callable[..., TrainingStep], batch_size: int, device: Any) -> Cost:
    """Cost of all but the first trips of a step's loops, on one device with its share of the batch."""
    step = make_step(batch_size, axis_name=None)
    return loops_cost(step.learner.step, *step_shapes(make_step, step, batch_size), device=device)


def exchanged(program: str, params: Any) -> dict[str, Any]:
    """The data that devices exchange in a step, beside the gradients.

    Args:
      program: text of the compiled step.
      params: shapes of the parameters, whose gradients have the same.

    Returns:
      The number of collectives, how many of them stand in loops, the bytes of their results, and those that are no
      gradients: metrics, statistics of batch normalisation, codes and chains of other devices' examples.
    """
    found = collectives(program)
    total = sum(one.bytes for one in found)
    gradients = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    return {
        "collectives": len(found),
        "in_loops": sum(one.in_loop for one in found),
        "exchanged_mb": total / 1e6,
        "gradients_mb": gradients / 1e6,
        "other_bytes": total - gradients,
    }


def _reason(error: Exception) -> str:
    """The first sentence of a compiler's message, which can be pages long."""
    text = " ".join(str(error).split())
    memory = re.search(r"Ran out of memory in memory space hbm\. Used \S+ of \S+ hbm", text)
    return memory[0] if memory else text[:160]


def main(config: TpuConfig) -> list[dict[str, Any]]:
    # libtpu is here to compile; what little runs on the way has no TPU to run on.
    jax.config.update("jax_platforms", "cpu")
    devices = {name: topology_devices(name) for name in config.topologies}
    rows = []
    with jax.default_matmul_precision(config.precision):
        for model in config.models:
            make_step = step_of(model, config.compute, config.groups)
            batch = config.batch_per_device or BATCH_PER_DEVICE[model]
            for name in config.topologies:
                row = {"model": model} | compile_step(make_step, devices[name], batch, config.parallel)
                # One below the other: there are more figures than fit beside each other.
                print_table(f"{model} for {name}", [{"what": what, name: figure} for what, figure in row.items()])
                rows.append({"topology": name} | row)
    return rows


if __name__ == "__main__":
    run_benchmark("tpu", __doc__ or "", TpuConfig(), main)
