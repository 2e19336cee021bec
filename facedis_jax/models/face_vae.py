"""The IB-VAE's networks (Figure 2): one point cloud encoder, an identity decoder and a full decoder."""

from dataclasses import dataclass, field
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.models.pct import PctConfig, PointCloudTransformer
from facedis_jax.models.point_features import PointFeatures
from facedis_jax.models.surfaces import SurfaceConfig


@dataclass(frozen=True)
class FaceVaeConfig:
    """Sizes of the networks; the defaults are those of section 3.5 of the information-bottlenecked VAE.

    Attributes:
      encoder: the point cloud transformer.
      head: widths of the fully connected layers between the pooled feature and the posterior.
      identity_latents: length of z_id.
      expression_latents: length of z_exp.
      decoder_hidden: width of both decoders' hidden layer.
      initial_logvar: of the posterior before training; 0 is the prior's.
      surface: what the encoder sees in place of the points; by default nothing, as the paper.
      linear: begin as a linear model of the training faces: the encoder corrects a linear estimate of the codes, and
        each decoder has a linear layer beside its own. False as the paper.
      linear_identity: whether the identity decoder has one too. Without it, the neutrals of a few known people are
        learned as clusters, within which a code's place changes nothing; with it, it always does.

    Example:
      >>> config = FaceVaeConfig(identity_latents=32, expression_latents=16)
      >>> config.head, config.encoder.global_features
      ((256, 64), 1024)
    """

    encoder: PctConfig = field(default_factory=PctConfig)
    head: tuple[int, ...] = (256, 64)
    identity_latents: int = 4
    expression_latents: int = 4
    decoder_hidden: int = 256
    initial_logvar: float = 0.0
    surface: SurfaceConfig = field(default_factory=SurfaceConfig)
    linear: bool = False
    linear_identity: bool = True


class Posterior(NamedTuple):
    """q(z_id, z_exp | X) of section 3.1 of the information-bottlenecked VAE, a diagonal Gaussian; identity first.

    Attributes:
      mean: [batch, latents].
      logvar: [batch, latents], natural logarithm of the variance.

    Example:
      >>> posterior = Posterior(jnp.zeros([2, 8]), jnp.full([2, 8], -2.0))
      >>> print(f"{jnp.exp(posterior.logvar[0, 0] / 2):.3f}")  # standard deviation
      0.368
    """

    mean: jax.Array
    logvar: jax.Array


class Reconstruction(NamedTuple):
    """Offsets from the training mean face, [batch, vertices, 3], in the unit of the networks.

    Example:
      >>> offsets = Reconstruction(full=jnp.zeros([2, 36, 3]), identity=jnp.zeros([2, 36, 3]))
      >>> (offsets.full - offsets.identity).shape  # what the expression does
      (2, 36, 3)
    """

    full: jax.Array
    identity: jax.Array


# Of layers whose results are to begin small.
_SMALL = nn.initializers.variance_scaling(1e-4, "fan_in", "truncated_normal")


FACE_STEP, CODE_STEP = 0.03, 0.1
"""What the corrections of a linear model are multiplied by: of faces, in the unit of the networks, and of codes. A step
of Adam changes all weights by about the learning rate; without these, the first would leave nothing of the start."""


class MlpDecoder(nn.Module):
    """A multilayer perceptron of one hidden layer that gives every vertex an offset from the mean face.

    Either decoder of the information-bottlenecked VAE (section 3.5).

    Attributes:
      hidden: width of its layer.
      num_vertices: of a face.
      linear: whether a linear layer stands beside it.

    Example:
      >>> decoder = MlpDecoder(hidden=16, num_vertices=36)
      >>> jax.eval_shape(decoder.init_with_output, jax.random.key(0), jnp.zeros([2, 8]))[0].shape
      (2, 36, 3)
    """

    hidden: int
    num_vertices: int
    linear: bool = False
    linear_identity: bool = True

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        """Maps [..., code] to [..., vertices, 3]."""
        hidden = nn.relu(nn.Dense(self.hidden)(code))
        # Faces differ from their mean by about 0.01 in the unit of the networks: initial outputs are of that size.
        if not self.linear:
            offsets = nn.Dense(3 * self.num_vertices, kernel_init=_SMALL)(hidden)
        else:
            linear = nn.Dense(3 * self.num_vertices, use_bias=False, kernel_init=_SMALL, name="linear")(code)
            added = nn.Dense(3 * self.num_vertices, kernel_init=nn.initializers.zeros)(hidden)
            offsets = FACE_STEP * (linear + added)
        return offsets.reshape(*code.shape[:-1], self.num_vertices, 3)


class FaceVae(nn.Module):
    """Encoder and decoders of the information-bottlenecked VAE (section 3.1 and Figure 2).

    Conditional (section 3.2.4) where `num_labels` is positive.

    Labels are [batch, num_labels]: one-hot expressions times their level. They enter after the encoder's
    penultimate layer and beside z_exp.

    Attributes:
      config: sizes.
      num_vertices: vertices of the topology that is decoded.
      num_labels: expressions of the conditional variant; 0 for the plain one.
      axis_name: the device axis for batch statistics.

    Example:
      >>> from facedis_jax.models.point_features import PointFeatureConfig, point_features
      >>> encoder = PctConfig(PointFeatureConfig(centres=(8, 4), neighbours=3), embedding=4, width=8, global_features=8)
      >>> network = FaceVae(FaceVaeConfig(encoder, head=(8,)), num_vertices=36)
      >>> def reconstruct(key, points):  # [batch, 36, 3]
      ...     features = jax.vmap(lambda x: point_features(x, encoder.features))(points)
      ...     return network.init_with_output(key, points, features, jnp.zeros([len(points), 8]))[0]
      >>> posterior, codes, faces = jax.eval_shape(reconstruct, jax.random.key(0), jnp.zeros([2, 36, 3]))
      >>> faces.full.shape, posterior.mean.shape, codes.shape
      ((2, 36, 3), (2, 8), (2, 8))
    """

    config: FaceVaeConfig
    num_vertices: int
    num_labels: int = 0
    axis_name: str | None = None

    def setup(self) -> None:
        config = self.config
        latents = config.identity_latents + config.expression_latents
        self.encoder = PointCloudTransformer(config.encoder, self.axis_name)
        self.head = [nn.Dense(width) for width in config.head]
        # A posterior as wide as the prior hides the code in noise at first, and a code that stays hidden collapses.
        narrow = nn.initializers.constant(config.initial_logvar)
        # What is added to a linear estimate begins at zero.
        self.mean = nn.Dense(latents, kernel_init=nn.initializers.zeros) if config.linear else nn.Dense(latents)
        self.logvar = nn.Dense(latents, bias_init=narrow)
        linear_identity = config.linear and config.linear_identity
        self.identity_decoder = MlpDecoder(config.decoder_hidden, self.num_vertices, linear_identity)
        self.full_decoder = MlpDecoder(config.decoder_hidden, self.num_vertices, config.linear)

    def __call__(
        self,
        points: jax.Array,
        features: PointFeatures,
        noise: jax.Array,
        labels: jax.Array | None = None,
        *,
        exchange: tuple[jax.Array, jax.Array] | None = None,
        train: bool = False,
    ) -> tuple[Posterior, jax.Array, Reconstruction]:
        """The posterior, a sample z [batch, latents] of it and both reconstructions.

        Args:
          points, features, labels, train: as of `encode`.
          noise: standard normal, [batch, latents]; zeros for the posterior's mean.
          exchange: [batch] twice, of which face of the batch the full decoder gets each face's identity code, and of
            which the expression code; of the face itself where there is none.
        """
        posterior = self.encode(points, features, labels, train=train)
        z = posterior.mean + jnp.exp(0.5 * posterior.logvar) * noise
        z_identity, z_expression = jnp.split(z, [self.config.identity_latents], axis=-1)
        if exchange is None:
            return posterior, z, self.decode(z_identity, z_expression, labels)
        identity_from, expression_from = exchange
        full = self.decode_full(z_identity[identity_from], z_expression[expression_from], labels)
        return posterior, z, Reconstruction(full, self.identity_decoder(z_identity))

    def encode(
        self,
        points: jax.Array,
        features: PointFeatures,
        labels: jax.Array | None = None,
        *,
        train: bool = False,
    ) -> Posterior:
        """The posterior of faces.

        Args:
          points: [batch, points, 3], in the unit of the networks.
          features: of each cloud, [batch, ...].
          labels: [batch, num_labels] of the conditional variant.
          train: whether batch statistics come from this batch.
        """
        hidden = self.encoder(points, features, train=train)
        estimate = features.codes if self.config.linear else None
        if estimate is not None:
            hidden = jnp.concatenate([hidden, estimate], axis=-1)
        for layer in self.head:
            hidden = nn.relu(layer(hidden))
        if self.num_labels:
            hidden = jnp.concatenate([hidden, self._checked(labels)], axis=-1)
        mean = self.mean(hidden)
        return Posterior(mean if estimate is None else estimate + CODE_STEP * mean, self.logvar(hidden))

    def decode(self, z_identity: jax.Array, z_expression: jax.Array, labels: jax.Array | None = None) -> Reconstruction:
        """Both reconstructions of codes [..., latents]; no gradient of the full decoder reaches z_id (section 3.1)."""
        full = self.decode_full(z_identity, z_expression, labels)
        return Reconstruction(full=full, identity=self.identity_decoder(z_identity))

    def decode_full(
        self, z_identity: jax.Array, z_expression: jax.Array, labels: jax.Array | None = None, *, attached: bool = False
    ) -> jax.Array:
        """The full face's offsets of codes [..., latents]; no gradient reaches z_id (section 3.1) unless attached."""
        code = [z_identity if attached else jax.lax.stop_gradient(z_identity), z_expression]
        if self.num_labels:
            code.append(self._checked(labels))
        return self.full_decoder(jnp.concatenate(code, axis=-1))

    def _checked(self, labels: jax.Array | None) -> jax.Array:
        if labels is None or labels.shape[-1] != self.num_labels:
            found = "none" if labels is None else f"shape {labels.shape}"
            raise ValueError(f"the conditional model takes labels [batch, {self.num_labels}], got {found}")
        return labels
