"""Langevin dynamics: samples from any density that can be differentiated."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from facedis_jax.sampling.hoist import hoist, separate

Latents = TypeVar("Latents")
LogDensity = Callable[[Any], jax.Array]
StepSize = Any  # a number, or a pytree of them that is a prefix of the latents


class LangevinStatistics(NamedTuple):
    """What each step saw and did; scalars per step, norms over all leaves of the latents that it moved.

    `langevin` gives arrays [num_steps], `alternating_langevin` [num_steps, 2, block]: sweep, which of the two moved,
    step of the block.

    Attributes:
      energy: minus the log density, before the step.
      gradient_norm: of the log density's gradient, before the step.
      noise_norm: of the noise that was added, step_size * noise.
      drift: norm of the other summand, step_size^2 / 2 * gradient.
    """

    energy: jax.Array
    gradient_norm: jax.Array
    noise_norm: jax.Array
    drift: jax.Array


def langevin(
    log_density: LogDensity,
    z: Latents,
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    average_last: int = 0,
) -> Latents:
    """Moves `z` by unadjusted Langevin dynamics, Eq. 7 of the deformable generator.

    Each step adds step_size^2 / 2 times the gradient of the log density, and step_size times standard normal noise.
    There is no acceptance test: in equilibrium the samples are those of the density up to an error that vanishes with
    the step size. On a Gaussian whose precision has eigenvalue p the variance is 1 / (p (1 - step_size^2 p / 4)), and
    the chain diverges from step_size^2 p = 4 on.

    What the density computes without `z` is evaluated once, before the first step (see `hoist`).

    Step s draws from fold_in(key, s), split over the leaves of `z` in their order.

    Args:
      log_density: of `z`, a scalar in nats; an additive constant does not matter.
      z: any pytree of floating arrays; one example, `jax.vmap` makes batches of it.
      key: typed PRNG key.
      num_steps: how many steps.
      step_size: delta of the paper: a number, or a pytree of them that is a prefix of `z`, for latents
        that the data bear on unequally. The density that is sampled is the same.
      average_last: return the mean of what the last so many steps ended with, an estimate of the density's mean, in
        place of where the last one did, a sample.

    Returns:
      The moved `z`.

    Raises:
      ValueError: for a negative number of steps, a step size that is not positive, or more steps to average over than
        there are.

    Example:
      >>> chains = jax.vmap(lambda key: langevin(lambda z: -0.5 * (z - 3) ** 2, 0.0, key, num_steps=200, step_size=0.3))
      >>> z = jax.jit(chains)(jax.random.split(jax.random.key(0), 2000))
      >>> print(f"{z.mean():.1f} {z.std():.1f}")
      3.0 1.0
    """
    return _langevin(log_density, z, key, num_steps, step_size, average_last)[0]


def langevin_with_statistics(
    log_density: LogDensity,
    z: Latents,
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    average_last: int = 0,
) -> tuple[Latents, LangevinStatistics]:
    """`langevin`, which returns the same `z`, and statistics of its steps, [num_steps] each."""
    return _langevin(log_density, z, key, num_steps, step_size, average_last)


def alternating_langevin(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
    average_last: int = 0,
) -> tuple[Any, Any]:
    """Moves two sets of latents in turn, Algorithm 1 of the deformable generator.

    One sweep is `block` steps of the first with the second fixed, then `block` steps of the second with the first
    fixed. Gradients are those of the latents that move; what the density computes from one of the two alone is
    evaluated once after each of its steps, and not while the other moves (see `separate`).

    The first and second block of sweep s are `langevin` on the keys fold_in(fold_in(key, s), 0) and
    fold_in(fold_in(key, s), 1).

    Args:
      log_density: of the pair `z`, a scalar in nats; an additive constant does not matter.
      z: two pytrees of floating arrays, such as (appearance, geometry); one example, `jax.vmap` makes batches of it.
      key: typed PRNG key.
      num_steps: how many sweeps.
      step_size: as of `langevin`; a pair has one for each.
      block: steps of each set of latents in a sweep.
      average_last: as of `langevin`, over sweeps.

    Returns:
      The moved pair.

    Raises:
      ValueError: for a negative number of sweeps, a block below 1, a step size that is not positive, or more sweeps to
        average over than there are.
    """
    return _alternating(log_density, z, key, num_steps, step_size, block, average_last)[0]


def alternating_langevin_with_statistics(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
    average_last: int = 0,
) -> tuple[tuple[Any, Any], LangevinStatistics]:
    """`alternating_langevin`, which returns the same pair, and statistics of its steps, [num_steps, 2, block] each."""
    return _alternating(log_density, z, key, num_steps, step_size, block, average_last)


def _langevin(
    log_density: LogDensity, z: Any, key: jax.Array, num_steps: int, step_size: StepSize, average_last: int
) -> tuple[Any, LangevinStatistics]:
    z = jax.tree.map(jnp.asarray, z)
    sizes = _step_sizes(step_size, z)
    value_and_gradient = hoist(jax.value_and_grad(log_density), z)

    def step(z: Any, index: jax.Array) -> tuple[Any, LangevinStatistics]:
        return _step(z, *value_and_gradient(z), jax.random.fold_in(key, index), sizes)

    return _iterate(step, z, num_steps, average_last, lambda z: z)


def _alternating(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    num_steps: int,
    step_size: StepSize,
    block: int,
    average_last: int,
) -> tuple[Any, LangevinStatistics]:
    block = _count("block", block, 1)
    first, second = jax.tree.map(jnp.asarray, tuple(z))
    sizes = _step_sizes(step_size, (first, second))
    parts = separate(lambda *z: jax.value_and_grad(log_density)(z), first, second)
    of_first = parts.rest(lambda result: (result[0], result[1][0]))
    of_second = parts.rest(lambda result: (result[0], result[1][1]))

    def move(
        latents: Any,
        made: Any,
        key: jax.Array,
        size: StepSize,
        value_and_gradient: Callable[[Any], tuple[jax.Array, Any]],
        make: Callable[[Any], Any],
    ) -> tuple[Any, LangevinStatistics]:
        """Latents after a block that begins where they made this; what they make at its end may not be needed."""

        def step(latents: Any, made: Any, index: jax.Array) -> tuple[Any, LangevinStatistics]:
            return _step(latents, *value_and_gradient(made), jax.random.fold_in(key, index), size)

        def step_and_make(state: tuple[Any, Any], index: jax.Array) -> tuple[tuple[Any, Any], LangevinStatistics]:
            latents, seen = step(*state, index)
            return (latents, make(latents)), seen

        seen: list[LangevinStatistics] = []
        if block > 1:
            (latents, made), before = jax.lax.scan(step_and_make, (latents, made), jnp.arange(block - 1))
            seen.append(before)
        latents, last = step(latents, made, jnp.int32(block - 1))
        return latents, jax.tree.map(lambda *values: jnp.hstack(values), *seen, last)

    # What the density computes of the first latents at the end of a block serves the other's steps and the next block;
    # what it computes of the second, the other's next block.
    def sweep(state: tuple[Any, Any, Any], index: jax.Array) -> tuple[tuple[Any, Any, Any], LangevinStatistics]:
        first, of_it, second = state
        keys = [jax.random.fold_in(jax.random.fold_in(key, index), i) for i in range(2)]
        of_other = parts.second(second)
        first, first_seen = move(first, of_it, keys[0], sizes[0], lambda made: of_first(made, of_other), parts.first)
        of_it = parts.first(first)
        second, second_seen = move(
            second, of_other, keys[1], sizes[1], lambda made: of_second(of_it, made), parts.second
        )
        return (first, of_it, second), jax.tree.map(lambda *seen: jnp.stack(seen), first_seen, second_seen)

    start = (first, parts.first(first), second)
    return _iterate(sweep, start, num_steps, average_last, lambda state: (state[0], state[2]))


def _iterate(
    step: Callable[[Any, jax.Array], tuple[Any, LangevinStatistics]],
    state: Any,
    num_steps: int,
    average_last: int,
    latents_of: Callable[[Any], Any],
) -> tuple[Any, LangevinStatistics]:
    """Latents after so many steps, or their mean over the last ones, and what the steps saw."""
    num_steps, average_last = _count("num_steps", num_steps, 0), _count("average_last", average_last, 0)
    if average_last > num_steps:
        raise ValueError(f"average_last must be at most the {num_steps} steps, got {average_last}")
    if not average_last:
        state, seen = jax.lax.scan(step, state, jnp.arange(num_steps))
        return latents_of(state), seen

    def averaging(carry: tuple[Any, Any], index: jax.Array) -> tuple[tuple[Any, Any], LangevinStatistics]:
        state, mean = carry
        state, seen = step(state, index)
        share = jnp.where(index < num_steps - average_last, 0.0, 1 / average_last)
        return (state, jax.tree.map(lambda m, z: m + share.astype(z.dtype) * z, mean, latents_of(state))), seen

    start = (state, jax.tree.map(jnp.zeros_like, latents_of(state)))
    (_, mean), seen = jax.lax.scan(averaging, start, jnp.arange(num_steps))
    return mean, seen


def _step(z: Any, value: jax.Array, gradient: Any, key: jax.Array, sizes: StepSize) -> tuple[Any, LangevinStatistics]:
    """One step of Eq. 7 from `z`, where the log density has this value and gradient."""
    noise = _noise(key, z)
    drift = jax.tree.map(lambda size, g: jnp.asarray(size, g.dtype) ** 2 / 2 * g, sizes, gradient)
    noise = jax.tree.map(lambda size, n: jnp.asarray(size, n.dtype) * n, sizes, noise)
    moved = jax.tree.map(lambda x, d, n: x + d + n, z, drift, noise)
    return moved, LangevinStatistics(-value, _norm(gradient), _norm(noise), _norm(drift))


def _noise(key: jax.Array, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def _count(name: str, value: int, least: int) -> int:
    value = operator.index(value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def _step_sizes(step_size: StepSize, z: Any) -> Any:
    """One step size for each leaf of the latents."""
    for size in jax.tree.leaves(step_size):
        if not isinstance(size, jax.core.Tracer) and not size > 0:
            raise ValueError(f"step_size must be positive, got {size}")
    return jax.tree.broadcast(step_size, z)
