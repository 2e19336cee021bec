"""Gaussians with diagonal covariance, given by mean and log-variance."""

import math

import jax
import jax.numpy as jnp


def gaussian_log_density(z: jax.Array, mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Log-density of `z` under N(mean, diag(exp(logvar))), in nats.

    Args:
      z: points, [..., dims].
      mean, logvar: parameters, [..., dims]; leading axes broadcast against those of `z`.

    Returns:
      [...], summed over the last axis.

    Example:
      >>> value = gaussian_log_density(jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.zeros(2))
      >>> print(f"{value:.3f} {-0.5 - math.log(2 * math.pi):.3f}")
      -2.338 -2.338
    """
    squared = jnp.square(z - mean) * jnp.exp(-logvar)
    return -0.5 * jnp.sum(squared + logvar + math.log(2 * math.pi), axis=-1)


def gaussian_kl(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """KL(N(mean, diag(exp(logvar))) || N(0, I)), Eq. 3 of the information-bottlenecked VAE.

    The encoder's second output is read as a log-variance; the paper calls it a standard deviation, its code
    does not.

    Args:
      mean, logvar: parameters of the posterior, [..., dims].

    Returns:
      [...] in nats, summed over the last axis.

    Example:
      >>> gaussian_kl(jnp.array([[0.0, 0.0], [1.0, -2.0]]), jnp.zeros([2, 2]))
      Array([0. , 2.5], dtype=float32)
    """
    # expm1 keeps what exp(logvar) - 1 would round away near the prior, where collapsed dimensions live.
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.expm1(logvar) - logvar, axis=-1)
