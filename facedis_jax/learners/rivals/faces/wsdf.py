"""In the manner of WSDF (Li et al., 2024): two spiral encoders, and faces decoded from products of both codes.

What its public code has is here: the encoders, the products of codes, the neutral as the face of the expression code
0, the log density of codes in their batch as the price of information, and the bound on how a face follows its
expression code. Known neutrals stand for its bank of them, which are running means of what it reconstructs of each
person: all methods of a table are told the same. Chosen here, since not known: squared errors of coordinates in
standard deviations, summed; faces of a batch at random, where theirs are in fours of a person.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.errors import check_least
from facedis_jax.learners.learner import Batch
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces.rival import (
    Latents,
    Rival,
    RivalConstants,
    RivalTraining,
    distances,
    initial,
    sampled,
    split,
)
from facedis_jax.losses import gaussian_kl, gaussian_log_density
from facedis_jax.metrics import Average
from facedis_jax.models import Posterior
from facedis_jax.models.rivals.faces.hierarchy import level_spirals
from facedis_jax.models.rivals.faces.layers import SpiralConvolution, spiral_convolution
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig, mesh_net
from facedis_jax.models.rivals.faces.recoupling import RecouplingDecoder, ResidualSpiralEncoder


@dataclass(frozen=True)
class WsdfConfig:
    """In the manner of WSDF; the defaults are those of its public code for CoMA.

    Attributes:
      model: filters on all meshes but the coarsest, length of the spirals, how much coarser meshes become.
      width: filters on the coarsest mesh.
      residual_layers: on the coarsest mesh.
      hidden: width of each encoder's last layer.
      mixed: how many mixtures of products the decoder is given.
      decoder_hidden: widths of its layers.
      kl_weight: of the codes' divergence from their prior.
      neutral_weight: of the neutral's error beside the face's.
      information_weight: of the logarithm of the codes' density in their batch.
      jacobian_weight: of what lies outside the bound on how a face follows its expression code.
      steepest: of this bound, in squared standard deviations of coordinates.
      training: how it is trained.

    Raises:
      InputError: for a negative weight, or a size below 1.

    Example:
      >>> WsdfConfig().mixed, WsdfConfig().training.epochs
      (16, 100)
    """

    model: MeshNetConfig = field(default_factory=lambda: MeshNetConfig((16, 32), 9))
    width: int = 64
    residual_layers: int = 2
    hidden: int = 128
    mixed: int = 16
    decoder_hidden: tuple[int, ...] = (256, 256, 256)
    kl_weight: float = 1.0
    neutral_weight: float = 10.0
    information_weight: float = 10.0
    jacobian_weight: float = 10.0
    steepest: float = 5000.0
    training: RivalTraining = field(
        default_factory=lambda: RivalTraining(100, 32, OptimiserConfig(learning_rate=1e-4, weight_decay=1e-5))
    )

    def __post_init__(self) -> None:
        check_least(self, width=1, residual_layers=0, hidden=1, mixed=1, steepest=0)
        check_least(self, kl_weight=0, neutral_weight=0, information_weight=0, jacobian_weight=0)


def wsdf(config: WsdfConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """In the manner of WSDF: products of codes."""
    net = mesh_net("spiral", config.model, constants.template, constants.triangles, "wsdf")
    coarsest = spiral_convolution(level_spirals(net.hierarchy.levels[-1], config.model.size))
    last = partial(SpiralConvolution, length=config.model.size, convolve=coarsest)
    sizes = (config.width, config.residual_layers, config.hidden)
    encoders = [ResidualSpiralEncoder(net, last, *sizes, 2 * count) for count in latents]
    decoder = RecouplingDecoder(config.mixed, config.decoder_hidden, len(constants.mean_face))

    def init(key: jax.Array) -> Any:
        keys, face = jax.random.split(key, 3), (1, *constants.mean_face.shape)
        parts = {name: initial(encoders[i], keys[i], face) for i, name in enumerate(latents._fields)}
        codes = ((1, count) for count in latents)
        return {"model": {**parts, "decoder": initial(decoder, keys[2], *codes)}}

    def encode(params: Any, vertices: jax.Array) -> Posterior:
        faces = constants.standardised(vertices)
        found: list[Any] = [
            encoder.apply({"params": params["model"][name]}, faces)
            for name, encoder in zip(latents._fields, encoders, strict=True)
        ]
        means, logvars = zip(*(jnp.split(each, 2, axis=-1) for each in found), strict=True)
        return Posterior(jnp.concatenate(means, -1), jnp.concatenate(logvars, -1))

    def standardised(params: Any, identity: jax.Array, expression: jax.Array) -> Any:
        return decoder.apply({"params": params["model"]["decoder"]}, identity, expression)

    def in_mm(faces: jax.Array) -> jax.Array:
        return constants.mean_face + constants.deviation * faces

    def decode(params: Any, identity: jax.Array, expression: jax.Array) -> tuple[jax.Array, jax.Array]:
        full, neutral = (standardised(params, identity, code) for code in (expression, jnp.zeros_like(expression)))
        return in_mm(full), in_mm(neutral)

    def loss(params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, Average], None]:
        posterior = encode(params, batch["vertices"])
        z = sampled(posterior, keys)
        identity, expression = split(z, latents)
        # The face, and how it changes along its expression code: the product of its Jacobian with this code.
        full, change = jax.jvp(partial(standardised, params, identity), (expression,), (expression,))
        neutral = standardised(params, identity, jnp.zeros_like(expression))
        wanted = [constants.standardised(batch[name]) for name in ("vertices", "neutral")]
        errors = [jnp.square(a - b).sum((1, 2)) for a, b in zip((full, neutral), wanted, strict=True)]
        kl = gaussian_kl(*posterior)
        follows = ((full - neutral) * change).sum((1, 2))
        total = errors[0] + config.neutral_weight * errors[1] + config.kl_weight * kl
        total = total + config.information_weight * log_density_in_batch(z, posterior)
        total = total + config.jacobian_weight * outside(follows, config.steepest * jnp.square(expression).sum(1))
        pairs = ((in_mm(full), batch["vertices"]), (in_mm(neutral), batch["neutral"]))
        return total, {**distances(pairs), "kl_nats": Average.of(kl)}, None

    return Rival(latents, True, config.training.optimiser, init, encode, decode, loss)


def log_density_in_batch(z: jax.Array, posterior: Posterior) -> jax.Array:
    """The logarithm [batch] of the density of codes [batch, latents] under the sum of a batch's posteriors, nats."""
    return jax.nn.logsumexp(gaussian_log_density(z[:, None], posterior.mean, posterior.logvar), axis=1)


def outside(value: jax.Array, most: jax.Array) -> jax.Array:
    """By how much numbers [...] lie below 0 or above `most` [...]."""
    return jax.nn.relu(-value) + jax.nn.relu(value - most)
