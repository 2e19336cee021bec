"""Sweeps of alternating Langevin dynamics that evaluate each part of a density once after each step of its latents.

A deformable generator makes a canonical image from one of its latents and a flow from the other, at nearly all of its
cost. While one of them moves, neither pass of the other's network is needed. So the sampler carries, from step to step,
what either part made and the residuals of its backward pass (`jax.vjp`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.sampling.steps import LangevinStatistics, StepSize, langevin_step


class _Evaluated(NamedTuple):
    """Latents, what their part makes of them, and its backward pass: gradient of the output -> that of the latents."""

    latents: Any
    output: Any
    pullback: Any


def sweep_by_parts(
    log_density: Callable[[Any, Any], jax.Array],
    parts: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    z: tuple[Any, Any],
    key: jax.Array,
    sizes: tuple[StepSize, StepSize],
    block: int,
) -> tuple[Any, Callable[[Any, jax.Array], tuple[Any, LangevinStatistics]], Callable[[Any], tuple[Any, Any]]]:
    """The first state, a sweep (state, index) -> (state, statistics), and the pair of latents of a state.

    Args:
      log_density, parts, z, key, block: as of `alternating_langevin`.
      sizes: the step sizes of both latents, one for each leaf.
    """
    # A jitted function is traced once, so that the pullbacks of all its calls have one structure, as a loop needs them.
    differentiated = [jax.jit(partial(jax.vjp, part)) for part in parts]

    def evaluate(moving: int, latents: Any) -> _Evaluated:
        return _Evaluated(latents, *differentiated[moving](latents))

    def step(moving: int, own: _Evaluated, other: _Evaluated, key: jax.Array) -> tuple[Any, LangevinStatistics]:
        def density(latents: Any, output: Any) -> jax.Array:
            pairs = (latents, other.latents), (output, other.output)
            return log_density(*(pair[::-1] if moving else pair for pair in pairs))

        value, (direct, of_output) = jax.value_and_grad(density, argnums=(0, 1))(own.latents, own.output)
        (through_part,) = own.pullback(of_output)
        gradient = jax.tree.map(jnp.add, direct, through_part)
        return langevin_step(own.latents, value, gradient, key, sizes[moving])

    def move(moving: int, own: _Evaluated, other: _Evaluated, key: jax.Array) -> tuple[Any, LangevinStatistics]:
        """The latents after a block; what their part makes at its end is left to where it is needed."""

        def step_and_evaluate(own: _Evaluated, index: jax.Array) -> tuple[_Evaluated, LangevinStatistics]:
            latents, statistics = step(moving, own, other, jax.random.fold_in(key, index))
            return evaluate(moving, latents), statistics

        all_but_last = []
        if block > 1:
            own, statistics = jax.lax.scan(step_and_evaluate, own, jnp.arange(block - 1))
            all_but_last.append(statistics)
        latents, last = step(moving, own, other, jax.random.fold_in(key, block - 1))
        return latents, jax.tree.map(lambda *values: jnp.hstack(values), *all_but_last, last)

    # What the first part makes at the end of its block serves the other's block and its own next one, and is carried;
    # what the second one makes at the end of its own serves the next sweep alone, which evaluates it.
    def sweep(state: tuple[_Evaluated, Any], index: jax.Array) -> tuple[tuple[_Evaluated, Any], LangevinStatistics]:
        first, second = state[0], evaluate(1, state[1])
        keys = [jax.random.fold_in(jax.random.fold_in(key, index), i) for i in range(2)]
        latents, first_statistics = move(0, first, second, keys[0])
        first = evaluate(0, latents)
        latents, second_statistics = move(1, second, first, keys[1])
        return (first, latents), jax.tree.map(lambda *s: jnp.stack(s), first_statistics, second_statistics)

    return (evaluate(0, z[0]), z[1]), sweep, lambda state: (state[0].latents, state[1])
