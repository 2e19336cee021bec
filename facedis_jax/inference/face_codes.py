"""What a model of faces consists of and what it finds, as pytrees."""

from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

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
    """A diagonal normal distribution of codes, [..., latents] each."""

    mean: Array
    std: Array


class FaceCodes(NamedTuple):
    """What a model finds in faces [..., vertices, 3]; a pytree of arrays [..., latents].

    Attributes:
      identity, expression: codes.
      labels: [..., expressions] that the faces were encoded with; None for a model without labels.
    """

    identity: Code
    expression: Code
    labels: Array | None
