"""A checksum of a state, computed on the devices that hold it: what a checkpoint gives back is what was saved."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Odd, so that every multiple of it by another odd number is lost on no bit (Knuth's multiplicative hashing).
_GOLDEN = np.uint32(2654435769)


@jax.jit
def state_digest(state: Any) -> jax.Array:
    """A checksum of each array of a pytree, over its bits.

    The words of an array, each times an odd number that belongs to its place, added modulo 2^32: the order of an
    addition of integers does not matter, so the digest is the same however the array is split over devices, and
    a single word that changes always changes it.

    Args:
      state: a pytree of arrays, typed PRNG keys among them.

    Returns:
      [leaves] uint32, in the order of `jax.tree.leaves`.
    """
    return jnp.stack([_array_digest(x) for x in jax.tree.leaves(state)])


def _array_digest(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[x.dtype.itemsize]
    words = jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)
    # Places by their coordinates and not by flattening, which would gather an array that is split over devices.
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, size in enumerate(words.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    mixed = (place ^ (place >> 15)) * _GOLDEN
    odd = (mixed ^ (mixed >> 13)) | jnp.uint32(1)
    return jnp.sum(words * odd, dtype=jnp.uint32)
