"""Normalisation as a named choice: over the batch, as the paper, or within one example, so that a code stands alone."""

from typing import Literal

import flax.linen as nn
import jax

Normalisation = Literal["batch", "layer", "none"]


class Normalise(nn.Module):
    """Normalises features [..., channels].

    "batch" keeps running statistics, averaged over the devices of `axis_name`, and uses them at evaluation: the
    PCT of the paper. "layer" normalises each feature vector by itself: the same in training and evaluation, whatever
    else is in the batch. "none" passes features through.

    Attributes:
      kind: the choice.
      axis_name: the device axis over which batch statistics are averaged in training.
    """

    kind: Normalisation = "layer"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        if self.kind == "batch":
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)
            return norm(features)
        if self.kind == "layer":
            return nn.LayerNorm()(features)
        if self.kind == "none":
            return features
        raise ValueError(f"normalisation must be 'batch', 'layer' or 'none', not {self.kind!r}")


class LinearNormRelu(nn.Module):
    """LBR of the paper: linear, normalisation, ReLU (leaky where `slope` > 0)."""

    features: int
    normalisation: Normalisation = "layer"
    axis_name: str | None = None
    slope: float = 0.0

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        # Batch and layer statistics absorb a bias of the linear layer; without them it is needed.
        hidden = nn.Dense(self.features, use_bias=self.normalisation != "batch")(inputs)
        hidden = Normalise(self.normalisation, self.axis_name)(hidden, train=train)
        return nn.leaky_relu(hidden, self.slope)
