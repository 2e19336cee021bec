"""How steps grow: over 8 to 1,024 chips by ahead-of-time compilation, and measured here with what they are made of.

    python -m benchmarks.scale --what chips --models ib_vae deformable
    python -m benchmarks.scale --what growth

*chips* compiles a step for topologies of a TPU that need not be there (`benchmarks.tpu`): memory of a chip, the bytes
that chips exchange, the compiler's estimate, and from these the time of an exchange over the links and of a whole
schedule. Networks are those of a small preset, so that a program compiles in a minute; `--step-ms` takes a step's time
of larger ones from elsewhere. *growth* times steps of the same networks with 1, 4 and 16 times as many vertices,
points, images, pixels, latents or chains, one at a time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark, time_in_turn
from benchmarks.models import COMA_FACES, NUM_IMAGES, TrainingStep, deformable_step, fake_face, ib_vae_step
from benchmarks.programs import Collective, collectives
from benchmarks.tpu import compile_step, topology_devices
from benchmarks.train_step import RunningStep
from experiments import coma_ib, faces_deformable
from facedis_jax.errors import InputError
from facedis_jax.geometry import farthest_point_sample, k_nearest

ScaledModel = Literal["ib_vae", "deformable"]
Preset = Literal["tiny", "demo", "paper"]

# Bytes per second of all of a chip's links to others, by jax's `device_kind`; Google's documentation of Cloud TPU.
LINKS = {"TPU v4": 300e9, "TPU v5 lite": 200e9, "TPU v5": 600e9, "TPU v6 lite": 448e9}

CELEBA_IMAGES = 202_599
_SLOW_EXCHANGE = 0.1


class Schedule(NamedTuple):
    """How often so many examples are learned from, in the papers."""

    examples: int
    epochs: int


SCHEDULES: dict[ScaledModel, Schedule] = {
    "ib_vae": Schedule(COMA_FACES, 300),
    "deformable": Schedule(CELEBA_IMAGES, 1001),
}


@dataclass(frozen=True)
class ScaleConfig(BenchmarkOptions):
    """What is compiled or measured.

    Attributes:
      what: over chips, or with what a step is made of.
      models: whose steps.
      preset: of the experiments whose networks they are, coma_ib and faces_deformable.
      topologies: as libtpu names them.
      batch_per_device: examples of a step on each chip.
      step_ms: time of a step without its exchange, in place of the compiler's estimate.
      grown: what is made larger; all by default.
      factors: by how much.
    """

    what: Literal["chips", "growth"] = "growth"
    models: tuple[ScaledModel, ...] = ("ib_vae", "deformable")
    preset: Preset = "tiny"
    topologies: tuple[str, ...] = ("v5p:2x2x2", "v5p:4x4x4", "v5p:4x8x8", "v5p:8x8x16")
    batch_per_device: int = 64
    step_ms: float | None = None
    grown: tuple[str, ...] = ()
    factors: tuple[int, ...] = (1, 4, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_per_device < 1:
            raise InputError("--batch-per-device", "1 or more", str(self.batch_per_device))
        if self.step_ms is not None and not self.step_ms > 0:
            raise InputError("--step-ms", "more than 0", str(self.step_ms))
        if not self.factors or min(self.factors) < 1:
            raise InputError("--factors", "1 or more, at least one", str(self.factors))
        for name in self.grown:
            if name not in GROWN:
                raise InputError("--grown", f"some of {', '.join(GROWN)}", ascii(name)[1:-1][:60])


def exchange_seconds(exchanges: Sequence[Collective], chips: int, rate: float) -> float:
    """Seconds that chips need for their exchanges over the links, one after the other, without what they wait.

    A sum over all chips takes every byte of its result around the ring twice, less the chip's own part; what is
    gathered or scattered goes around once.

    Args:
      exchanges: of a step, `programs.collectives`.
      chips: that take part.
      rate: bytes per second of a chip's links.

    Example:
      >>> exchange_seconds([Collective("all-reduce", 8000, False), Collective("all-gather", 8000, False)], 8, 1e3)
      21.0
    """
    rounds = sum((2 if one.kind == "all-reduce" else 1) * one.bytes for one in exchanges)
    return rounds * (chips - 1) / chips / rate


def projected(schedule: Schedule, batch: int, step_s: float) -> dict[str, float]:
    """Steps and hours of a whole schedule in batches of this size, of steps that take so long.

    Example:
      >>> projected(Schedule(examples=1000, epochs=10), batch=100, step_s=36.0)
      {'steps': 100, 'hours': 1.0}
    """
    steps = math.ceil(schedule.examples * schedule.epochs / batch)
    return {"steps": steps, "hours": steps * step_s / 3600}


def where_it_breaks(
    schedule: Schedule, batch: int, *, of_hbm: float | None, exchange_s: float | None, step_s: float | None
) -> str:
    """What no longer holds at this size, or "holds".

    Args:
      schedule: of the examples.
      batch: examples of a step, on all chips.
      of_hbm: the share of a chip's memory that is used.
      exchange_s, step_s: seconds of the exchange and of the rest of a step.
    """
    found = []
    if of_hbm is not None and of_hbm > 1:
        found.append("memory")
    if exchange_s is not None and step_s is not None and exchange_s > _SLOW_EXCHANGE * step_s:
        found.append(f"exchange: {exchange_s / step_s:.0%} of a step")
    if batch > schedule.examples:
        found.append("a batch of more than all examples")
    return ", ".join(found) or "holds"


def small_step(model: ScaledModel, preset: Preset) -> Callable[..., TrainingStep]:
    """What makes a model's step with the networks of an experiment's preset, of a batch size."""
    if model == "ib_vae":
        # Of registered vertices: what surfaces are told by is fitted to a data set.
        config = {"tiny": coma_ib.TINY_VERTICES, "demo": coma_ib.VERTICES, "paper": coma_ib.PAPER}[preset]
        return partial(ib_vae_step, config=config.learner)
    learner = faces_deformable.PRESETS[preset].learner
    sweeps, size = learner.langevin.num_steps, learner.model.size
    return partial(deformable_step, size=size, langevin_steps=sweeps, config=learner)


def over_chips(config: ScaleConfig, model: ScaledModel) -> list[dict[str, Any]]:
    """A row for each topology."""
    rows = []
    for name in config.topologies:
        devices = topology_devices(name)
        programs: list[str] = []
        make_step = small_step(model, config.preset)
        row = {"model": model, "topology": name}
        row |= compile_step(make_step, devices, config.batch_per_device, "pmap", programs)
        rows.append(row | _scaled(row, SCHEDULES[model], programs, devices[0].device_kind, config.step_ms))
        print_table(f"{model} for {name}", [{"what": what, name: figure} for what, figure in rows[-1].items()])
    return rows


def _scaled(
    row: Mapping[str, Any], schedule: Schedule, programs: Sequence[str], kind: str, step_ms: float | None
) -> dict[str, Any]:
    """What follows from a compiled step: its exchange, the whole schedule, and where it breaks."""
    if not row["compiles"]:
        return {"breaks": row["why"]}
    exchanges = [one for program in programs for one in collectives(program)]
    by_kind: dict[str, int] = {}
    for one in exchanges:
        by_kind[one.kind] = by_kind.get(one.kind, 0) + one.bytes
    exchange = exchange_seconds(exchanges, row["chips"], LINKS[kind]) if kind in LINKS else None
    given = row["estimated_ms"] if step_ms is None else step_ms
    # Where the compiler has no estimate, the rate of products is all there is.
    step = (row.get("at_peak_ms") if given is None else given) or 0.0
    scaled: dict[str, Any] = {f"{name}_mb": size / 1e6 for name, size in by_kind.items()}
    if exchange is not None:
        scaled |= {"exchange_ms": 1e3 * exchange}
        scaled |= projected(schedule, row["batch"], step / 1e3 + exchange)
    of_hbm = row.get("of_hbm")
    breaks = where_it_breaks(schedule, row["batch"], of_hbm=of_hbm, exchange_s=exchange, step_s=step / 1e3)
    return scaled | {"breaks": breaks}


class Growth(NamedTuple):
    """Something that can be made larger.

    Attributes:
      base: its size at a factor of 1.
      make: size -> a call of the larger step or function.
    """

    base: int
    make: Callable[[int, Preset], Callable[[], Any]]


def _running(step: TrainingStep) -> RunningStep:
    return RunningStep(step, 1)


def _vertices(size: int, preset: Preset) -> Callable[[], Any]:
    return _running(small_step("ib_vae", preset)(4, vertices=size))


def _faces(size: int, preset: Preset) -> Callable[[], Any]:
    return _running(small_step("ib_vae", preset)(size, vertices=1256))


def _points(size: int, preset: Preset) -> Callable[[], Any]:
    points = jnp.asarray(fake_face(size))

    @jax.jit
    def group(points: jax.Array) -> jax.Array:
        return k_nearest(points[farthest_point_sample(points, 256)], points, 32)

    return lambda: group(points)


def _images(size: int, preset: Preset) -> Callable[[], Any]:
    return _running(small_step("deformable", preset)(size))


def _pixels(size: int, preset: Preset) -> Callable[[], Any]:
    return _running(small_step("deformable", preset)(8, size=math.isqrt(size)))


def _latents(size: int, preset: Preset) -> Callable[[], Any]:
    learner = faces_deformable.PRESETS[preset].learner
    model = replace(learner.model, appearance_latents=size, geometry_latents=size)
    return _running(small_step("deformable", preset)(8, config=replace(learner, model=model)))


def _chains(size: int, preset: Preset) -> Callable[[], Any]:
    return _running(small_step("deformable", preset)(8, num_images=size))


GROWN: dict[str, Growth] = {
    "vertices": Growth(1256, _vertices),
    "faces": Growth(4, _faces),
    "points": Growth(1256, _points),
    "images": Growth(8, _images),
    "pixels": Growth(256, _pixels),
    "latents": Growth(16, _latents),
    "chains": Growth(NUM_IMAGES, _chains),
}
"""What is grown by `--what growth`: of the IB-VAE's step, of grouping points, of the deformable generator's step."""


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The power of the size by which the time grows, from the first to the last; None for one size.

    Example:
      >>> exponent([1, 4, 16], [1.0, 3.0, 4.0])
      0.5
    """
    if len(sizes) < 2 or sizes[0] == sizes[-1]:
        return None
    return math.log(seconds[-1] / seconds[0]) / math.log(sizes[-1] / sizes[0])


def growth(config: ScaleConfig, name: str) -> list[dict[str, Any]]:
    """A row for each factor, timed in turn."""
    sizes = [GROWN[name].base * factor for factor in config.factors]
    calls = {str(size): GROWN[name].make(size, config.preset) for size in sizes}
    timings = [*time_in_turn(calls, repeats=config.repeats).values()]
    power = exponent(sizes, [timing.median_s for timing in timings])
    rows = [
        {
            "grown": name,
            "size": size,
            "time": timing,
            "times_the_first": timing.median_s / timings[0].median_s,
            "power": power,
        }
        for size, timing in zip(sizes, timings, strict=True)
    ]
    print_table(f"{name}: {len(sizes)} sizes", rows)
    return rows


def main(config: ScaleConfig) -> list[dict[str, Any]]:
    if config.what == "growth":
        return [row for name in config.grown or GROWN for row in growth(config, name)]
    # libtpu is here to compile; what little runs on the way has no TPU to run on.
    jax.config.update("jax_platforms", "cpu")
    return [row for model in config.models for row in over_chips(config, model)]


if __name__ == "__main__":
    run_benchmark("scale", __doc__ or "", ScaleConfig(), main)
