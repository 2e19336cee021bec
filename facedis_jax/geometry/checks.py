"""Checks of arguments, made when a function is called; values that are traced are not known then and pass."""

from typing import Any

import jax
import jax.numpy as jnp


def as_points(**arrays: Any) -> list[jax.Array]:
    """The arguments as arrays [points, 3] of a floating type.

    Args:
      **arrays: by the arguments' names.

    Raises:
      ValueError: an argument has another shape or type, or a coordinate that is not finite; names it.

    Example:
      >>> as_points(points=[[0.0, 1.0, 2.0]])[0].shape
      (1, 3)
    """
    checked = []
    for name, value in arrays.items():
        array = jnp.asarray(value)
        if array.ndim != 2 or array.shape[1] != 3:
            raise ValueError(f"{name} must be [points, 3], got shape {array.shape}")
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be of a floating type, got {array.dtype}")
        if is_known(array) and not jnp.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        checked.append(array)
    return checked


def is_known(value: Any) -> bool:
    """Whether a value is known at the time of the call, and not traced by jit, vmap or grad."""
    return not isinstance(value, jax.core.Tracer)
