"""Point Cloud Transformer (Guo et al. 2021) as the IB-VAE's encoder uses it, for one point cloud at a time.

Batches come from `nn.vmap` (see `face_vae`), which also carries batch statistics where they are chosen.
"""

from dataclasses import dataclass, field

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.grouping import Grouping, GroupingConfig, group_points, grouped_linear
from facedis_jax.models.normalisation import LinearNormRelu, Normalisation, Normalise


@dataclass(frozen=True)
class PctConfig:
    """Sizes of the encoder; the defaults are the paper's.

    Attributes:
      grouping: points sampled and gathered.
      embedding: width of the per-point embedding.
      width: width after the second grouping and of the attention layers; the first grouping has half of it.
      attention_layers: how many offset-attention layers.
      global_features: length of the pooled feature.
      normalisation: "batch" as the paper, "layer" for codes that do not depend on the batch in training either.
    """

    grouping: GroupingConfig = field(default_factory=GroupingConfig)
    embedding: int = 64
    width: int = 256
    attention_layers: int = 4
    global_features: int = 1024
    normalisation: Normalisation = "batch"
    frequencies: int = 0
    pooling: str = "max"


def fourier_features(points, frequencies):
    angles = jnp.pi * points[..., None, :] * 2.0 ** jnp.arange(frequencies)[:, None]
    flat = angles.reshape(*points.shape[:-1], -1)
    return jnp.concatenate([points, jnp.sin(flat), jnp.cos(flat)], axis=-1)


class OffsetAttention(nn.Module):
    """x + LBR(x - A V), with query and key sharing one weight, as PCT's authors run it.

    Softmax over the keys is followed by an L1 normalisation over the queries; energies are not scaled.
    """

    normalisation: Normalisation
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps [..., points, channels] to the same shape."""
        channels = features.shape[-1]
        query = nn.Dense(channels // 4, use_bias=False, name="query_key")(features)
        value = nn.Dense(channels, name="value")(features)
        attention = nn.softmax(jnp.einsum("...qc,...kc->...qk", query, query), axis=-1)
        # 1e-9 as in the reference: a point that nobody attends to must not divide by zero.
        attention = attention / (1e-9 + attention.sum(axis=-2, keepdims=True))
        attended = jnp.einsum("...qk,...qc->...kc", attention, value)
        update = LinearNormRelu(channels, self.normalisation, self.axis_name)
        return features + update(features - attended, train=train)


class GroupedFeatures(nn.Module):
    """Two LBR over each centre's neighbourhood, then the maximum over the neighbours."""

    features: int
    normalisation: Normalisation
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, inputs: jax.Array, centres: jax.Array, neighbours: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Maps [batch, points, channels] and indices to [batch, centres, features]."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (2 * inputs.shape[-1], self.features))
        if centres is None:
            near, centre = jnp.split(kernel, 2)
            hidden = inputs @ near + inputs[:, :, :1] @ (centre - near)
        else:
            hidden = jax.vmap(grouped_linear, in_axes=(0, 0, 0, None))(inputs, centres, neighbours, kernel)
        hidden = nn.relu(Normalise(self.normalisation, self.axis_name)(hidden, train=train))
        hidden = LinearNormRelu(self.features, self.normalisation, self.axis_name)(hidden, train=train)
        return hidden.max(axis=-2)


class PointCloudTransformer(nn.Module):
    """Point clouds to global features, invariant to the order of the points.

    Attributes:
      config: sizes.
      axis_name: the device axis for batch statistics.
    """

    config: PctConfig = field(default_factory=PctConfig)
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, points: jax.Array, *, grouping: Grouping | None = None, train: bool = False
    ) -> jax.Array:
        """Encodes a batch of point clouds.

        Args:
          points: [batch, points, 3], in the unit of the networks.
          grouping: indices [batch, ...] from `group_points`, where they are known already.
          train: whether batch statistics come from this batch.

        Returns:
          [batch, global_features].
        """
        config = self.config
        norm = (config.normalisation, self.axis_name)
        if grouping is None:
            grouping = jax.vmap(lambda cloud: group_points(cloud, config.grouping))(points)
        used = grouping.neighbours.shape[1] * grouping.neighbours.shape[2]
        first = (grouping.centres, grouping.neighbours)
        if config.normalisation != "batch" and used < points.shape[1]:
            points = jax.vmap(lambda cloud, n: cloud[n])(points, grouping.neighbours)
            first = (None, None)
        hidden = fourier_features(points, config.frequencies)
        hidden = LinearNormRelu(config.embedding, *norm)(hidden, train=train)
        hidden = LinearNormRelu(config.embedding, *norm)(hidden, train=train)
        hidden = GroupedFeatures(config.width // 2, *norm)(
            hidden, *first, train=train
        )
        grouped = GroupedFeatures(config.width, *norm)(
            hidden, grouping.coarse_centres, grouping.coarse_neighbours, train=train
        )
        layers = [grouped]
        for _ in range(config.attention_layers):
            layers.append(OffsetAttention(*norm)(layers[-1], train=train))
        hidden = jnp.concatenate([*layers[1:], grouped], axis=-1)
        hidden = LinearNormRelu(config.global_features, *norm, slope=0.2)(hidden, train=train)
        if config.pooling == "max_mean":
            return jnp.concatenate([hidden.max(axis=-2), hidden.mean(axis=-2)], axis=-1)
        return hidden.max(axis=-2)
