"""Normalisation as a named choice: over the batch, as the paper, or within each feature vector.

Everything here is of the type of its inputs: parameters and statistics are float32 all the same.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.linear import RowsDense

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
            norm = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, axis_name=self.axis_name, dtype=features.dtype
            )
            return norm(_wide(features))
        if self.kind == "layer":
            # No learned scale and offset: the next linear layer has both, and their gradients, sums over all
            # points, cost more than the layer itself.
            centred = _wide(features)
            centred = centred - centred.mean(axis=-1, keepdims=True)
            normalised = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
            return normalised.astype(features.dtype)
        if self.kind == "none":
            return features
        raise ValueError(f"normalisation must be 'batch', 'layer' or 'none', not {self.kind!r}")


def _wide(features: jax.Array) -> jax.Array:
    """In at least float32, in which statistics are taken."""
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
        # A normalisation takes the mean away again, and a bias with it.
        layer = RowsDense(
            self.features, use_bias=self.normalisation == "none", dtype=inputs.dtype, precision=self.precision
        )
        hidden = layer(inputs)
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
        hidden = RowsDense(self.features, use_bias=False, dtype=inputs.dtype)(inputs)
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
        normalised = (_wide(extreme) - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias
        return nn.relu(normalised).astype(inputs.dtype)


@jax.custom_vjp
def _moments_and_extreme(hidden: jax.Array, sign: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and mean square over all but the channels, and sign * max(sign * hidden) over the neighbours.

    Args:
      hidden: [..., neighbours, channels].
      sign: [channels], 1 or -1.
    """
    axes, sign = tuple(range(hidden.ndim - 1)), sign.astype(hidden.dtype)
    wide = _wide(hidden)
    return wide.mean(axes), jnp.square(wide).mean(axes), sign * (sign * hidden).max(axis=-2)


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
    share = _wide(of_extreme) / chosen.sum(axis=-2)
    gradient = of_mean / count + 2 / count * of_square * _wide(hidden) + jnp.where(chosen, share[..., None, :], 0)
    return gradient.astype(hidden.dtype), jnp.zeros_like(sign)


_moments_and_extreme.defvjp(_moments_and_extreme_forward, _moments_and_extreme_backward)
