"""Networks of points and of codes: PointNet, and a discriminator of pairs of codes."""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.geometry.batches import one_by_one_on_cpu
from facedis_jax.models.linear import RowsDense
from facedis_jax.models.normalisation import LAYER_EPSILON, Normalise


class PointNet(nn.Module):
    """Layers on each point by itself, the maximum over all points, and a linear layer.

    No gradient reaches a point that has none of the maxima, and there are at most as many of the others as the last
    layer is wide. So these are found first, by the layers' weights alone, and then go through the layers by themselves.

    Attributes:
      widths: of the layers on points.
      outputs: how many numbers a cloud becomes.

    References:
      Qi et al., "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation", 2017.
    """

    widths: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, points: jax.Array) -> jax.Array:
        """Maps [..., points, 3] to [..., outputs]."""
        layers = [RowsDense(width) for width in self.widths]
        if self.is_initializing() or points.shape[-2] <= self.widths[-1]:
            maxima = _features(layers, points).max(axis=-2)
        else:
            kernels = [layer.variables["params"] for layer in layers]
            rows = first_maxima(kernels, points)
            chosen = jnp.take_along_axis(points, rows[..., None], axis=-2, mode="clip")
            # Of each of the chosen points, the channel for which it was chosen.
            maxima = jnp.einsum("...cc->...c", _features(layers, chosen))
        return nn.Dense(self.outputs)(maxima)


def _features(layers: Sequence[Callable[[jax.Array], jax.Array]], points: jax.Array) -> jax.Array:
    """What layers with normalisation and ReLU make of points [..., 3]."""
    hidden = points
    for layer in layers:
        hidden = nn.relu(Normalise("layer")(layer(hidden)))
    return hidden


def first_maxima(kernels: Sequence[Mapping[str, jax.Array]], points: jax.Array) -> jax.Array:
    """For each channel of a PointNet's last layer the first of the points that have its maximum, without gradients.

    Args:
      kernels: of each layer its "kernel" [inputs, channels] and "bias" [channels].
      points: [..., points, 3].

    Returns:
      [..., channels], indices.
    """
    # Kernels whose outputs have mean 0 leave one pass of the normalisation.
    weights = jax.lax.stop_gradient([(layer["kernel"], layer["bias"]) for layer in kernels])
    centred = [(kernel - kernel.mean(1, keepdims=True), bias - bias.mean()) for kernel, bias in weights]

    def one(cloud: jax.Array) -> jax.Array:
        hidden = cloud
        for number, (kernel, bias) in enumerate(centred):
            made = (nn.relu(hidden) if number else hidden) @ kernel + bias
            hidden = made * jax.lax.rsqrt(jnp.square(made).mean(-1, keepdims=True) + LAYER_EPSILON)
        # On CPUs, `argmax` takes twice as long.
        places = jnp.arange(len(cloud), dtype=jnp.int32)[:, None]
        return jnp.where(hidden == hidden.max(0), places, len(cloud)).min(0)

    flat = jax.lax.stop_gradient(points).reshape(-1, *points.shape[-2:])
    return one_by_one_on_cpu(one)(flat).reshape(*points.shape[:-2], -1)


class PairCritic(nn.Module):
    """A discriminator of codes: the logit of their being a pair.

    Attributes:
      hidden: widths of its layers.
    """

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Maps [..., codes] to [...]."""
        features = codes
        for width in self.hidden:
            features = nn.leaky_relu(nn.Dense(width)(features), 0.2)
        return jnp.squeeze(nn.Dense(1)(features), -1)
