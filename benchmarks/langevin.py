"""The sampler alone: how many images it moves by one step in a second, over batch sizes, blocks and schemes.

    python -m benchmarks.langevin
    python -m benchmarks.langevin --batch-sizes 64 --blocks 1 2 5

Image-steps are gradient steps: `steps` per image where both latents move together, twice as many where they move in
turn, as each of the two moves so often, `blocks` at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark, time_in_turn
from benchmarks.models import deformable_step
from facedis_jax.errors import InputError
from facedis_jax.learners.abp import move_chains
from facedis_jax.learners.generator_functions import example_keys, image_functions

Scheme = Literal["alternating", "joint"]


@dataclass(frozen=True)
class LangevinBenchmarkConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      batch_sizes: images of a call.
      schemes: of the sampler.
      blocks: steps of one latent before the other has its turn; each divides `steps`.
      steps: of either latent, in a call.
      size: height and width of the images.
    """

    batch_sizes: tuple[int, ...] = (16, 64)
    schemes: tuple[Scheme, ...] = ("alternating", "joint")
    blocks: tuple[int, ...] = (1, 5)
    steps: int = 20
    size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for batch_size in self.batch_sizes:
            if batch_size < 1:
                raise InputError("--batch-sizes", "1 or more", str(batch_size))
        for block in self.blocks:
            if block < 1 or self.steps < 1 or self.steps % block:
                raise InputError("--blocks", f"divisors of the {self.steps} steps", str(block))


def sampler(size: int, scheme: Scheme, block: int, steps: int, batch_size: int) -> Callable[[], Any]:
    """A call that moves the latents of a batch of images from where they are, `steps` times each."""
    step = deformable_step(batch_size, size)
    functions = image_functions(step.config.model)
    sweeps = steps if scheme == "joint" else steps // block
    langevin = replace(step.config.langevin, scheme=scheme, block=block, num_steps=sweeps)
    index = jnp.arange(batch_size)

    @jax.jit
    def start(images: jax.Array) -> tuple[Any, ...]:
        prior_keys, noise_keys = (example_keys(jax.random.key(seed), jnp.int32(0), index) for seed in (1, 2))
        latents = jax.vmap(lambda key: functions.prior(key, images.shape[1:]))(prior_keys)
        return functions.init(jax.random.key(0)), functions.to_model_range(images), latents, noise_keys

    @jax.jit
    def move(params: Any, images: jax.Array, latents: Any, keys: jax.Array) -> Any:
        return move_chains(functions, langevin, params, images, latents, keys, sigma=step.config.sigma)

    arguments = start(step.make_batch(0)["image"])
    return lambda: move(*arguments)


def main(config: LangevinBenchmarkConfig) -> list[dict[str, Any]]:
    rows = []
    for batch_size in config.batch_sizes:
        settings: dict[str, tuple[Scheme, int]] = {}
        for scheme in config.schemes:
            for block in config.blocks if scheme == "alternating" else (1,):
                settings[f"{scheme}, block {block}"] = scheme, block
        calls = {name: sampler(config.size, *chosen, config.steps, batch_size) for name, chosen in settings.items()}
        for name, timing in time_in_turn(calls, repeats=config.repeats).items():
            scheme, block = settings[name]
            image_steps = batch_size * config.steps * (2 if scheme == "alternating" else 1)
            rows.append(
                {
                    "scheme": scheme,
                    "block": block,
                    "batch": batch_size,
                    "steps": config.steps,
                    "call": timing,
                    "image_steps_per_s": image_steps / timing.median_s,
                }
            )
    print_table(f"Langevin dynamics, images of {config.size} x {config.size}", rows)
    return rows


if __name__ == "__main__":
    run_benchmark("langevin", __doc__ or "", LangevinBenchmarkConfig(), main)
