"""What a model of faces consists of and what it finds, as pytrees."""

from typing import Any, NamedTuple, TypeAlias

import jax
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
