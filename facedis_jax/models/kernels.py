"""What the kernels for TPUs have in common."""

import jax
import jax.numpy as jnp

# A TPU's vectors: so many rows of so many lanes, of 32 bits each.
ROWS, LANES = 8, 128


def product(left: jax.Array, right: jax.Array, of_left: int, of_right: int) -> jax.Array:
    """The product of two matrices over an axis of each, added up in float32; in one pass, whatever JAX's default is."""
    return jax.lax.dot_general(
        left,
        right,
        (((of_left,), (of_right,)), ((), ())),
        precision=jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )
