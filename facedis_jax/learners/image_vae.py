"""A VAE on the generators of the deformable model, with an inference network in place of Langevin dynamics (Table 1).

With `geometry_latents=0` it is the plain VAE; with more, the deformable generator learned by a VAE, which section 3.3
mentions.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.learners.abp import PAPER_OPTIMISER, Part, frozen_networks, with_frozen
from facedis_jax.learners.generator_functions import (
    ImageFunctions,
    example_keys,
    image_functions,
    reconstruction_evaluation,
)
from facedis_jax.learners.learner import Batch, GradientState, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.losses import gaussian_kl
from facedis_jax.metrics import Average
from facedis_jax.models import GeneratorConfig, InferenceNetwork, Latents, inference_network


@dataclass(frozen=True)
class ImageVaeConfig:
    """Networks, likelihood and optimiser.

    Attributes:
      model: sizes of the generators; the inference network is the geometric generator's mirror.
      sigma: standard deviation of a pixel's residual, for pixels in the range of the generators' output.
      frozen: generators that keep their weights.
      optimiser: Adam's settings.

    Example:
      >>> config = ImageVaeConfig(GeneratorConfig(size=8, filters=16))
      >>> config.model.size, config.sigma
      (8, 1.0)
    """

    model: GeneratorConfig = field(default_factory=GeneratorConfig)
    sigma: float = 1.0
    frozen: tuple[Part, ...] = ()
    optimiser: OptimiserConfig = PAPER_OPTIMISER


def image_vae_functions(config: ImageVaeConfig) -> ImageFunctions:
    """What the generator does, with inference by the posterior mean.

    Example:
      >>> functions = image_vae_functions(ImageVaeConfig(GeneratorConfig(size=8, filters=16)))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> jax.eval_shape(functions.decode, params, functions.prior(jax.random.key(1), (8, 8, 3))).shape
      (8, 8, 3)
    """
    network = inference_network(config.model)

    def infer(params: Any, images: jax.Array, keys: jax.Array, appearance: jax.Array | None = None) -> Latents:
        del keys
        if appearance is not None:
            raise ValueError("an inference network takes no known appearance")
        posterior: Any = network.apply({"params": params["inference"]}, images)
        return _split(posterior.mean, config.model)

    return replace(image_functions(config.model), infer=infer)


def image_vae_learner(
    config: ImageVaeConfig,
    *,
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of the evidence lower bound; batches, arguments and metrics as of `abp_learner`.

    The VAE that the deformable generator is compared with (its Table 1); ours may have a warp too.

    References:
      Kingma and Welling, "Auto-Encoding Variational Bayes", 2014.

    Of its metrics, `energy_nats` is minus the bound, without the residual's constant, and `kl_nats` the divergence of
    the posterior from the prior in it.

    Example:
      >>> config = ImageVaeConfig(GeneratorConfig(size=8, filters=16))
      >>> learner = image_vae_learner(config, steps_per_epoch=5, num_steps=10)
      >>> batch = {"image": jnp.zeros([2, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), batch)
      >>> state, metrics = jax.eval_shape(learner.step, state, batch)
      >>> sorted(metrics)
      ['energy_nats', 'kl_nats', 'squared_error']
    """
    functions = image_vae_functions(config)
    network: InferenceNetwork = inference_network(config.model)
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    num_latents = config.model.appearance_latents + config.model.geometry_latents

    def init(key: jax.Array, batch: Batch) -> GradientState:
        generators = functions.init(jax.random.fold_in(key, 0))
        inference = network.init(jax.random.fold_in(key, 1), functions.to_model_range(batch["image"][:1]))["params"]
        start = {**generators, "inference": inference, **(params or {})}
        return GradientState(start, optimiser.init(start), jax.random.fold_in(key, 2), jnp.int32(0))

    def step(state: GradientState, batch: Batch) -> tuple[GradientState, Metrics]:
        images = functions.to_model_range(batch["image"])
        keys = example_keys(state.key, state.step, batch["index"])
        noise = jax.vmap(lambda key: jax.random.normal(key, (num_latents,)))(keys)

        def loss(params: Any) -> tuple[jax.Array, Metrics]:
            posterior: Any = network.apply({"params": params["inference"]}, images)
            z = posterior.mean + jnp.exp(posterior.logvar / 2) * noise
            predictions = functions.decode(with_frozen(params, config.frozen), _split(z, config.model))
            residual = jnp.sum(jnp.square(images - predictions), axis=(-3, -2, -1))
            kl = gaussian_kl(*posterior)
            energies = residual / (2 * config.sigma**2) + kl
            metrics = {
                "squared_error": Average.of(functions.squared_error(images, predictions)),
                "energy_nats": Average.of(energies),
                "kl_nats": Average.of(kl),
            }
            return energies.mean(), metrics

        gradients, metrics = jax.grad(loss, has_aux=True)(state.params)
        params, opt_state = apply_gradients(
            optimiser,
            gradients,
            state.opt_state,
            state.params,
            axis_name=axis_name,
            frozen=frozen_networks(config.frozen),
        )
        return state.replace(params=params, opt_state=opt_state, step=state.step + 1), metrics

    return Learner(init, step, reconstruction_evaluation(functions, "image"))


def _split(z: jax.Array, config: GeneratorConfig) -> Latents:
    geometry = z[..., config.appearance_latents :] if config.deformable else None
    return Latents(z[..., : config.appearance_latents], geometry)
