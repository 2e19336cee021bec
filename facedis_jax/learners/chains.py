"""Persistent chains, one per training example, split over the devices and found by the example's index.

Which device holds a chain has nothing to do with which one sees its example: the latents of a batch are a few numbers
per example, so that every device gets its own from wherever they are. The same batches therefore give the same chains
on any number of devices.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp

from facedis_jax.learners.learner import Metrics
from facedis_jax.metrics import Average

Tree = TypeVar("Tree")

# Every number of devices up to 6, and each of 8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 48, 60, 64, 128, 256 and more,
# divides it, so that a run moves between them. The chains beyond the last example belong to nobody.
CHAIN_MULTIPLE = 3840

# Ten times the length that latents have under the prior; of all that such a code could say the prior's factor of
# Eq. 8 leaves a part of e^-50 for each of its numbers.
FARTHEST = 10.0


def num_chains(num_examples: int) -> int:
    """How many chains are kept for so many examples: the next multiple of `CHAIN_MULTIPLE`."""
    return -(-num_examples // CHAIN_MULTIPLE) * CHAIN_MULTIPLE


def gather_chains(chains: Tree, index: jax.Array, axis_name: str | None = None) -> Tree:
    """The latents of this device's examples.

    Args:
      chains: pytree of [chains of this device, ...]; all chains in order, split evenly over the devices.
      index: [batch] int32, the examples' places in the training set.
      axis_name: the device axis; None on one device.

    Returns:
      Pytree of [batch, ...].
    """
    if axis_name is None:
        return jax.tree.map(lambda x: x[index], chains)
    everyones = jax.lax.all_gather(index, axis_name, tiled=True)
    first = jax.lax.axis_index(axis_name) * len(index)

    def gather(x: jax.Array) -> jax.Array:
        place, mine = _place(x, everyones, axis_name)
        values = jnp.where(mine.reshape(-1, *[1] * (x.ndim - 1)), x[place], 0)
        return jax.lax.dynamic_slice_in_dim(jax.lax.psum(values, axis_name), first, len(index))

    return jax.tree.map(gather, chains)


def scatter_chains(chains: Tree, index: jax.Array, latents: Tree, axis_name: str | None = None) -> Tree:
    """The chains with new latents [batch, ...] for this device's examples; see `gather_chains`."""
    if axis_name is None:
        return jax.tree.map(lambda x, new: x.at[index].set(new), chains, latents)
    everyones = jax.lax.all_gather(index, axis_name, tiled=True)

    def scatter(x: jax.Array, new: jax.Array) -> jax.Array:
        place, mine = _place(x, everyones, axis_name)
        new = jax.lax.all_gather(new, axis_name, tiled=True)
        return x.at[jnp.where(mine, place, len(x))].set(new, mode="drop")

    return jax.tree.map(scatter, chains, latents)


def redraw_diverged(latents: Tree, fresh: Tree) -> tuple[Tree, jax.Array, jax.Array]:
    """Puts a draw from the prior in the place of latents that are no sample of any posterior.

    Args:
      latents: pytree of [batch, ...], after their Langevin steps.
      fresh: the same, drawn from the prior.

    Returns:
      The latents; the root mean square of each example's, [batch], 1 under the prior, as it was found; and which
      were put aside, [batch] bool: those that are not finite or longer than `FARTHEST`.
    """
    leaves = [x.reshape(len(x), -1) for x in jax.tree.leaves(latents)]
    flat = jnp.concatenate(leaves, axis=-1)
    norm = jnp.sqrt(jnp.mean(flat**2, axis=-1))
    # Not "norm > FARTHEST", which NaN is not.
    diverged = ~(norm <= FARTHEST)

    def put(x: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(diverged.reshape(-1, *[1] * (x.ndim - 1)), new, x)

    return jax.tree.map(put, latents, fresh), norm, diverged


def chain_metrics(norm: jax.Array, diverged: jax.Array) -> Metrics:
    """What a step tells of its chains, from `redraw_diverged`: how long latents are, and how many were put aside."""
    return {
        "latent_norm": Average.of(norm, ~diverged),
        "redrawn_chains": Average.of(diverged.astype(jnp.float32)),
    }


def _place(x: jax.Array, index: jax.Array, axis_name: str) -> tuple[jax.Array, jax.Array]:
    """Where examples are among this device's chains, and whether they are."""
    place = index - jax.lax.axis_index(axis_name) * len(x)
    mine = (place >= 0) & (place < len(x))
    return jnp.where(mine, place, 0), mine
