"""A dense embedding that follows warps of an image (Thewlis et al., 2017; with a third image 2019): features of places.

What is chosen here: one image of a pair is warped, by a similarity and a smooth bend, and its colours are changed; the
third image is the next one of the batch; vectors are not normalised, as in public code.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError
from facedis_jax.geometry import affine_flow, warp
from facedis_jax.learners.learner import Learner
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.images.rival import error_learner
from facedis_jax.losses import equivariance_loss
from facedis_jax.models.rivals.images.features import DenseEmbedding, EmbeddingNetworks


@dataclass(frozen=True)
class WarpConfig:
    """How one image of a pair is changed: deviations of normal draws.

    Attributes:
      rotation: degrees.
      scale: of the logarithm of its size.
      shift: as a part of the image's size, along either axis.
      bend: displacements of 4 x 4 points, as a part of the image's size.
      light: of the logarithm of each channel's gain, and of what is added to it.

    Example:
      >>> WarpConfig(rotation=0.0, scale=0.0, shift=0.0, bend=0.0, light=0.0).rotation  # leaves an image as it is
      0.0
    """

    rotation: float = 8.0
    scale: float = 0.1
    shift: float = 0.06
    bend: float = 0.03
    light: float = 0.1


@dataclass(frozen=True)
class EmbeddingConfig:
    """Network and training of a dense embedding.

    Attributes:
      networks: sizes.
      warps: how pairs are made.
      third_image: match cells by those of another image.
      epochs: how often the training set is seen.
      optimiser: Adam's settings.

    Raises:
      InputError: for no epochs.

    Example:
      >>> EmbeddingConfig().networks.dimensions
      3
    """

    networks: EmbeddingNetworks = field(default_factory=EmbeddingNetworks)
    warps: WarpConfig = field(default_factory=WarpConfig)
    third_image: bool = False
    epochs: float = 100
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=1e-3, weight_decay=0.0, schedule="cosine")
    )

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise InputError("epochs", "more than 0", str(self.epochs))


def embedding_features(config: EmbeddingConfig, params: Any, images: jax.Array) -> jax.Array:
    """Embeddings [batch, cells * dimensions] of images in [0, 1], of all cells.

    Example:
      >>> config, images = EmbeddingConfig(), jnp.zeros([2, 8, 8, 3])
      >>> learner = embedding_learner(config, steps_per_epoch=1, num_steps=1)
      >>> batch = {"image": images, "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> jax.eval_shape(lambda params: embedding_features(config, params, images), state.params).shape
      (2, 48)
    """
    cells: Any = DenseEmbedding(config.networks).apply({"params": params["embedding"]}, images)
    return cells.reshape(len(images), -1)


def embedding_learner(
    config: EmbeddingConfig, *, steps_per_epoch: float, num_steps: int, axis_name: str | None = None
) -> Learner:
    """The learner of a dense embedding; batches and arguments as of `abp_learner`.

    Its one metric, `matching_loss`, is `losses.equivariance_loss`.

    Example:
      >>> learner = embedding_learner(EmbeddingConfig(), steps_per_epoch=5, num_steps=10)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> sorted(jax.eval_shape(learner.step, state, batch)[1])
      ['matching_loss']
    """
    network = DenseEmbedding(config.networks)

    def errors(params: Any, images: jax.Array, keys: jax.Array) -> jax.Array:
        flows, changed = jax.vmap(lambda image, key: warped_pair(config.warps, image, key))(images, keys)
        cells: Any = network.apply({"params": params["embedding"]}, jnp.concatenate([images, changed]))
        first, second = jnp.split(cells, 2)
        height, width = first.shape[1:3]
        # A cell's flow is the mean of its four pixels', in cells.
        flows = flows[:, : 2 * height, : 2 * width].reshape(len(flows), height, 2, width, 2, 2).mean(axis=(2, 4)) / 2
        places = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), axis=-1) + flows
        if not config.third_image:
            return jax.vmap(equivariance_loss)(first, second, places)
        third = jnp.roll(first, 1, axis=0)
        return jax.vmap(lambda a, b, p, c: equivariance_loss(a, b, p, third=c))(first, second, places, third)

    return error_learner(
        "matching_loss",
        lambda key, images: {"embedding": network.init(key, images)["params"]},
        errors,
        config.optimiser,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        axis_name=axis_name,
    )


def warped_pair(config: WarpConfig, image: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A flow [size, size, 2] in pixels, and the image [size, size, channels] warped by it, in other colours."""
    size = image.shape[0]
    turn, scale, shift, bend, gain, offset = jax.random.split(key, 6)
    angle = jnp.deg2rad(config.rotation) * jax.random.normal(turn)
    factor = jnp.exp(config.scale * jax.random.normal(scale))
    matrix = factor * jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    points = config.bend * size * jax.random.normal(bend, (4, 4, 2))
    smooth = jax.image.resize(points, (size, size, 2), "cubic")
    flow = affine_flow(smooth, matrix, config.shift * size * jax.random.normal(shift, (2,)))
    gains = jnp.exp(config.light * jax.random.normal(gain, image.shape[-1:]))
    added = config.light * jax.random.normal(offset, image.shape[-1:])
    return flow, warp(image, flow) * gains + added
