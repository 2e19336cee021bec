"""A masked autoencoder, whose tokens tell where parts of a face are: the first stage of SCE-MAE, in small.

SCE-MAE (2024) goes on to cluster the tokens of what is no landmark and to push apart those that are alike; its code is
not public. Here, landmarks are read from the tokens themselves.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError
from facedis_jax.learners.learner import Learner
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.images.rival import error_learner
from facedis_jax.models.rivals.images.features import MaskedAutoencoder, MaskedNetworks, patches_of


@dataclass(frozen=True)
class MaskedAutoencoderConfig:
    """Network and training of a masked autoencoder.

    Attributes:
      networks: sizes.
      masked: the share of the patches that is not seen.
      epochs: how often the training set is seen.
      optimiser: Adam's settings.

    Raises:
      InputError: nothing or all is masked, or no epochs.

    Example:
      >>> MaskedAutoencoderConfig().networks.patch
      4
    """

    networks: MaskedNetworks = field(default_factory=MaskedNetworks)
    masked: float = 0.75
    epochs: float = 400
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(
            "adamw", learning_rate=1e-3, weight_decay=0.05, schedule="cosine", warmup_steps=100
        )
    )

    def __post_init__(self) -> None:
        if not 0 < self.masked < 1:
            raise InputError("masked", "more than 0 and less than 1", str(self.masked))
        if not self.epochs > 0:
            raise InputError("epochs", "more than 0", str(self.epochs))


def masked_features(config: MaskedAutoencoderConfig, params: Any, images: jax.Array) -> jax.Array:
    """Tokens [batch, patches * width] of images in [0, 1], all of whose patches are seen.

    Example:
      >>> config, images = MaskedAutoencoderConfig(), jnp.zeros([2, 8, 8, 3])
      >>> learner = masked_autoencoder_learner(config, steps_per_epoch=1, num_steps=1)
      >>> batch = {"image": images, "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> jax.eval_shape(lambda params: masked_features(config, params, images), state.params).shape
      (2, 256)
    """
    patches = patches_of(images, config.networks.patch)
    count = patches.shape[1]
    model = MaskedAutoencoder(config.networks, images.shape[-1])
    tokens: Any = model.apply({"params": params["autoencoder"]}, patches, jnp.arange(count), count, method="encode")
    return tokens.reshape(len(images), -1)


def masked_autoencoder_learner(
    config: MaskedAutoencoderConfig, *, steps_per_epoch: float, num_steps: int, axis_name: str | None = None
) -> Learner:
    """The learner of a masked autoencoder; batches and arguments as of `abp_learner`.

    Its one metric, `missing_error`, is the mean squared error of a pixel that is not seen.

    Example:
      >>> learner = masked_autoencoder_learner(MaskedAutoencoderConfig(), steps_per_epoch=5, num_steps=10)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> sorted(jax.eval_shape(learner.step, state, batch)[1])
      ['missing_error']
    """
    patch = config.networks.patch

    def errors(params: Any, images: jax.Array, keys: jax.Array) -> jax.Array:
        patches = patches_of(images, patch)
        count = patches.shape[1]
        shown = min(count - 1, max(1, round((1 - config.masked) * count)))
        orders = jax.vmap(lambda key: jax.random.permutation(key, count))(keys)
        model = MaskedAutoencoder(config.networks, images.shape[-1])
        drawn: Any = model.apply({"params": params["autoencoder"]}, patches, orders[:, :shown])
        missing = orders[:, shown:, None]
        off = jnp.take_along_axis(drawn, missing, axis=1) - jnp.take_along_axis(patches, missing, axis=1)
        return jnp.square(off).mean(axis=(1, 2))

    def init_params(key: jax.Array, images: jax.Array) -> Any:
        model = MaskedAutoencoder(config.networks, images.shape[-1])
        return {"autoencoder": model.init(key, patches_of(images, patch), jnp.zeros((1, 1), int))["params"]}

    return error_learner(
        "missing_error",
        init_params,
        errors,
        config.optimiser,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        axis_name=axis_name,
    )
