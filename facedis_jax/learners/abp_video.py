"""Alternating back-propagation through time (Algorithm 2): as for images, with clips and transitions."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from facedis_jax.learners.abp import ABP_STATE_AXES, AbpState, alternating_step, initial_chains
from facedis_jax.learners.generator_functions import VideoFunctions, reconstruction_evaluation, video_functions
from facedis_jax.learners.langevin_inference import LangevinConfig, langevin_inference
from facedis_jax.learners.learner import Batch, Learner
from facedis_jax.learners.optimiser import OptimiserConfig, make_optimiser
from facedis_jax.models import DynamicConfig

# The paper gives none of these for clips; they are those of the nearest public code.
VIDEO_LANGEVIN = LangevinConfig(num_steps=15, step_size=0.03)
VIDEO_OPTIMISER = OptimiserConfig(learning_rate=2e-3, weight_decay=0.0, schedule="steps", beta_1=0.5)

ABP_VIDEO_STATE_AXES: Any = ABP_STATE_AXES
"""As `ABP_STATE_AXES`, since the state is that of images, with chains of clips.

Example:
  >>> ABP_VIDEO_STATE_AXES.chains
  0
"""


@dataclass(frozen=True)
class AbpVideoConfig:
    """Configuration of `abp_video_learner`.

    Attributes:
      model: sizes of the generators and transitions.
      langevin: the sampler, for appearance and geometry trajectories in turn.
      noise_step: step size of the noise xi relative to that of Z_0. All frames depend on Z_0, which bounds its steps;
        few depend on the noise of one of them, so that it bears longer ones. The density that is sampled is the same.
      sigma: standard deviation of a pixel's residual, for pixels in the range of the generators' output.
      optimiser: Adam's settings.

    Example:
      >>> config = AbpVideoConfig(DynamicConfig(size=32, appearance_noise=0), sigma=0.3)
      >>> config.langevin.num_steps, config.langevin.step_size, config.sigma
      (15, 0.03, 0.3)
    """

    model: DynamicConfig = field(default_factory=DynamicConfig)
    langevin: LangevinConfig = VIDEO_LANGEVIN
    noise_step: float = 1.0
    sigma: float = 1.0
    optimiser: OptimiserConfig = VIDEO_OPTIMISER


def abp_video_functions(config: AbpVideoConfig) -> VideoFunctions:
    """What the generator does, with inference by Langevin dynamics.

    Example:
      >>> sizes = DynamicConfig(size=16, appearance_latents=3, geometry_latents=4)
      >>> functions = abp_video_functions(AbpVideoConfig(sizes))
      >>> key = jax.random.key(0)
      >>> latents = jax.eval_shape(lambda key: functions.prior(key, (5, 16, 16, 3)), key)  # of a clip of five frames
      >>> latents.geometry.first.shape, latents.geometry.noise.shape
      ((4,), (4, 10))
      >>> params = jax.eval_shape(functions.init, key)
      >>> jax.eval_shape(functions.decode, params, latents).shape
      (5, 16, 16, 3)
    """
    functions = video_functions(config.model, config.noise_step)
    return replace(functions, infer=langevin_inference(functions, config.langevin, config.sigma))


def abp_video_learner(
    config: AbpVideoConfig,
    *,
    num_clips: int,
    steps_per_epoch: float,
    num_steps: int,
    params: Any = None,
    axis_name: str | None = None,
) -> Learner:
    """The learner of Algorithm 2 of the deformable generator, with one persistent chain per training clip.

    A chain is the `DynamicLatents` of its clip, (Z_0, xi_1, ..., xi_T) of either kind. Their gradients (Eq. 18) and
    those of the weights (Eq. 20) are automatic derivatives through time.

    Batches have `frames` [batch, frames, size, size, channels] (uint8, or float32 in [0, 1]), all of one length, and
    `index` [batch] int32, the clips' places in the training set; at evaluation `mask` [batch].

    As at `abp_learner`, the noise of a clip depends on the run's key, the step and the clip's index alone.

    Args:
      config: networks, sampler, optimiser.
      num_clips: size of the training set.
      steps_per_epoch: steps in which the training set is seen once.
      num_steps: length of the run, for schedules that end with it.
      params: initial weights of all or some of the networks, as of a state; fresh ones for the others.
      axis_name: the device axis over which batch means are collective; None on one device.

    Returns:
      A `Learner`, whose state is an `AbpState`, split over devices as `ABP_VIDEO_STATE_AXES` says. The metrics of
      `step` are of the chains, those of `evaluate` of latents inferred anew: `squared_error` per frame, for pixels in
      [0, 1], and `energy_nats` per clip, minus the log-joint density of Eq. 17 without its constant.

    Example:
      >>> sizes = DynamicConfig(size=16, appearance_latents=3, geometry_latents=4, appearance_filters=16)
      >>> config = AbpVideoConfig(sizes)
      >>> learner = abp_video_learner(config, num_clips=6, steps_per_epoch=3, num_steps=30)
      >>> clips = {"frames": jnp.zeros([2, 5, 16, 16, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), clips)
      >>> state.chains.geometry.noise.shape  # four steps of noise for each clip
      (3840, 4, 10)
    """
    functions = abp_video_functions(config)
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def init(key: jax.Array, batch: Batch) -> AbpState:
        start = functions.init(jax.random.fold_in(key, 0), params)
        chains = initial_chains(
            functions, config.langevin, batch["frames"].shape[1:], jax.random.fold_in(key, 1), num_clips
        )
        return AbpState(start, optimiser.init(start), chains, jax.random.fold_in(key, 2), jnp.int32(0))

    step = alternating_step(
        functions,
        config.langevin,
        optimiser,
        observed="frames",
        sigma_at=lambda step: jnp.float32(config.sigma),
        axis_name=axis_name,
    )
    return Learner(init, step, reconstruction_evaluation(functions, "frames"))
