"""Two layers over the neighbourhoods of a cloud with batch normalisation, and the maximum over the neighbours."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.geometry.platforms import by_platform
from facedis_jax.models.linear import linear
from facedis_jax.models.normalisation import BatchAffine, as_wide


class NeighbourhoodMaxPool(nn.Module):
    """Batch normalisation, ReLU, a linear layer, batch normalisation, ReLU, and the maximum over the neighbours.

    The second normalisation and ReLU are monotonic in each channel, so the maximum is taken before them: the largest
    value where a channel's scale is positive, the smallest where it is negative. Then only the statistics need all
    neighbours. Values and gradients equal those of the plain order.

    Attributes:
      features: of the result.
      axis_name: the device axis for batch statistics.
    """

    features: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, gathered: jax.Array, centre: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps the first linear layer's values, `gathered + centre`, to [centres, features].

        Args:
          gathered: each neighbour's part, [centres, neighbours, channels].
          centre: each centre's part, common to its neighbours, [centres, channels].
          train: whether statistics come from this batch.
        """
        channels = gathered.shape[-1]
        first = BatchAffine(channels, self.axis_name)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (channels, self.features))
        second = BatchAffine(self.features, self.axis_name)

        affine = first(*neighbourhood_moments(gathered, centre), train=train)
        sign = jnp.where(second.scale < 0, -1.0, 1.0)
        mean, square, extreme = _linear_moments_and_extreme(
            gathered, centre, *affine, kernel.astype(gathered.dtype), sign
        )
        mean, factor, bias = second(mean, square, train=train)
        return _normalised_relu(extreme, mean, factor, bias)


@jax.custom_vjp
def neighbourhood_moments(gathered: jax.Array, centre: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square of each channel of `gathered + centre` over all neighbours, in at least float32.

    Args:
      gathered: [neighbourhoods, neighbours, channels].
      centre: [neighbourhoods, channels].

    Returns:
      [channels] each.
    """
    return _moments_forward(gathered, centre)[0]


def _moments_forward(gathered: jax.Array, centre: jax.Array) -> Any:
    hidden = as_wide(gathered + centre[:, None])
    # Sums of each neighbourhood first. Without the barrier XLA fuses the sums over all of them and reads twice.
    total, square = jax.lax.optimization_barrier((hidden.sum(axis=1), jnp.square(hidden).sum(axis=1)))
    moments = total.mean(axis=0) / gathered.shape[1], square.mean(axis=0) / gathered.shape[1]
    return moments, (gathered, centre, total)


def _moments_backward(kept: Any, cotangents: Any) -> tuple[jax.Array, jax.Array]:
    """JAX's gradient, without a second pass over the neighbours for the centres' part."""
    gathered, centre, total = kept
    neighbourhoods, neighbours, _ = gathered.shape
    d_mean, d_square = (cotangent / (neighbourhoods * neighbours) for cotangent in cotangents)
    d_gathered = d_mean + 2 * d_square * as_wide(gathered + centre[:, None])
    d_centre = neighbours * d_mean + 2 * d_square * total
    return d_gathered.astype(gathered.dtype), d_centre.astype(centre.dtype)


neighbourhood_moments.defvjp(_moments_forward, _moments_backward)


def _linear_moments_and_extreme(*arguments: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`linear_moments_and_extreme_plain`, which in bfloat16 on a TPU runs as two kernels."""
    gathered, _, *per_channel, kernel, _ = arguments
    # float32 products have several precisions on a TPU, which the kernels do not implement.
    narrow = gathered.dtype == jnp.bfloat16 and all(array.dtype == jnp.float32 for array in per_channel)
    if not narrow:
        return linear_moments_and_extreme_plain(*arguments)
    # Imported here, since Pallas takes longer than all of this package's functions.
    from facedis_jax.models import neighbourhood_kernel

    if neighbourhood_kernel.block_size(gathered.shape, kernel.shape[1]) is None:
        return linear_moments_and_extreme_plain(*arguments)
    return by_platform(
        *arguments,
        tpu=neighbourhood_kernel.linear_moments_and_extreme,
        default=linear_moments_and_extreme_plain,
    )


def linear_moments_and_extreme_plain(
    gathered: jax.Array,
    centre: jax.Array,
    mean: jax.Array,
    factor: jax.Array,
    bias: jax.Array,
    kernel: jax.Array,
    sign: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Moments and largest values of `relu((gathered + centre - mean) * factor + bias) @ kernel`.

    Args:
      gathered: [neighbourhoods, neighbours, channels].
      centre: [neighbourhoods, channels].
      mean, factor, bias: [channels].
      kernel: [channels, features].
      sign: [features], 1 or -1.

    Returns:
      Mean and mean square over all neighbours, [features] each, and `sign * max(sign * values)` over the neighbours of
      each centre, [neighbourhoods, features].
    """
    hidden = _normalised_relu(gathered + centre[:, None], mean, factor, bias)
    return _moments_and_extreme(linear(hidden, kernel), sign)


def _normalised_relu(features: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    return nn.relu((as_wide(features) - mean) * factor + bias).astype(features.dtype)


@jax.custom_vjp
def _moments_and_extreme(hidden: jax.Array, sign: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean and mean square over all but the channels, and sign * max(sign * hidden) over the neighbours.

    Args:
      hidden: [..., neighbours, channels].
      sign: [channels], 1 or -1.
    """
    axes, sign = tuple(range(hidden.ndim - 1)), sign.astype(hidden.dtype)
    wide = as_wide(hidden)
    return wide.mean(axes), jnp.square(wide).mean(axes), sign * (sign * hidden).max(axis=-2)


def _moments_and_extreme_forward(hidden: jax.Array, sign: jax.Array) -> Any:
    results = _moments_and_extreme(hidden, sign)
    return results, (hidden, sign, results[2])


def _moments_and_extreme_backward(kept: Any, cotangents: Any) -> tuple[jax.Array, jax.Array]:
    """JAX's gradient, in one pass over the neighbours in place of three."""
    hidden, sign, extreme = kept
    d_mean, d_square, d_extreme = cotangents
    count = hidden.size // hidden.shape[-1]
    chosen = hidden == extreme[..., None, :]
    # Neighbours that share the maximum share its gradient, as they do in jnp.max.
    share = as_wide(d_extreme) / chosen.sum(axis=-2)
    gradient = d_mean / count + 2 / count * d_square * as_wide(hidden) + jnp.where(chosen, share[..., None, :], 0)
    return gradient.astype(hidden.dtype), jnp.zeros_like(sign)


_moments_and_extreme.defvjp(_moments_and_extreme_forward, _moments_and_extreme_backward)
