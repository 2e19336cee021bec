"""A generator of images or clips as pure functions of its parameters and of batches, whichever learner trains it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from facedis_jax.learners.learner import Batch, Metrics
from facedis_jax.losses import log_joint
from facedis_jax.metrics import Average, bending_energy
from facedis_jax.models import (
    DeformableGenerator,
    DynamicConfig,
    DynamicGenerator,
    DynamicLatents,
    GeneratorConfig,
    Latents,
    Trajectory,
)

Inference = Callable[..., Any]


def _no_inference(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("these functions have no inference, which a learner adds")


@dataclass(frozen=True, eq=False)
class GeneratorFunctions:
    """Functions of a generator's parameters and of batches: prior, inference, decoding, ranges, errors.

    Examples are images or clips, float32 in the range of the generator's output, [-1, 1] or [0, 1], unless said
    otherwise.

    Attributes:
      module: the generator, a Linen module; parameters of other networks than its own are ignored.
      prior: (key, shape of an example) -> the latents of one example from N(0, I).
      parts: of a generator whose latents are a pair, `appearance` and `geometry`, the names of the two methods of the
        module that compute from either alone; its method `combine` makes the example of what they return. None where
        all latents move together.
      step_ratios: by what the sampler's step size is multiplied, a number or a pytree that is a prefix of the latents.
      infer: (params, examples [batch, ...], keys [batch], ...) -> latents of unseen examples; what else it takes
        depends on the learner.

    Example:
      >>> functions = image_functions(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> latents = functions.prior(jax.random.key(1), (8, 8, 3))
      >>> jax.eval_shape(functions.decode, params, latents).shape
      (8, 8, 3)
      >>> functions.squared_error(jnp.zeros([1, 8, 8, 3]), jnp.full([1, 8, 8, 3], 0.5)).tolist()  # 192 * 0.25
      [48.0]
    """

    module: nn.Module
    prior: Callable[[jax.Array, tuple[int, ...]], Any]
    parts: tuple[str, str] | None = None
    step_ratios: Any = 1.0
    infer: Inference = _no_inference

    @property
    def config(self) -> Any:
        """The module's configuration."""
        return self.module.config  # type: ignore[attr-defined]

    def init(self, key: jax.Array, params: Any = None) -> Any:
        """Fresh parameters, or `params` for those networks that it has."""
        return {**self.module.init(key, self.prior(key, (2,)))["params"], **(params or {})}

    def call(self, method: str, params: Any, *inputs: Any) -> Any:
        """What a method of the module returns."""
        return self.module.apply({"params": params}, *inputs, method=method)

    def decode(self, params: Any, latents: Any) -> jax.Array:
        """Examples [..., size, size, channels] or [..., frames, size, size, channels] from latents [..., latents]."""
        return self.call("__call__", params, latents)

    def to_model_range(self, examples: jax.Array) -> jax.Array:
        """Examples in the range of the generator's output, from uint8 or from floating-point values in [0, 1].

        Example:
          >>> image_functions(GeneratorConfig(output="tanh")).to_model_range(jnp.array([0, 255], jnp.uint8)).tolist()
          [-1.0, 1.0]
        """
        if examples.dtype == jnp.uint8:
            examples = examples.astype(jnp.float32) / 255
        return examples * 2 - 1 if self._signed else examples

    def to_unit_range(self, examples: jax.Array) -> jax.Array:
        """Examples in [0, 1], from the range of the generator's output."""
        return (examples + 1) / 2 if self._signed else examples

    def squared_error(self, examples: jax.Array, predictions: jax.Array) -> jax.Array:
        """Squared errors [batch] in units of [0, 1]: sums over pixels and channels, means over a clip's frames."""
        difference = self.to_unit_range(examples) - self.to_unit_range(predictions)
        of_images = jnp.sum(jnp.square(difference), axis=(-3, -2, -1))
        return of_images.reshape(len(of_images), -1).mean(axis=1)

    def log_joint(self, params: Any, example: jax.Array, latents: Any, sigma: jax.Array | float) -> jax.Array:
        """Log density of an example and its latents, less its flow's price: Eq. 8 or 17 of the deformable generator."""
        density = log_joint(example, self.decode(params, latents), latents, sigma=sigma)
        return density - self.geometry_price(params, latents)

    def geometry_price(self, params: Any, latents: Any) -> jax.Array | float:
        """What the flows of latents [..., latents] cost, [...] nats; 0 where bending has no price."""
        if not self._bending or latents.geometry is None:
            return 0.0
        return self.flow_price(self.call("flow", params, latents.geometry))

    def flow_price(self, flow: jax.Array) -> jax.Array | float:
        """What flows [..., size, size, 2] cost, [...] nats, by which the log density of geometry is lower."""
        return self._bending * flow.shape[-3] * flow.shape[-2] * bending_energy(flow) if self._bending else 0.0

    @property
    def _bending(self) -> float:
        return getattr(self.config, "bending", 0.0)

    @property
    def _signed(self) -> bool:
        return self.config.output == "tanh"


class ImageFunctions(GeneratorFunctions):
    """`GeneratorFunctions` of a `DeformableGenerator`; latents are `Latents`.

    `infer` of some learners takes known appearance [batch, latents] after the keys, and holds it fixed.

    Example:
      >>> functions = image_functions(GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> jax.eval_shape(functions.canonical, params, jnp.zeros([2, 3])).shape
      (2, 8, 8, 3)
      >>> jax.eval_shape(functions.flow, params, jnp.zeros([2, 4])).shape
      (2, 8, 8, 2)
    """

    def canonical(self, params: Any, appearance: jax.Array) -> jax.Array:
        """Canonical images from appearance codes."""
        return self.call("canonical", params, appearance)

    def flow(self, params: Any, geometry: jax.Array) -> jax.Array:
        """Flows [..., size, size, 2] in pixels from geometric codes."""
        return self.call("flow", params, geometry)


class VideoFunctions(ImageFunctions):
    """`GeneratorFunctions` of a `DynamicGenerator`; latents are `DynamicLatents`.

    `infer` goes on from latents of the clips that are given as `start`. The shape of a clip is edited by another
    `latents.geometry.first`, and clips are recombined by `DynamicLatents(one.appearance, other.geometry)`. Canonical
    images and flows are of codes [..., frames, latents].

    Example:
      >>> functions = video_functions(DynamicConfig(size=16, appearance_latents=3, geometry_latents=4))
      >>> key = jax.random.key(0)
      >>> clip = jax.eval_shape(lambda key: functions.prior(key, (5, 16, 16, 3)), key)
      >>> params = jax.eval_shape(functions.init, key)
      >>> jax.eval_shape(functions.codes, params, clip).geometry.shape  # Z_t of five frames
      (5, 4)
      >>> jax.eval_shape(functions.decode, params, clip).shape
      (5, 16, 16, 3)
    """

    def codes(self, params: Any, latents: DynamicLatents) -> Latents:
        """`Latents` of all frames, Z_t [..., frames, latents] of either kind."""
        return self.call("codes", params, latents)

    def states(self, params: Any, latents: DynamicLatents) -> Latents:
        """`Latents` of all frames that hold the hidden states s_t = Z_t - Z_0."""
        return self.call("states", params, latents)

    def frames(self, params: Any, codes: Latents) -> jax.Array:
        """Clips from the codes of their frames."""
        return self.call("frames", params, codes)


def image_functions(config: GeneratorConfig) -> ImageFunctions:
    """The functions of a generator of images, without an inference."""
    parts = ("canonical", "flow") if config.deformable else None
    return ImageFunctions(DeformableGenerator(config), lambda key, shape: image_prior(config, key), parts)


def video_functions(config: DynamicConfig, noise_step: float = 1.0) -> VideoFunctions:
    """The functions of a generator of clips, without an inference.

    Args:
      config: of the generator.
      noise_step: step size of the noise xi relative to that of Z_0.
    """
    trajectory = Trajectory(first=1.0, noise=noise_step)
    return VideoFunctions(
        DynamicGenerator(config),
        lambda key, shape: clip_prior(config, key, num_frames=shape[0]),
        ("appearance_part", "geometry_part"),
        DynamicLatents(trajectory, trajectory),
    )


def image_prior(config: GeneratorConfig, key: jax.Array) -> Latents:
    """The codes of one image from N(0, I)."""
    appearance_key, geometry_key = jax.random.split(key)
    appearance = jax.random.normal(appearance_key, (config.appearance_latents,))
    return Latents(
        appearance, jax.random.normal(geometry_key, (config.geometry_latents,)) if config.deformable else None
    )


def clip_prior(config: DynamicConfig, key: jax.Array, num_frames: int) -> DynamicLatents:
    """The latents of one clip from N(0, I).

    The noise of a frame does not depend on how many follow it, so that a longer clip from the same key goes on from
    where the shorter one ends.
    """

    def trajectory(key: jax.Array, latents: int, noise: int) -> Trajectory:
        first_key, noise_key = jax.random.split(key)
        if not noise:
            return Trajectory(jax.random.normal(first_key, (latents,)), None)
        keys = jax.vmap(lambda t: jax.random.fold_in(noise_key, t))(jnp.arange(1, num_frames))
        later = jax.vmap(lambda key: jax.random.normal(key, (noise,)))(keys)
        return Trajectory(jax.random.normal(first_key, (latents,)), later)

    appearance_key, geometry_key = jax.random.split(key)
    return DynamicLatents(
        trajectory(appearance_key, config.appearance_latents, config.appearance_noise),
        trajectory(geometry_key, config.geometry_latents, config.geometry_noise),
    )


def reconstruction_evaluation(functions: GeneratorFunctions, observed: str) -> Callable[[Any, Batch], Metrics]:
    """A learner's `evaluate`: the squared error of unseen examples, rebuilt from latents that are inferred anew.

    Args:
      functions: of the generator.
      observed: under which name a batch has the examples.

    Returns:
      A function of states, which have `params`, `key` and `step`, and of batches, which have `observed`, `index`,
      `mask` and, where the appearance is known, `code`.
    """

    def evaluate(state: Any, batch: Batch) -> Metrics:
        examples = functions.to_model_range(batch[observed])
        keys = example_keys(state.key, state.step, batch["index"])
        latents = functions.infer(state.params, examples, keys, batch.get("code"))
        errors = functions.squared_error(examples, functions.decode(state.params, latents))
        return {"squared_error": Average.of(errors, batch["mask"])}

    return evaluate


def example_keys(key: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
    """One key per example, by the run's step and the example's index: independent of batch and devices."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda i: jax.random.fold_in(step_key, i))(index)
