"""Normalisation as a named choice: over the batch, as the paper, or within each feature vector."""

from typing import Any, Literal

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


class LinearBatchNormReluMax(nn.Module):
    """`LinearNormRelu` over the batch and then the maximum over the next to last axis, of the neighbours of a point.

    Batch normalisation and ReLU are monotonous in each channel, so that the maximum may come first: of the largest
    value where a channel's scale is positive, of the smallest where it is not. Only the statistics need all of the
    neighbours then. Equal to the plain order of the three, values and gradients.
    """

    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps [..., neighbours, channels] to [..., features]."""
        hidden = nn.Dense(self.features, use_bias=False)(inputs)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (self.features,))
        sign = jnp.where(scale < 0, -1.0, 1.0)
        mean, square, extreme = _moments_and_extreme(hidden, sign)
        if train and not self.is_initializing():
            if self.axis_name is not None:
                mean, square = jax.lax.pmean((mean, square), self.axis_name)
            variance = jnp.maximum(square - jnp.square(mean), 0)
            # As flax's BatchNorm, which normalises elsewhere.
            running_mean.value = 0.9 * running_mean.value + 0.1 * mean
            running_variance.value = 0.9 * running_variance.value + 0.1 * variance
        else:
            mean, variance = running_mean.value, running_variance.value
        return nn.relu((extreme - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias)


@jax.custom_vjp
def _moments_and_extreme(hidden: jax.Array, sign: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and mean square over all but the channels, and sign * max(sign * hidden) over the neighbours.

    Args:
      hidden: [..., neighbours, channels].
      sign: [channels], 1 or -1.
    """
    axes = tuple(range(hidden.ndim - 1))
    return hidden.mean(axes), jnp.square(hidden).mean(axes), sign * (sign * hidden).max(axis=-2)


def _moments_and_extreme_forward(hidden: jax.Array, sign: jax.Array) -> Any:
    results = _moments_and_extreme(hidden, sign)
    return results, (hidden, sign, results[2])


def _moments_and_extreme_backward(kept: Any, cotangents: Any) -> tuple[jax.Array, jax.Array]:
    """What JAX would make of it, in one pass over the neighbours in place of one for each of the three."""
    hidden, sign, extreme = kept
    of_mean, of_square, of_extreme = cotangents
    count = hidden.size // hidden.shape[-1]
    chosen = hidden == extreme[..., None, :]
    # Neighbours that share the maximum share its gradient, as they do in jnp.max.
    share = of_extreme / chosen.sum(axis=-2)
    gradient = of_mean / count + 2 / count * of_square * hidden + jnp.where(chosen, share[..., None, :], 0)
    return gradient, jnp.zeros_like(sign)


_moments_and_extreme.defvjp(_moments_and_extreme_forward, _moments_and_extreme_backward)
