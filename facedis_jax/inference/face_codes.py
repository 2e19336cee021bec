"""What a model of faces consists of and what it finds, as pytrees."""

from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Code", "FaceCodes"]

Array: TypeAlias = np.ndarray | jax.Array


class FaceParams(NamedTuple):
    """What training has found: nested dictionaries of arrays, a pytree to differentiate by.

    Attributes:
      params: weights.
      batch_stats: of batch normalisation; empty without it.
    """

    params: Any
    batch_stats: Any


class Code(NamedTuple):
    """A diagonal normal distribution of codes, [..., latents] each.

    Example:
      >>> Code(mean=np.zeros([5, 4]), std=np.ones([5, 4])).mean.shape  # of five faces
      (5, 4)
    """

    mean: Array
    std: Array


class FaceCodes(NamedTuple):
    """What a model finds in faces [..., vertices, 3]; a pytree of arrays [..., latents].

    Attributes:
      identity, expression: codes.
      labels: [..., expressions] that the faces were encoded with; None for a model without labels.

    Example:
      >>> identity, expression = Code(np.zeros(4), np.ones(4)), Code(np.ones(8), np.ones(8))
      >>> anna = FaceCodes(identity, expression, None)
      >>> calm = anna._replace(expression=Code(np.zeros(8), np.ones(8)))  # who she is, another thing to do
      >>> calm.identity is anna.identity, calm.expression.mean.shape
      (True, (8,))
    """

    identity: Code
    expression: Code
    labels: Array | None


class DecodedFaces(NamedTuple):
    """What a model makes of codes: the face and its neutral, [..., vertices, 3] mm.

    Example:
      >>> faces = DecodedFaces(full=jnp.ones([5, 36, 3]), neutral=jnp.zeros([5, 36, 3]))
      >>> (faces.full - faces.neutral).shape  # what the expressions do
      (5, 36, 3)
    """

    full: jax.Array
    neutral: jax.Array


def split_codes(mean: Array, std: Array, identity_latents: int, labels: Array | None) -> FaceCodes:
    """The codes of means and deviations [..., latents], identity latents first."""
    identity, expression = (
        Code(mean[..., part], std[..., part]) for part in (slice(identity_latents), slice(identity_latents, None))
    )
    return FaceCodes(identity, expression, labels)


def broadcast_codes(identity: Array, expression: Array, labels: Array | None) -> list[Any]:
    """Codes and labels [..., latents] of one shape before their last axis; None for no labels."""
    codes = [identity, expression] if labels is None else [identity, expression, labels]
    shape = jnp.broadcast_shapes(*(code.shape[:-1] for code in codes))
    wide: list[Any] = [jnp.broadcast_to(code, (*shape, code.shape[-1])) for code in codes]
    return wide if labels is not None else [*wide, None]


def draw_like(codes: np.ndarray, key: jax.Array, count: int) -> jax.Array:
    """Draws [count, latents] of the normal distribution that codes [faces, latents] have."""
    covariance = np.atleast_2d(np.cov(codes, rowvar=False, ddof=int(len(codes) > 1)))
    variances, directions = np.linalg.eigh(covariance)
    root = (directions * np.sqrt(np.maximum(variances, 0))).astype(np.float32)
    return codes.mean(0).astype(np.float32) + jax.random.normal(key, (count, codes.shape[1])) @ root.T
