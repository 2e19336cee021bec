"""The deforming autoencoder (Shu et al., 2018; "Dense-DAE" of Table 2): texture and warp by one encoder.

What the paper does not settle, here: the steps of the warp are bounded as in public code and their sums centred, the
affine part is bounded so that it cannot turn an image over, textures end in a sigmoid in place of a clip, and networks
have no normalisation (public code's of batches biased its tests). In public code a "dense" block runs its first
convolution alone; here it adds to the maps that it sees.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from facedis_jax.errors import InputError
from facedis_jax.learners.abp import Part, frozen_networks, with_frozen
from facedis_jax.learners.generator_functions import ImageFunctions, reconstruction_evaluation
from facedis_jax.learners.learner import Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig
from facedis_jax.learners.rivals.images.rival import gradient_learner
from facedis_jax.losses import flow_variation
from facedis_jax.metrics import Average
from facedis_jax.models import Latents
from facedis_jax.models.rivals.images.deforming import DeformingConfig, DeformingDecoder, DeformingEncoder


@dataclass(frozen=True)
class DeformingTraining:
    """How a deforming autoencoder learns; the defaults are those of public code.

    Attributes:
      reconstruction: mean over pixels of the absolute ("l1") or the squared error ("l2").
      smoothness: weight of the flow's total variation, see `losses.flow_variation`. Public code's weight of 1e-6 is of
        a sum over batches of 100 images of 64 x 64.
      mean_warp: weight of the mean square, over pixels, of the batch's mean flow, in halves of the image's size:
        without it, the canonical image may lie anywhere.
      optimiser: Adam's settings.

    Raises:
      InputError: for another reconstruction.

    Example:
      >>> DeformingTraining(reconstruction="l2").smoothness
      0.013
    """

    reconstruction: Literal["l1", "l2"] = "l1"
    smoothness: float = 0.013
    mean_warp: float = 0.01
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=2e-4, weight_decay=0.0, schedule="steps", beta_1=0.5)
    )

    def __post_init__(self) -> None:
        if self.reconstruction not in ("l1", "l2"):
            raise InputError("training.reconstruction", "l1 or l2", repr(self.reconstruction))


@dataclass(frozen=True)
class DeformingAutoencoderConfig:
    """Networks and training of a deforming autoencoder.

    Attributes:
      model: sizes of the networks.
      training: losses and optimiser.
      frozen: decoders that keep their weights.

    Example:
      >>> config = DeformingAutoencoderConfig(DeformingConfig(size=8))
      >>> config.model.size, config.training.reconstruction
      (8, 'l1')
    """

    model: DeformingConfig = field(default_factory=DeformingConfig)
    training: DeformingTraining = field(default_factory=DeformingTraining)
    frozen: tuple[Part, ...] = ()


def deforming_autoencoder_functions(config: DeformingAutoencoderConfig) -> ImageFunctions:
    """What the decoders do, with inference by the encoder.

    An autoencoder has no prior: codes are drawn from N(0, I), as the other models' are.

    Example:
      >>> functions = deforming_autoencoder_functions(DeformingAutoencoderConfig(DeformingConfig(size=8)))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> jax.eval_shape(functions.decode, params, functions.prior(jax.random.key(1), (8, 8, 3))).shape
      (8, 8, 3)
    """
    encoder, model = DeformingEncoder(config.model), config.model

    def prior(key: jax.Array, shape: tuple[int, ...]) -> Latents:
        keys = jax.random.split(key)
        return Latents(
            jax.random.normal(keys[0], (model.appearance_latents,)),
            jax.random.normal(keys[1], (model.geometry_latents,)),
        )

    def infer(params: Any, images: jax.Array, keys: jax.Array, appearance: jax.Array | None = None) -> Latents:
        del keys
        if appearance is not None:
            raise ValueError("an encoder takes no known appearance")
        codes: Any = encoder.apply({"params": params["encoder"]}, images)
        return codes

    return replace(ImageFunctions(DeformingDecoder(model), prior), infer=infer)


def deforming_autoencoder_learner(
    config: DeformingAutoencoderConfig,
    *,
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of a deforming autoencoder; batches, arguments and `squared_error` as of `abp_learner`.

    Of its other metrics, `absolute_error` is a pixel's, and `flow_variation` as in `losses`.

    Example:
      >>> config = DeformingAutoencoderConfig(DeformingConfig(size=8))
      >>> learner = deforming_autoencoder_learner(config, steps_per_epoch=5, num_steps=10)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> sorted(state.params), sorted(metrics)
      (['appearance_network', 'encoder', 'geometry_network'], ['absolute_error', 'flow_variation', 'squared_error'])
    """
    functions, training = deforming_autoencoder_functions(config), config.training

    def init_params(key: jax.Array, images: jax.Array) -> Any:
        keys = jax.random.split(key)
        encoder = DeformingEncoder(config.model).init(keys[1], images)["params"]
        return {**functions.init(keys[0]), "encoder": encoder}

    def loss(params: Any, images: jax.Array, keys: jax.Array) -> tuple[jax.Array, Metrics]:
        latents = functions.infer(params, images, keys)
        own = with_frozen(params, config.frozen)
        predictions, flows = functions.decode(own, latents), functions.flow(own, latents.geometry)
        residual = images - predictions
        errors = (jnp.abs if training.reconstruction == "l1" else jnp.square)(residual).mean(axis=(1, 2, 3))
        variations = flow_variation(flows)
        mean = flows.mean(axis=0)
        if axis_name is not None:
            mean = jax.lax.pmean(mean, axis_name)
        off = jnp.mean(jnp.square(mean / (config.model.size / 2)))
        total = jnp.mean(errors + training.smoothness * variations) + training.mean_warp * off
        return total, {
            "squared_error": Average.of(functions.squared_error(images, predictions)),
            "absolute_error": Average.of(jnp.abs(residual).mean(axis=(1, 2, 3))),
            "flow_variation": Average.of(variations),
        }

    return gradient_learner(
        init_params,
        loss,
        reconstruction_evaluation(functions, "image"),
        training.optimiser,
        to_model_range=functions.to_model_range,
        steps_per_epoch=steps_per_epoch,
        num_steps=num_steps,
        params=params,
        frozen=frozenset(frozen_networks(config.frozen)),
        axis_name=axis_name,
    )
