"""Persistent chains, one per training example, split over the devices and found by the example's index.

The device that holds a chain need not be the one that has its example in its batch: latents are a few numbers per
example, and each device collects those of its examples from all others. The same batches therefore give the same chains
on any number of devices.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp

from facedis_jax.learners.learner import Metrics
from facedis_jax.metrics import Average

Tree = TypeVar("Tree")

# Divisible by all numbers of devices up to 6, and by 8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48, 60, 64, 128, 256 and
# more, so that a run can move between them. Chains beyond the last example are padding.
CHAIN_MULTIPLE = 3840

# In prior standard deviations, as a root mean square over the latents. At ten prior deviations the prior factor of
# Eq. 8 is e^-50 per dimension.
FARTHEST = 10.0


def num_chains(num_examples: int) -> int:
    """The number of chains, padding included: the next multiple of `CHAIN_MULTIPLE`."""
    return -(-num_examples // CHAIN_MULTIPLE) * CHAIN_MULTIPLE


def gather_chains(chains: Tree, index: jax.Array, axis_name: str | None = None) -> Tree:
    """The latents of the examples of this device's batch.

    Args:
      chains: pytree of [chains of this device, ...]; all chains in order, split evenly over the devices.
      index: [batch] int32, the examples' places in the training set.
      axis_name: the device axis; None on one device.

    Returns:
      Pytree of [batch, ...].
    """
    if axis_name is None:
        return jax.tree.map(lambda x: x[index], chains)
    all_indices = jax.lax.all_gather(index, axis_name, tiled=True)
    first = jax.lax.axis_index(axis_name) * len(index)

    def gather(x: jax.Array) -> jax.Array:
        place, mine = _place(x, all_indices, axis_name)
        values = jnp.where(mine.reshape(-1, *[1] * (x.ndim - 1)), x[place], 0)
        return jax.lax.dynamic_slice_in_dim(jax.lax.psum(values, axis_name), first, len(index))

    return jax.tree.map(gather, chains)


def scatter_chains(chains: Tree, index: jax.Array, latents: Tree, axis_name: str | None = None) -> Tree:
    """The chains with new latents [batch, ...] for the examples of this device's batch; see `gather_chains`."""
    if axis_name is None:
        return jax.tree.map(lambda x, new: x.at[index].set(new), chains, latents)
    all_indices = jax.lax.all_gather(index, axis_name, tiled=True)

    def scatter(x: jax.Array, new: jax.Array) -> jax.Array:
        place, mine = _place(x, all_indices, axis_name)
        new = jax.lax.all_gather(new, axis_name, tiled=True)
        return x.at[jnp.where(mine, place, len(x))].set(new, mode="drop")

    return jax.tree.map(scatter, chains, latents)


def redraw_diverged(latents: Tree, fresh: Tree) -> tuple[Tree, jax.Array, jax.Array]:
    """Latents with those of diverged chains replaced, and how long they were.

    Args:
      latents: pytree of [batch, ...], after their Langevin steps.
      fresh: replacements of the same shapes, drawn from the prior.

    Returns:
      The latents; the root mean square of each example's latents before, [batch], 1 under the prior; and which were
      replaced, [batch] bool: those that are not finite or longer than `FARTHEST`.

    Example:
      >>> latents, norm, diverged = redraw_diverged(jnp.array([[1.0], [jnp.nan], [11.0]]), jnp.zeros([3, 1]))
      >>> latents[:, 0].tolist(), diverged.tolist()
      ([1.0, 0.0, 0.0], [False, True, True])
    """
    leaves = [x.reshape(len(x), -1) for x in jax.tree.leaves(latents)]
    flat = jnp.concatenate(leaves, axis=-1)
    norm = jnp.sqrt(jnp.mean(flat**2, axis=-1))
    # Not "norm > FARTHEST", which NaN is not.
    diverged = ~(norm <= FARTHEST)

    def replace(x: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(diverged.reshape(-1, *[1] * (x.ndim - 1)), new, x)

    return jax.tree.map(replace, latents, fresh), norm, diverged


def chain_metrics(norm: jax.Array, diverged: jax.Array) -> Metrics:
    """Per-step chain metrics from `redraw_diverged`: the mean length of latents and the share that was replaced."""
    return {
        "latent_norm": Average.of(norm, ~diverged),
        "redrawn_chains": Average.of(diverged.astype(jnp.float32)),
    }


def _place(x: jax.Array, index: jax.Array, axis_name: str) -> tuple[jax.Array, jax.Array]:
    """The positions of examples among this device's chains, and whether they are there."""
    place = index - jax.lax.axis_index(axis_name) * len(x)
    mine = (place >= 0) & (place < len(x))
    return jnp.where(mine, place, 0), mine
