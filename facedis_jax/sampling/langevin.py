"""Langevin dynamics: samples from any density that can be differentiated."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from facedis_jax.sampling.hoist import hoist

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


def langevin(log_density: LogDensity, z: Latents, key: jax.Array, *, num_steps: int, step_size: StepSize) -> Latents:
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

    Returns:
      The moved `z`.

    Raises:
      ValueError: for a negative number of steps or a step size that is not positive.

    Example:
      >>> chains = jax.vmap(lambda key: langevin(lambda z: -0.5 * (z - 3) ** 2, 0.0, key, num_steps=200, step_size=0.3))
      >>> z = jax.jit(chains)(jax.random.split(jax.random.key(0), 2000))
      >>> print(f"{z.mean():.1f} {z.std():.1f}")
      3.0 1.0
    """
    return _langevin(log_density, z, key, num_steps, step_size, statistics=False)[0]


def langevin_with_statistics(
    log_density: LogDensity, z: Latents, key: jax.Array, *, num_steps: int, step_size: StepSize
) -> tuple[Latents, LangevinStatistics]:
    """`langevin`, which returns the same `z`, and statistics of its steps, [num_steps] each."""
    return _langevin(log_density, z, key, num_steps, step_size, statistics=True)


def alternating_langevin(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
) -> tuple[Any, Any]:
    """Moves two sets of latents in turn, Algorithm 1 of the deformable generator.

    One sweep is `block` steps of the first with the second fixed, then `block` steps of the second with the first
    fixed. Gradients are those of the latents that move; what the density computes without these is evaluated once
    per block (see `hoist`).

    The first and second block of sweep s are `langevin` on the keys fold_in(fold_in(key, s), 0) and
    fold_in(fold_in(key, s), 1).

    Args:
      log_density: of the pair `z`, a scalar in nats; an additive constant does not matter.
      z: two pytrees of floating arrays, such as (appearance, geometry); one example, `jax.vmap` makes batches of it.
      key: typed PRNG key.
      num_steps: how many sweeps.
      step_size: as of `langevin`; a pair has one for each.
      block: steps of each set of latents in a sweep.

    Returns:
      The moved pair.

    Raises:
      ValueError: for a negative number of sweeps, a block below 1 or a step size that is not positive.
    """
    return _alternating(log_density, z, key, num_steps, step_size, block, statistics=False)[0]


def alternating_langevin_with_statistics(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
) -> tuple[tuple[Any, Any], LangevinStatistics]:
    """`alternating_langevin`, which returns the same pair, and statistics of its steps, [num_steps, 2, block] each."""
    return _alternating(log_density, z, key, num_steps, step_size, block, statistics=True)


def _langevin(
    log_density: LogDensity, z: Any, key: jax.Array, num_steps: int, step_size: StepSize, *, statistics: bool
) -> tuple[Any, Any]:
    num_steps = _count("num_steps", num_steps, 0)
    z = jax.tree.map(jnp.asarray, z)
    sizes = _step_sizes(step_size, z)
    value_and_gradient = hoist(jax.value_and_grad(log_density), z)

    def step(z: Any, index: jax.Array | int) -> tuple[Any, LangevinStatistics | None]:
        value, gradient = value_and_gradient(z)
        noise = _noise(jax.random.fold_in(key, index), z)
        drift = jax.tree.map(lambda size, g: jnp.asarray(size, g.dtype) ** 2 / 2 * g, sizes, gradient)
        noise = jax.tree.map(lambda size, n: jnp.asarray(size, n.dtype) * n, sizes, noise)
        moved = jax.tree.map(lambda x, d, n: x + d + n, z, drift, noise)
        if not statistics:
            return moved, None
        return moved, LangevinStatistics(-value, _norm(gradient), _norm(noise), _norm(drift))

    if num_steps == 1:
        # Without a loop around it, XLA sees that the forward pass is one that the block before or after it needs too.
        z, seen = step(z, 0)
        return z, jax.tree.map(lambda x: x[None], seen)
    return jax.lax.scan(step, z, jnp.arange(num_steps))


def _alternating(
    log_density: LogDensity,
    z: tuple[Any, Any],
    key: jax.Array,
    num_steps: int,
    step_size: StepSize,
    block: int,
    *,
    statistics: bool,
) -> tuple[Any, Any]:
    num_steps, block = _count("num_steps", num_steps, 0), _count("block", block, 1)
    first, second = jax.tree.map(jnp.asarray, tuple(z))
    sizes = _step_sizes(step_size, (first, second))

    def sweep(z: tuple[Any, Any], index: jax.Array) -> tuple[Any, Any]:
        first, second = z
        first_key, second_key = (jax.random.fold_in(jax.random.fold_in(key, index), i) for i in range(2))
        first, first_seen = _langevin(
            lambda moving: log_density((moving, second)), first, first_key, block, sizes[0], statistics=statistics
        )
        second, second_seen = _langevin(
            lambda moving: log_density((first, moving)), second, second_key, block, sizes[1], statistics=statistics
        )
        return (first, second), jax.tree.map(lambda *seen: jnp.stack(seen), first_seen, second_seen)

    return jax.lax.scan(sweep, (first, second), jnp.arange(num_steps))


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
