"""Langevin dynamics: samples from any density that can be differentiated."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from facedis_jax.sampling.parts import sweep_by_parts
from facedis_jax.sampling.steps import (
    LangevinStatistics,
    StepSize,
    as_arrays,
    at_least,
    iterate,
    langevin_step,
    leaf_step_sizes,
)

Latents = TypeVar("Latents")
LogDensity = Callable[[Any], jax.Array]
Parts = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def langevin(
    log_density: LogDensity,
    z: Latents,
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    average_last: int = 0,
) -> Latents:
    """`z` after steps of unadjusted Langevin dynamics, Eq. 7 of the deformable generator.

    Each step adds step_size^2 / 2 times the gradient of the log density, and step_size times standard normal noise.
    There is no acceptance test: in equilibrium the samples are those of the density up to an error that vanishes with
    the step size. On a Gaussian whose precision has eigenvalue p the variance is 1 / (p (1 - step_size^2 p / 4)), and
    the chain diverges from step_size^2 p = 4 on.

    What the density computes without `z` may be computed in every step: a caller computes it before.

    Step s draws from fold_in(key, s), split over the leaves of `z` in their order.

    Args:
      log_density: of `z`, a scalar in nats; an additive constant does not matter.
      z: any pytree of floating arrays; one example, `jax.vmap` makes batches of it.
      key: typed PRNG key.
      num_steps: how many steps.
      step_size: delta of the paper: a number, or a pytree of them that is a prefix of `z`, for latents
        that the data bear on unequally. The density that is sampled is the same.
      average_last: return the mean of the latents after each of so many last steps, an estimate of the density's mean,
        in place of those after the last one, a sample.

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
    """What `langevin` returns, and `LangevinStatistics` of its steps, [num_steps] each.

    Example:
      >>> z, statistics = langevin_with_statistics(
      ...     lambda z: -0.5 * (z - 3) ** 2, 0.0, jax.random.key(0), num_steps=4, step_size=0.3
      ... )
      >>> statistics.energy.shape, float(statistics.energy[0])
      ((4,), 4.5)
    """
    return _langevin(log_density, z, key, num_steps, step_size, average_last)


def alternating_langevin(
    log_density: Callable[..., jax.Array],
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
    average_last: int = 0,
    parts: Parts | None = None,
) -> tuple[Any, Any]:
    """The pair `z` after sweeps of Langevin dynamics in turn, Algorithm 1 of the deformable generator.

    One sweep is `block` steps of the first with the second fixed, then `block` steps of the second with the first
    fixed, each `langevin` on the conditional density. Those of sweep s draw from the keys fold_in(fold_in(key, s), 0)
    and fold_in(fold_in(key, s), 1).

    Where a density computes much from either latent alone, it may name these two functions: with `parts=(f_0, f_1)`,
    `log_density(z, outputs)` is a function of the pair and of `outputs = (f_0(z[0]), f_1(z[1]))`. The chain is the
    same, up to rounding, as that of `lambda z: log_density(z, (f_0(z[0]), f_1(z[1])))`; but either part and its
    backward pass are evaluated once for each step of its own latents, and not while the other's move.

    Args:
      log_density: of the pair, a scalar in nats; an additive constant does not matter. With `parts`, of the pair and of
        what they make of it.
      z: two pytrees of floating arrays, such as (appearance, geometry); one example, `jax.vmap` makes batches of it.
      key: typed PRNG key.
      num_steps: how many sweeps.
      step_size: as of `langevin`; a pair has one for each.
      block: steps of each of the two in a sweep.
      average_last: as of `langevin`, over sweeps.
      parts: two functions, of either of the pair, that return pytrees of floating arrays.

    Returns:
      The moved pair.

    Raises:
      ValueError: for a negative number of sweeps, a block below 1, a step size that is not positive, or more sweeps to
        average over than there are.

    Example:
      Two numbers whose exponentials add up to 3, seen through noise of deviation 0.5; a priori N(0, I).

      >>> def log_density(z, outputs):
      ...     return -0.5 * (z[0] ** 2 + z[1] ** 2) - 0.5 * ((outputs[0] + outputs[1] - 3) / 0.5) ** 2
      >>> def chain(key, **form):
      ...     return alternating_langevin(key=key, z=(0.0, 0.0), num_steps=50, step_size=0.2, **form)
      >>> keys = jax.random.split(jax.random.key(0), 1000)
      >>> plain = jax.vmap(lambda key: chain(key, log_density=lambda z: log_density(z, (jnp.exp(z[0]), jnp.exp(z[1])))))
      >>> fast = jax.vmap(lambda key: chain(key, log_density=log_density, parts=(jnp.exp, jnp.exp)))
      >>> for a, b in (jax.jit(plain)(keys), jax.jit(fast)(keys)):
      ...     print(f"{(jnp.exp(a) + jnp.exp(b)).mean():.1f}")
      2.9
      2.9
    """
    return _alternating(log_density, z, key, num_steps, step_size, block, average_last, parts)[0]


def alternating_langevin_with_statistics(
    log_density: Callable[..., jax.Array],
    z: tuple[Any, Any],
    key: jax.Array,
    *,
    num_steps: int,
    step_size: StepSize,
    block: int = 1,
    average_last: int = 0,
    parts: Parts | None = None,
) -> tuple[tuple[Any, Any], LangevinStatistics]:
    """What `alternating_langevin` returns, and `LangevinStatistics` of its steps, [num_steps, 2, block] each.

    Example:
      >>> z, statistics = alternating_langevin_with_statistics(
      ...     lambda z: -0.5 * (z[0] - z[1]) ** 2, (0.0, 1.0), jax.random.key(0), num_steps=3, step_size=0.1, block=2
      ... )
      >>> statistics.energy.shape, float(statistics.energy[0, 0, 0])
      ((3, 2, 2), 0.5)
    """
    return _alternating(log_density, z, key, num_steps, step_size, block, average_last, parts)


def _langevin(
    log_density: LogDensity, z: Any, key: jax.Array, num_steps: int, step_size: StepSize, average_last: int = 0
) -> tuple[Any, LangevinStatistics]:
    z = as_arrays(z)
    sizes = leaf_step_sizes(step_size, z)

    def step(z: Any, index: jax.Array) -> tuple[Any, LangevinStatistics]:
        return langevin_step(z, *jax.value_and_grad(log_density)(z), jax.random.fold_in(key, index), sizes)

    return iterate(step, z, num_steps, average_last)


def _alternating(
    log_density: Callable[..., jax.Array],
    z: tuple[Any, Any],
    key: jax.Array,
    num_steps: int,
    step_size: StepSize,
    block: int,
    average_last: int,
    parts: Parts | None,
) -> tuple[Any, LangevinStatistics]:
    block = at_least("block", block, 1)
    first, second = as_arrays(tuple(z))
    sizes = leaf_step_sizes(step_size, (first, second))
    if parts is not None:
        start, sweep_parts, latents_of = sweep_by_parts(log_density, parts, (first, second), key, sizes, block)
        return iterate(sweep_parts, start, num_steps, average_last, latents_of)

    def sweep(z: tuple[Any, Any], index: jax.Array) -> tuple[tuple[Any, Any], LangevinStatistics]:
        first, second = z
        keys = [jax.random.fold_in(jax.random.fold_in(key, index), i) for i in range(2)]
        first, of_first = _langevin(lambda first: log_density((first, second)), first, keys[0], block, sizes[0])
        second, of_second = _langevin(lambda second: log_density((first, second)), second, keys[1], block, sizes[1])
        return (first, second), jax.tree.map(lambda *statistics: jnp.stack(statistics), of_first, of_second)

    return iterate(sweep, (first, second), num_steps, average_last)
