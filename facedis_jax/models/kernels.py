"""What the kernels for TPUs share."""

import jax
import jax.numpy as jnp

# Shape of a TPU's vectors of 32-bit numbers.
ROWS, LANES = 8, 128


def product(left: jax.Array, right: jax.Array, left_axis: int, right_axis: int) -> jax.Array:
    """The product of two matrices over one axis of each, summed in float32, in one pass whatever JAX's default is."""
    return jax.lax.dot_general(
        left,
        right,
        (((left_axis,), (right_axis,)), ((), ())),
        precision=jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )
