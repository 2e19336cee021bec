"""Point Cloud Transformer (Guo et al. 2021), the encoder of the IB-VAE.

Public copies of the class differ between grouping and attention. Of eight, seven have one or two layers of linear,
normalisation and ReLU there, one has none; the authors of PCT have one, and add an embedding of the position to the
input of every attention layer. Which of them the authors of the IB-VAE ran is not known. Here none is the default, the
others are `between_layers` and `position_embedding`.
"""

from dataclasses import dataclass, field
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError
from facedis_jax.geometry.platforms import by_platform
from facedis_jax.models.linear import RowsDense
from facedis_jax.models.neighbourhoods import NeighbourhoodMaxPool
from facedis_jax.models.normalisation import LinearNormRelu, Normalisation, Normalise
from facedis_jax.models.point_features import (
    PointFeatureConfig,
    PointFeatures,
    grouped_linear,
    grouped_linear_parts,
)


@dataclass(frozen=True)
class PctConfig:
    """Sizes and choices of the encoder; the defaults are PCT's, as the information-bottlenecked VAE uses it.

    Attributes:
      features: points sampled and gathered, and the summary of the cloud.
      embedding: width of the per-point embedding.
      width: width after the second grouping and of the attention layers; the first grouping has half of it.
      between_layers: of linear, normalisation and ReLU, between the second grouping and the attention layers: 0, 1 as
        PCT's authors, or 2 as the copy that is used most (132,096 parameters at a width of 256).
      position_embedding: add a linear embedding of the points' coordinates to the input of every attention layer, as
        PCT's authors, with one weight for all of them.
      attention_layers: how many offset-attention layers.
      global_features: length of the pooled feature.
      normalisation: "batch" as the paper, "layer" for codes that do not depend on the batch in training
        either.
      frequencies: octaves of sines and cosines beside the coordinates of each point, from one wave over 2
        units (NeRF's encoding); 0 for the coordinates alone. They resolve a millimetre within a coordinate of the
        size of a head.
      pooling: over the points, at the end; "max_mean" appends the mean, in which scanning noise cancels.
      moment_features: width of the layer over the cloud's moments, where it has any.
      compute: dtype of activations. "bfloat16" halves what accelerators read and write; coordinates, parameters,
        statistics and the result stay float32.

    Raises:
      InputError: for another type, or for fewer than 0 or more than 2 layers between.

    Example:
      >>> config = PctConfig(width=64, normalisation="layer")
      >>> config.attention_layers, config.features.centres
      (4, (512, 256))
    """

    features: PointFeatureConfig = field(default_factory=PointFeatureConfig)
    embedding: int = 64
    width: int = 256
    between_layers: int = 0
    position_embedding: bool = False
    attention_layers: int = 4
    global_features: int = 1024
    normalisation: Normalisation = "batch"
    frequencies: int = 0
    pooling: Literal["max", "max_mean"] = "max"
    moment_features: int = 256
    compute: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.compute not in ("float32", "bfloat16"):
            raise InputError("encoder.compute", "float32 or bfloat16", repr(self.compute))
        if self.between_layers not in (0, 1, 2):
            raise InputError("encoder.between_layers", "0, 1 or 2", str(self.between_layers))


class OffsetAttention(nn.Module):
    """x + LBR(x - A V), where LBR is linear, normalisation and ReLU; query and key share one weight.

    Of PCT, the encoder of the information-bottlenecked VAE. Softmax over the keys is followed by an L1 normalisation
    over the queries; energies are not scaled.

    Example:
      >>> attention = OffsetAttention("layer")
      >>> points = jnp.zeros([2, 32, 64])  # [batch, points, features]
      >>> jax.eval_shape(lambda key: attention.init_with_output(key, points, train=False)[0], jax.random.key(0)).shape
      (2, 32, 64)
    """

    normalisation: Normalisation
    axis_name: str | None = None

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps [..., points, channels] to the same shape."""
        channels = inputs.shape[-1]
        query = RowsDense(channels // 4, use_bias=False, dtype=inputs.dtype, name="query_key")(inputs)
        value = RowsDense(channels, dtype=inputs.dtype, name="value")(inputs)
        update = LinearNormRelu(channels, self.normalisation, self.axis_name)
        return inputs + update(inputs - _attend(query, value), train=train)


def _attend(query: jax.Array, value: jax.Array) -> jax.Array:
    """`attend_plain`, which in bfloat16 on a TPU runs as one kernel."""
    # float32 products have several precisions on a TPU, which the kernel does not implement.
    if query.dtype != jnp.bfloat16:
        return attend_plain(query, value)
    # Imported here, since Pallas takes longer than all of this package's functions.
    from facedis_jax.models import attention_kernel

    if not attention_kernel.fits(query, value):
        return attend_plain(query, value)
    return by_platform(query, value, tpu=attention_kernel.attend, default=attend_plain)


def attend_plain(query: jax.Array, value: jax.Array) -> jax.Array:
    """Attended values of all points; each key's weights are normalised to sum to 1 over the queries.

    Args:
      query: [..., points, query channels]; these are the keys as well.
      value: [..., points, channels].

    Returns:
      [..., points, channels].
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    energy = jnp.einsum("...qc,...kc->...qk", query, query, preferred_element_type=wide)
    attention = nn.softmax(energy, axis=-1)
    # 1e-9 as in the reference: a point that nobody attends to must not divide by zero.
    attention = attention / (1e-9 + attention.sum(axis=-2, keepdims=True))
    return jnp.einsum("...qk,...qc->...kc", attention.astype(value.dtype), value)


class GroupedFeatures(nn.Module):
    """Two layers of linear, normalisation and ReLU over each neighbourhood, then the maximum over the neighbours."""

    features: int
    normalisation: Normalisation
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, inputs: jax.Array, centres: jax.Array, neighbours: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Maps [points, channels] of all clouds and indices to [centres, features]."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (2 * inputs.shape[-1], self.features))
        grouped = (inputs, centres, neighbours, kernel.astype(inputs.dtype))
        if self.normalisation == "batch":
            # The name that its parameters have in checkpoints, and that their initial values are drawn by.
            pool = NeighbourhoodMaxPool(self.features, self.axis_name, name="NormalisedMaximum_0")
            return pool(*grouped_linear_parts(*grouped), train=train)
        hidden = nn.relu(Normalise(self.normalisation)(grouped_linear(*grouped)))
        return LinearNormRelu(self.features, self.normalisation)(hidden).max(axis=-2)


class PointCloudTransformer(nn.Module):
    """Global features of point clouds, which do not depend on the order of the points.

    The encoder of the information-bottlenecked VAE (section 3.2.2).

    Attributes:
      config: sizes.
      axis_name: the device axis for batch statistics.

    Example:
      >>> from facedis_jax.models.point_features import point_features
      >>> config = PctConfig(PointFeatureConfig(centres=(8, 4), neighbours=3), embedding=4, width=8, global_features=16)
      >>> network = PointCloudTransformer(config)
      >>> def encode(key, points):  # [batch, points, 3]
      ...     features = jax.vmap(lambda x: point_features(x, config.features))(points)
      ...     return network.init_with_output(key, points, features)[0]
      >>> jax.eval_shape(encode, jax.random.key(0), jnp.zeros([2, 40, 3])).shape
      (2, 16)
    """

    config: PctConfig = field(default_factory=PctConfig)
    axis_name: str | None = None

    @nn.compact
    def __call__(self, points: jax.Array, features: PointFeatures, *, train: bool = False) -> jax.Array:
        """Global features of a batch of point clouds.

        Args:
          points: [batch, points, 3], in the unit of the networks.
          features: of each cloud, [batch, ...], as `point_features` gives them.
          train: whether batch statistics come from this batch.

        Returns:
          [batch, global_features]; twice as many features for "max_mean", and `moment_features` more with moments.
        """
        config = self.config
        if config.pooling not in ("max", "max_mean"):
            raise ValueError(f"pooling must be 'max' or 'max_mean', not {config.pooling!r}")
        norm = (config.normalisation, self.axis_name)
        grouping = features.grouping
        centres, neighbours = grouping.centres, grouping.neighbours
        if config.normalisation != "batch" and neighbours[0].size < points.shape[1]:
            points, centres, neighbours = _gathered(points, centres, neighbours)
        coarse = _flat_indices(grouping.coarse_centres, grouping.coarse_neighbours, centres.shape[1])
        fine = _flat_indices(centres, neighbours, points.shape[1])

        # The points of all clouds in one axis: otherwise a TPU pads each cloud of 5,023 to whole tiles, by copies.
        hidden = fourier_features(points.reshape(-1, 3), config.frequencies)
        # In one pass of bfloat16, an accelerator's default, a coordinate of 10 cm would be rounded to 0.2 mm.
        embedding = LinearNormRelu(config.embedding, *norm, precision=jax.lax.Precision.HIGHEST)
        hidden = embedding(hidden, train=train)
        if config.compute == "bfloat16":
            hidden = hidden.astype(jnp.bfloat16)
        hidden = LinearNormRelu(config.embedding, *norm)(hidden, train=train)
        hidden = GroupedFeatures(config.width // 2, *norm)(hidden, *fine, train=train)
        grouped = GroupedFeatures(config.width, *norm)(hidden, *coarse, train=train)
        grouped = grouped.reshape(len(points), -1, config.width)
        layers = [grouped]
        for i in range(config.between_layers):
            layers = [LinearNormRelu(config.width, *norm, name=f"between_{i}")(layers[0], train=train)]
        position = self._position(points, centres, grouping.coarse_centres) if config.position_embedding else 0.0
        for _ in range(config.attention_layers):
            layers.append(OffsetAttention(*norm)(layers[-1] + position, train=train))
        # What public code appends is the grouped feature itself, also where layers follow it.
        hidden = jnp.concatenate([*layers[1:], grouped], axis=-1)
        hidden = LinearNormRelu(config.global_features, *norm, slope=0.2)(hidden, train=train)

        hidden = hidden.astype(points.dtype)
        pooled = [hidden.max(axis=-2)]
        if config.pooling == "max_mean":
            pooled.append(hidden.mean(axis=-2))
        if features.moments.shape[-1]:
            pooled.append(nn.relu(nn.Dense(config.moment_features)(features.moments)))
        return jnp.concatenate(pooled, axis=-1)

    def _position(self, points: jax.Array, centres: jax.Array, coarse_centres: jax.Array) -> jax.Array:
        """The embedded coordinates of the second grouping's centres, [batch, centres, width]."""
        rows = jnp.take_along_axis(centres, coarse_centres, axis=1)
        coordinates = jnp.take_along_axis(points, rows[..., None], axis=1)
        embedding = RowsDense(self.config.width, precision=jax.lax.Precision.HIGHEST, name="position")
        return embedding(coordinates).astype(self.config.compute)


def fourier_features(points: jax.Array, frequencies: int) -> jax.Array:
    """Coordinates [..., 3] and the sines and cosines of `frequencies` octaves: [..., 3 + 6 * frequencies]."""
    octaves = jnp.pi * 2.0 ** jnp.arange(frequencies)
    angles = (points[..., None] * octaves).reshape(*points.shape[:-1], 3 * frequencies)
    return jnp.concatenate([points, jnp.sin(angles), jnp.cos(angles)], axis=-1)


def _gathered(points: jax.Array, centres: jax.Array, neighbours: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The points of all neighbourhoods, and centres and neighbours as indices into them.

    Without batch statistics a point in no neighbourhood does not change the result, so it is not embedded. A centre is
    its own nearest neighbour, hence the first.
    """
    batch, num_centres, size = neighbours.shape
    points = jax.vmap(lambda cloud, rows: cloud[rows.reshape(-1)])(points, neighbours)
    indices = jnp.arange(num_centres * size).reshape(num_centres, size)
    indices = jnp.broadcast_to(indices, (batch, num_centres, size))
    return points, indices[..., 0], indices


def _flat_indices(centres: jax.Array, neighbours: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Indices into each of the clouds as indices into the points of all clouds, `count` of each.

    Args:
      centres: [clouds, centres].
      neighbours: [clouds, centres, neighbours].
      count: of points in each cloud.

    Returns:
      [clouds * centres] and [clouds * centres, neighbours].
    """
    first = count * jnp.arange(len(centres), dtype=centres.dtype)
    centres, neighbours = centres + first[:, None], neighbours + first[:, None, None]
    return centres.reshape(-1), neighbours.reshape(-1, neighbours.shape[-1])
