"""MeshAE (Ranjan et al., 2018) and SpiralNet++ (Gong et al., 2019): autoencoders that do not tell codes apart.

Both see each coordinate as a deviation from the mean face in standard deviations of the training faces, and learn by
the mean absolute error of these.

MeshAE has two public forms. The first (TensorFlow) has ReLU throughout, so that its codes are never negative, and
learns by SGD with momentum. Ours is the later one (PyTorch, ELU, linear codes, Adam, no weight decay), which its
authors found to be better. SpiralNet++ is published with 16 latents; a table decides how many it has here.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp

from facedis_jax.learners.learner import Batch
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.faces.rival import (
    Latents,
    Rival,
    RivalConstants,
    RivalTraining,
    initial,
    without_spread,
)
from facedis_jax.metrics import Average, average_vertex_distance
from facedis_jax.models import Posterior
from facedis_jax.models.rivals.faces.mesh_nets import MeshNetConfig, mesh_net


def _adam(learning_rate: float) -> OptimiserConfig:
    """Adam whose rate falls by a hundredth with each epoch."""
    return OptimiserConfig(learning_rate=learning_rate, weight_decay=0.0, decay_rate=0.99, decay_epochs=1.0)


@dataclass(frozen=True)
class MeshAeConfig:
    """MeshAE, which CoMA came with; the defaults are those of its later public code.

    References:
      Ranjan et al., "Generating 3D Faces Using Convolutional Mesh Autoencoders", 2018.

    Attributes:
      model: sizes of the networks.
      training: how it is trained.

    Example:
      >>> MeshAeConfig().training.batch_size
      16
    """

    model: MeshNetConfig = field(default_factory=MeshNetConfig)
    training: RivalTraining = field(default_factory=lambda: RivalTraining(300, 16, _adam(8e-3)))


@dataclass(frozen=True)
class SpiralNetConfig:
    """SpiralNet++; the defaults are those of its public code.

    References:
      Gong et al., "SpiralNet++: A Fast and Highly Efficient Mesh Convolution Operator", 2019.

    Attributes:
      model: sizes of the networks.
      training: how it is trained.

    Example:
      >>> SpiralNetConfig().training.batch_size
      32
    """

    model: MeshNetConfig = field(default_factory=lambda: MeshNetConfig((32, 32, 32, 64), 9))
    training: RivalTraining = field(default_factory=lambda: RivalTraining(300, 32, _adam(1e-3)))


def mesh_ae(config: MeshAeConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """MeshAE: Chebyshev convolutions."""
    return _autoencoder("mesh_ae", "chebyshev", config, constants, latents)


def spiral_net(config: SpiralNetConfig, constants: RivalConstants, latents: Latents) -> Rival:
    """SpiralNet++: convolutions along spirals."""
    return _autoencoder("spiral_net", "spiral", config, constants, latents)


def _autoencoder(
    where: str,
    kind: Literal["chebyshev", "spiral"],
    config: MeshAeConfig | SpiralNetConfig,
    constants: RivalConstants,
    latents: Latents,
) -> Rival:
    number = latents.identity + latents.expression
    net = mesh_net(kind, config.model, constants.template, constants.triangles, where)
    encoder, decoder = net.encoder(number), net.decoder()

    def init(key: jax.Array) -> Any:
        keys, face = jax.random.split(key), (1, *constants.mean_face.shape)
        model = {"encoder": initial(encoder, keys[0], face), "decoder": initial(decoder, keys[1], (1, number))}
        return {"model": model}

    def encode(params: Any, vertices: jax.Array) -> Posterior:
        codes: Any = encoder.apply({"params": params["model"]["encoder"]}, constants.standardised(vertices))
        return without_spread(codes)

    def standardised(params: Any, codes: jax.Array) -> Any:
        return decoder.apply({"params": params["model"]["decoder"]}, codes)

    def decode(params: Any, identity: jax.Array, expression: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = standardised(params, jnp.concatenate([identity, expression], -1))
        face = constants.mean_face + constants.deviation * made
        return face, face

    def loss(params: Any, batch: Batch, keys: jax.Array) -> tuple[jax.Array, dict[str, Average], None]:
        wanted = constants.standardised(batch["vertices"])
        made = standardised(params, encode(params, batch["vertices"]).mean)
        distance = average_vertex_distance(made * constants.deviation, wanted * constants.deviation)
        return jnp.abs(made - wanted).mean((1, 2)), {"reconstruction_mm": Average.of(distance)}, None

    return Rival(Latents(number, 0), False, config.training.optimiser, init, encode, decode, loss)
