"""Normalisation as a named choice: over the batch, as the paper, or within each feature vector."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

Normalisation = Literal["batch", "layer", "none"]


class Normalise(nn.Module):
    """Normalises features [..., channels].

    "batch" keeps running statistics, averaged over the devices of `axis_name`, and uses them at evaluation:
    the PCT of the paper. "layer" brings each feature vector to mean 0 and variance 1 by itself: the same in
    training and at evaluation, whatever else is in the batch. "none" passes features through.

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
            # No learned scale and offset: the next linear layer has both, and their gradients, sums over all
            # points, cost more than the layer itself.
            centred = features - features.mean(axis=-1, keepdims=True)
            return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
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
        # A normalisation takes the mean away again, and a bias with it.
        hidden = nn.Dense(self.features, use_bias=self.normalisation == "none")(inputs)
        hidden = Normalise(self.normalisation, self.axis_name)(hidden, train=train)
        return nn.leaky_relu(hidden, self.slope)
