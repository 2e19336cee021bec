"""Normalisation as a named choice: over the batch, as the paper, or within each feature vector.

Results have the dtype of their inputs; parameters and statistics are always float32.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.linear import RowsDense

Normalisation = Literal["batch", "layer", "none"]

# Added to a feature vector's variance.
LAYER_EPSILON = 1e-6


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
            norm = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, axis_name=self.axis_name, dtype=features.dtype
            )
            return norm(as_wide(features))
        if self.kind == "layer":
            # No learned scale and offset: the next linear layer has both, and their gradients, sums over all
            # points, cost more than the layer itself.
            centred = as_wide(features)
            centred = centred - centred.mean(axis=-1, keepdims=True)
            normalised = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + LAYER_EPSILON)
            return normalised.astype(features.dtype)
        if self.kind == "none":
            return features
        raise ValueError(f"normalisation must be 'batch', 'layer' or 'none', not {self.kind!r}")


class BatchAffine(nn.Module):
    """Batch normalisation of features whose moments are known, as `(features - mean) * factor + bias`.

    Keeps running statistics as flax's BatchNorm, which `Normalise` has, does.

    Attributes:
      features: number of channels.
      axis_name: the device axis over which moments are averaged in training.
      scale: [features], learned.
    """

    features: int
    axis_name: str | None = None

    def setup(self) -> None:
        self.scale = self.param("scale", nn.initializers.ones, (self.features,))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))
        self.running_mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,))
        self.running_variance = self.variable("batch_stats", "var", jnp.ones, (self.features,))

    def __call__(
        self, mean: jax.Array, square: jax.Array, *, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The mean, factor and bias to normalise with, from a batch's mean and mean square, [features] each."""
        if train and not self.is_initializing():
            if self.axis_name is not None:
                mean, square = jax.lax.pmean((mean, square), self.axis_name)
            variance = jnp.maximum(square - jnp.square(mean), 0)
            self.running_mean.value = 0.9 * self.running_mean.value + 0.1 * mean
            self.running_variance.value = 0.9 * self.running_variance.value + 0.1 * variance
        else:
            mean, variance = self.running_mean.value, self.running_variance.value
        return mean, jax.lax.rsqrt(variance + 1e-5) * self.scale, self.bias


def as_wide(features: jax.Array) -> jax.Array:
    """The features in at least float32, the dtype of statistics."""
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))


class LinearNormRelu(nn.Module):
    """LBR of the paper: linear, normalisation, ReLU (leaky where `slope` > 0).

    Attributes:
      features: of the output.
      normalisation: the choice.
      axis_name: the device axis for batch statistics.
      slope: of the ReLU below 0.
      precision: of the product, as `jax.numpy.matmul` takes it.
    """

    features: int
    normalisation: Normalisation = "layer"
    axis_name: str | None = None
    slope: float = 0.0
    precision: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        # A normalisation subtracts the mean, and a bias with it.
        layer = RowsDense(
            self.features, use_bias=self.normalisation == "none", dtype=inputs.dtype, precision=self.precision
        )
        hidden = layer(inputs)
        hidden = Normalise(self.normalisation, self.axis_name)(hidden, train=train)
        return nn.leaky_relu(hidden, self.slope)
