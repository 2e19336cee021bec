"""One step of Langevin dynamics, and what the samplers repeat around it."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

StepSize = Any  # a number, or a pytree of them that is a prefix of the latents


class LangevinStatistics(NamedTuple):
    """Energies and norms, one of each per step; norms are over all leaves of the latents that the step moved.

    `langevin_with_statistics` gives arrays [num_steps], `alternating_langevin_with_statistics`
    [num_steps, 2, block]: the sweep, which of the two latents moved, the step of its block.

    Attributes:
      energy: minus the log density before the step, in nats.
      gradient_norm: of the log density's gradient before the step.
      noise_norm: of the noise that was added, step_size * noise.
      drift: norm of the other summand, step_size^2 / 2 * gradient.

    Example:
      >>> from facedis_jax.sampling import langevin_with_statistics
      >>> z, statistics = langevin_with_statistics(
      ...     lambda z: -0.5 * z**2, 2.0, jax.random.key(0), num_steps=3, step_size=0.1
      ... )
      >>> statistics.energy.shape, float(statistics.energy[0])
      ((3,), 2.0)
    """

    energy: jax.Array
    gradient_norm: jax.Array
    noise_norm: jax.Array
    drift: jax.Array


def langevin_step(
    z: Any, value: jax.Array, gradient: Any, key: jax.Array, sizes: Any
) -> tuple[Any, LangevinStatistics]:
    """`z` after one step of Eq. 7, and the step's statistics.

    Args:
      z: a pytree of floating arrays.
      value, gradient: of the log density at `z`.
      key: split over the leaves of `z` in their order, each of which draws its noise from its own.
      sizes: one step size for each leaf of `z`, as from `leaf_step_sizes`.
    """
    noise = _standard_normal(key, z)
    drift = jax.tree.map(lambda size, g: jnp.asarray(size, g.dtype) ** 2 / 2 * g, sizes, gradient)
    noise = jax.tree.map(lambda size, n: jnp.asarray(size, n.dtype) * n, sizes, noise)
    moved = jax.tree.map(lambda x, d, n: x + d + n, z, drift, noise)
    return moved, LangevinStatistics(-value, _norm(gradient), _norm(noise), _norm(drift))


def iterate(
    step: Callable[[Any, jax.Array], tuple[Any, LangevinStatistics]],
    state: Any,
    num_steps: int,
    average_last: int,
    latents_of: Callable[[Any], Any] = lambda state: state,
) -> tuple[Any, LangevinStatistics]:
    """The latents after all steps, or their mean over the last ones, and the statistics of every step.

    Args:
      step: (state, index of the step) -> (state, statistics).
      state: the first one.
      num_steps: how many steps.
      average_last: how many of the last ones are averaged; 0 for the latents after the last step as they are.
      latents_of: a state's latents.

    Raises:
      ValueError: for a negative number of either, or more steps to average than there are.
    """
    num_steps, average_last = at_least("num_steps", num_steps, 0), at_least("average_last", average_last, 0)
    if average_last > num_steps:
        raise ValueError(f"average_last must be at most the {num_steps} steps, got {average_last}")
    if not average_last:
        state, statistics = jax.lax.scan(step, state, jnp.arange(num_steps))
        return latents_of(state), statistics

    def averaging(carry: tuple[Any, Any], index: jax.Array) -> tuple[tuple[Any, Any], LangevinStatistics]:
        state, mean = carry
        state, statistics = step(state, index)
        share = jnp.where(index < num_steps - average_last, 0.0, 1 / average_last)
        mean = jax.tree.map(lambda m, z: m + share.astype(z.dtype) * z, mean, latents_of(state))
        return (state, mean), statistics

    start = (state, jax.tree.map(jnp.zeros_like, latents_of(state)))
    (_, mean), statistics = jax.lax.scan(averaging, start, jnp.arange(num_steps))
    return mean, statistics


def at_least(name: str, value: int, least: int) -> int:
    """The value as an integer.

    Raises:
      ValueError: where it is smaller than `least`.
    """
    value = operator.index(value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def leaf_step_sizes(step_size: StepSize, z: Any) -> Any:
    """One step size for each leaf of the latents.

    Raises:
      ValueError: where one is not positive.
    """
    for size in jax.tree.leaves(step_size):
        if not isinstance(size, jax.core.Tracer) and not size > 0:
            raise ValueError(f"step_size must be positive, got {size}")
    return jax.tree.broadcast(step_size, z)


def as_arrays(z: Any) -> Any:
    """The leaves as arrays of their own types, Python numbers included, so that a step leaves the types as they are."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), z)


def _standard_normal(key: jax.Array, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
