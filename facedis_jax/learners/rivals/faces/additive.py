"""Models whose face is a neutral and an expression added: in the manner of Zhang et al. (2020), and Gu et al. (2023).

Zhang et al. published neither code nor the sizes of layers, the weights of the loss or the schedule. What is known:
graph convolutions, a VAE with separate codes, x = neutral + expression, an L1 loss, and a discriminator that makes the
two codes independent by the density ratio of pairs and of permuted pairs, as in FactorVAE. All else is chosen here:
MeshAE's encoder and, twice, its decoder; faces in standard deviations of their coordinates; the weights below.

Gu et al. published theirs: a PointNet with four heads, two decoders of one hidden layer, x = mean + identity +
expression, squared errors, and a term that the neutral which is decoded be encoded alike. Left out: the discriminator
of faces and candidate neutrals, which weighs 1e-5 beside 5,000 where neutral faces are given, as here, and the
linear fall of the divergence's weight to a seventh. Chosen here: features are normalised each by
themselves, since theirs depend on what else is in a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
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
from facedis_jax.losses import gaussian_kl
from facedis_jax.metrics import Average
from facedis_jax.models import Posterior
from facedis_jax.models.face_vae import MlpDecoder
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig, mesh_net
from facedis_jax.models.rivals.faces.point_nets import PairCritic, PointNet


@dataclass(frozen=True)
class ZhangConfig:
    """In the manner of Zhang et al.; none of these numbers is published.

    References:
      Zhang et al., "Learning Distribution Independent Latent Representation for 3D Face Disentanglement", 2020.

    Attributes:
      model: sizes of the encoder and of each decoder.
      critic_hidden: widths of the discriminator's layers.
      kl_weight: of the codes' divergence from their prior.
      independence_weight: of the logarithm of the density ratio.
      training: how it is trained.

    Raises:
      InputError: for a negative weight.

    Example:
      >>> ZhangConfig().critic_hidden
      (256, 256, 256)
    """

    model: MeshNetConfig = field(default_factory=MeshNetConfig)
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    kl_weight: float = 3e-4
    independence_weight: float = 1e-2
    training: RivalTraining = field(
        default_factory=lambda: RivalTraining(
            300, 16, OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, decay_rate=0.99, decay_epochs=1.0)
        )
    )

    def __post_init__(self) -> None:
        check_least(self, kl_weight=0, independence_weight=0)


@dataclass(frozen=True)
class GuConfig:
    """Gu et al. (FG 2023) with neutral labels; the defaults are those for CoMA and 4 + 4 latents.

    Attributes:
      widths: of the encoder's layers on points, after the last of which the maximum over the points is taken.
      hidden: width of each decoder's layer.
      reconstruction_weight: of the squared errors, lambda_1.
      neutral_weight: of the neutral's beside the face's, lambda_6.
      kl_weight: of either code, lambda_2 and lambda_3.
      again_weight: of the difference of the identity code to that of the decoded neutral, lambda_7.
      training: how it is trained.

    Raises:
      InputError: for a negative weight.

    Example:
      >>> GuConfig().hidden, GuConfig().training.batch_size
      (256, 32)
    """

    widths: tuple[int, ...] = (64, 64, 64, 128, 1024)
    hidden: int = 256
    reconstruction_weight: float = 5000.0
    neutral_weight: float = 5.0
    kl_weight: float = 3e-3
    again_weight: float = 7e-3
    training: RivalTraining = field(
        default_factory=lambda: RivalTraining(
            300, 32, OptimiserConfig(learning_rate=1e-4, weight_decay=1e-4, decay_rate=0.7, decay_epochs=50.0)
        )
    )

    def __post_init__(self) -> None:
        check_least(self, hidden=1, reconstruction_weight=0, neutral_weight=0, kl_weight=0, again_weight=0)


def _initial_model(
    encoder: Any, decoder: Any, keys: jax.Array, constants: RivalConstants, latents: Latents
) -> dict[str, Any]:
    """Parameters of an encoder, and of the decoder once for a person and once for an offset, of three keys."""
    return {
        "encoder": initial(encoder, keys[0], (1, *constants.mean_face.shape)),
        "identity": initial(decoder, keys[1], (1, latents.identity)),
        "expression": initial(decoder, keys[2], (1, latents.expression)),
    }


def _added(decoder: Any, constants: RivalConstants, unit: Any) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """A function from parameters and both codes to full and neutral faces: mean + person, and that + offset."""

    def decode(params: Any, identity: jax.Array, expression: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = params["model"]
        person: Any = decoder.apply({"params": model["identity"]}, identity)
        offset: Any = decoder.apply({"params": model["expression"]}, expression)
        neutral = constants.mean_face + unit * person
        return neutral + unit * offset, neutral

    return decode


def zhang(config: ZhangConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """In the manner of Zhang et al.: graph convolutions, added faces, independent codes."""
    number = latents.identity + latents.expression
    net = mesh_net("chebyshev", config.model, constants.template, constants.triangles, "zhang")
    encoder, decoder, critic = net.encoder(2 * number), net.decoder(), PairCritic(config.critic_hidden)

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 4)
        model = _initial_model(encoder, decoder, keys, constants, latents)
        return {"model": model, "critic": initial(critic, keys[3], (1, number))}

    def encode(params: Any, vertices: jax.Array) -> Posterior:
        found: Any = encoder.apply({"params": params["model"]["encoder"]}, constants.standardised(vertices))
        return Posterior(found[:, :number], found[:, number:])

    decode = _added(decoder, constants, constants.deviation)

    def loss(params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, Average], Any]:
        posterior = encode(params, batch["vertices"])
        z = sampled(posterior, keys)
        full, neutral = decode(params, *split(z, latents))
        pairs = ((full, batch["vertices"]), (neutral, batch["neutral"]))
        errors = [jnp.abs((made - wanted) / constants.deviation).mean((1, 2)) for made, wanted in pairs]
        kl = gaussian_kl(*posterior)
        # The discriminator's logit is the logarithm of the density ratio of pairs to permuted pairs.
        ratio: Any = critic.apply({"params": params["critic"]}, z)
        total = sum(errors) + config.kl_weight * kl + config.independence_weight * ratio
        return total, {**distances(pairs), "kl_nats": Average.of(kl)}, z

    def critic_loss(params: Any, z: jax.Array) -> jax.Array:
        identity, expression = split(z, latents)
        permuted = jnp.concatenate([identity, jnp.roll(expression, 1, axis=0)], -1)
        logits: Any = [critic.apply({"params": params}, codes) for codes in (z, permuted)]
        return (jax.nn.softplus(-logits[0]) + jax.nn.softplus(logits[1])).mean()

    return Rival(latents, True, config.training.optimiser, init, encode, decode, loss, critic_loss)


def gu(config: GuConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """Gu et al.: a PointNet, and added faces whose neutral is encoded alike."""
    number = latents.identity + latents.expression
    encoder, decoder = PointNet(config.widths, 2 * number), MlpDecoder(config.hidden, len(constants.mean_face))

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 3)
        model = _initial_model(encoder, decoder, keys, constants, latents)
        return {"model": model}

    def encode(params: Any, vertices: jax.Array) -> Posterior:
        found: Any = encoder.apply({"params": params["model"]["encoder"]}, vertices / constants.scale)
        return Posterior(found[:, :number], found[:, number:])

    decode = _added(decoder, constants, constants.scale)

    def loss(params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, Average], None]:
        posterior = encode(params, batch["vertices"])
        full, neutral = decode(params, *split(sampled(posterior, keys), latents))
        pairs = ((full, batch["vertices"]), (neutral, batch["neutral"]))
        errors = [jnp.square((made - wanted) / constants.scale).mean((1, 2)) for made, wanted in pairs]
        kl = gaussian_kl(*posterior)
        again = split(encode(params, neutral).mean, latents)[0] - split(posterior.mean, latents)[0]
        total = config.reconstruction_weight * (errors[0] + config.neutral_weight * errors[1])
        total = total + config.kl_weight * kl + config.again_weight * jnp.abs(again).mean(1)
        return total, {**distances(pairs), "kl_nats": Average.of(kl)}, None

    return Rival(latents, True, config.training.optimiser, init, encode, decode, loss)
