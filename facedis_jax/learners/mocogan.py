"""The learner of a MoCoGAN, and of an encoder that finds the codes of given clips."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from facedis_jax.learners.adversarial import critic_terms
from facedis_jax.learners.generator_functions import GeneratorFunctions, example_keys, reconstruction_evaluation
from facedis_jax.learners.learner import Batch, Learner, Metrics
from facedis_jax.learners.optimiser import OptimiserConfig, apply_gradients, make_optimiser
from facedis_jax.metrics import Average
from facedis_jax.models import (
    ClipEncoder,
    MocoganCodes,
    MocoganConfig,
    MocoganGenerator,
    MocoganLatents,
    mocogan_critics,
)

GAN_OPTIMISER = OptimiserConfig(learning_rate=2e-4, weight_decay=0.0, schedule="steps", beta_1=0.5)


@dataclass(frozen=True)
class MocoganLearnerConfig:
    """Configuration of `mocogan_learner`.

    Attributes:
      model: sizes of the networks.
      window: how many consecutive frames of each clip the critic of clips sees, from a random one on (16 in the paper).
      penalty_weight: of either critic's squared gradient at real examples (R1), as of `AdversarialConfig`.
      critic_noise: standard deviation of noise that is added to what the critics see, in the generator's range.
      optimiser, critic_optimiser: Adam's settings for the generator and its encoder, and for both critics.

    Example:
      >>> MocoganLearnerConfig().window, MocoganLearnerConfig().penalty_weight
      (16, 10.0)
    """

    model: MocoganConfig = field(default_factory=MocoganConfig)
    window: int = 16
    penalty_weight: float = 10.0
    critic_noise: float = 0.0
    optimiser: OptimiserConfig = GAN_OPTIMISER
    critic_optimiser: OptimiserConfig = GAN_OPTIMISER


class MocoganState(struct.PyTreeNode):
    """State of `mocogan_learner`, the same on all devices.

    Attributes:
      params: of the generator, and of the encoder under a name of its own.
      critics: of the critics, `image` and `video`.
      opt_state, critic_opt_state: the optimisers'.
      key, step: of the run's noise.

    Example:
      >>> config = MocoganLearnerConfig(MocoganConfig(size=8, filters=16, critic_filters=8), window=2)
      >>> learner = mocogan_learner(config, steps_per_epoch=3, num_steps=30)
      >>> clips = {"frames": jnp.zeros([2, 5, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> sorted(jax.eval_shape(learner.init, jax.random.key(0), clips).critics)
      ['image', 'video']
    """

    params: Any
    critics: Any
    opt_state: Any
    critic_opt_state: Any
    key: jax.Array
    step: jax.Array


class MocoganFunctions(GeneratorFunctions):
    """`GeneratorFunctions` of a `MocoganGenerator`; what is decoded and inferred are `MocoganCodes`.

    Example:
      >>> config = MocoganLearnerConfig(MocoganConfig(size=8, filters=16, critic_filters=8))
      >>> functions = mocogan_functions(config)
      >>> latents = jax.eval_shape(lambda key: functions.prior(key, (5, 8, 8, 3)), jax.random.key(0))
      >>> params = jax.eval_shape(functions.init, jax.random.key(1))
      >>> jax.eval_shape(functions.codes, params, latents).motion.shape  # of five frames
      (5, 10)
    """

    def init(self, key: jax.Array, params: Any = None) -> Any:
        """Fresh parameters of generator and encoder, or `params` for those networks that it has."""
        config: MocoganConfig = self.config
        clips = jnp.zeros((1, 2, config.size, config.size, config.channels))
        encoder = ClipEncoder(config).init(jax.random.fold_in(key, 1), clips)["params"]
        return super().init(key, {"encoder": encoder, **(params or {})})

    def codes(self, params: Any, latents: MocoganLatents) -> MocoganCodes:
        """The codes of clips of what is drawn for them."""
        return self.call("codes", params, latents)

    def decode(self, params: Any, latents: MocoganCodes) -> jax.Array:
        """Clips [..., frames, size, size, channels] from codes."""
        return self.call("frames", params, latents)


def mocogan_functions(config: MocoganLearnerConfig) -> MocoganFunctions:
    """What the generator does, with inference by its encoder.

    Example:
      >>> functions = mocogan_functions(MocoganLearnerConfig(MocoganConfig(size=8, filters=16)))
      >>> params = jax.eval_shape(functions.init, jax.random.key(0))
      >>> codes = MocoganCodes(content=jnp.zeros(50), motion=jnp.zeros([5, 10]))
      >>> jax.eval_shape(functions.decode, params, codes).shape
      (5, 8, 8, 3)
    """

    def infer(params: Any, clips: jax.Array, keys: jax.Array, start: Any = None) -> Any:
        del keys, start  # nothing is drawn
        return ClipEncoder(config.model).apply({"params": params["encoder"]}, clips)

    return MocoganFunctions(
        MocoganGenerator(config.model),
        lambda key, shape: mocogan_prior(config.model, key, num_frames=shape[0]),
        infer=infer,
    )


def mocogan_learner(
    config: MocoganLearnerConfig, *, steps_per_epoch: float, num_steps: int, axis_name: str | None = None
) -> Learner:
    """The learner of a MoCoGAN; batches and arguments as of `abp_video_learner`, without chains.

    Compared with in Table 3 of the deformable generator. R1's penalty, the length of the critics and how latents of
    given clips are found are ours.

    References:
      Tulyakov et al., "MoCoGAN: Decomposing Motion and Content for Video Generation", 2018.

    Every step moves the generator by both critics' logits for clips from the prior (non-saturating), then the critics
    by the same clips and the batch, with R1's penalty. Of every clip, the critic of frames sees one frame at random.
    The encoder learns the codes of the generator's clips by their mean squared error; the generator does not know it.

    Returns:
      A `Learner`, whose state is the same on all devices. The metrics of `step` are `image_generator_nats` and
      `video_generator_nats`, `image_critic_nats` and `video_critic_nats`, the cross-entropies, `image_penalty` and
      `video_penalty`, and `content_error` and `motion_error`, the encoder's; that of `evaluate` is `squared_error` per
      frame, of codes that are inferred.

    Example:
      >>> config = MocoganLearnerConfig(MocoganConfig(size=8, filters=16, critic_filters=8), window=2)
      >>> learner = mocogan_learner(config, steps_per_epoch=3, num_steps=30)
      >>> clips = {"frames": jnp.zeros([2, 5, 8, 8, 3], jnp.uint8), "index": jnp.arange(2)}
      >>> state = jax.eval_shape(learner.init, jax.random.key(0), clips)
      >>> state, metrics = jax.eval_shape(learner.step, state, clips)
      >>> [name for name in sorted(metrics) if name.startswith("video")]
      ['video_critic_nats', 'video_generator_nats', 'video_penalty']
    """
    functions = mocogan_functions(config)
    networks = dict(zip(("image", "video"), mocogan_critics(config.model), strict=True))
    optimiser = make_optimiser(config.optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)
    critic_optimiser = make_optimiser(config.critic_optimiser, steps_per_epoch=steps_per_epoch, num_steps=num_steps)

    def logits(name: str, critics: Any, examples: jax.Array) -> jax.Array:
        return networks[name].apply({"params": critics[name]}, examples)  # type: ignore[return-value]

    def init(key: jax.Array, batch: Batch) -> MocoganState:
        generator_key, image_key, video_key, noise_key = jax.random.split(key, 4)
        params = functions.init(generator_key)
        clips = functions.to_model_range(batch["frames"][:1])
        critics = {
            "image": networks["image"].init(image_key, clips[:, 0])["params"],
            "video": networks["video"].init(video_key, clips)["params"],
        }
        return MocoganState(
            params, critics, optimiser.init(params), critic_optimiser.init(critics), noise_key, jnp.int32(0)
        )

    def step(state: MocoganState, batch: Batch) -> tuple[MocoganState, Metrics]:
        frames = batch["frames"]
        window = min(config.window, frames.shape[1])
        keys = example_keys(state.key, state.step, batch["index"])
        prior_keys, window_keys, frame_keys, real_keys, fake_keys = jnp.moveaxis(
            jax.vmap(lambda key: jax.random.split(key, 5))(keys), 1, 0
        )

        def views(clips: jax.Array, noise_keys: jax.Array) -> dict[str, jax.Array]:
            if config.critic_noise:
                noise = jax.vmap(lambda key: jax.random.normal(key, clips.shape[1:]))(noise_keys)
                clips = clips + config.critic_noise * noise
            return {"image": _random_windows(clips, frame_keys, 1)[:, 0], "video": clips}

        real = views(functions.to_model_range(_random_windows(frames, window_keys, window)), real_keys)
        latents = jax.vmap(lambda key: mocogan_prior(config.model, key, window))(prior_keys)

        def generator_loss(params: Any) -> tuple[jax.Array, Any]:
            # Non-saturating: the generator maximises log D of its clips.
            codes = functions.codes(params, latents)
            clips = functions.decode(params, codes)
            fake = views(clips, fake_keys)
            entropies = {name: -jax.nn.log_sigmoid(logits(name, state.critics, x)) for name, x in fake.items()}
            found = functions.infer(params, jax.lax.stop_gradient(clips), keys)
            errors = {
                name: jnp.square(a - jax.lax.stop_gradient(b)).reshape(len(a), -1).mean(1)
                for name, a, b in zip(MocoganCodes._fields, found, codes, strict=True)
            }
            total = sum(term.mean() for term in (*entropies.values(), *errors.values()))
            return total, (entropies, errors, fake)  # type: ignore[return-value]

        gradients, (entropies, errors, fake) = jax.grad(generator_loss, has_aux=True)(state.params)

        def critic_loss(critics: Any) -> tuple[jax.Array, Any]:
            terms = {name: critic_terms(partial(logits, name, critics), real[name], fake[name]) for name in networks}
            totals = [entropy + config.penalty_weight / 2 * penalty for entropy, penalty in terms.values()]
            return jnp.stack(totals).sum(axis=0).mean(), terms

        critic_gradients, terms = jax.grad(critic_loss, has_aux=True)(state.critics)
        params, opt_state = apply_gradients(optimiser, gradients, state.opt_state, state.params, axis_name=axis_name)
        critics, critic_opt_state = apply_gradients(
            critic_optimiser, critic_gradients, state.critic_opt_state, state.critics, axis_name=axis_name
        )
        state = state.replace(
            params=params,
            critics=critics,
            opt_state=opt_state,
            critic_opt_state=critic_opt_state,
            step=state.step + 1,
        )
        return state, {**_metrics(entropies, terms), **{f"{name}_error": Average.of(e) for name, e in errors.items()}}

    return Learner(init, step, reconstruction_evaluation(functions, "frames"))


def _metrics(entropies: dict[str, jax.Array], terms: dict[str, tuple[jax.Array, jax.Array]]) -> Metrics:
    """The metrics of a step, from the generator's cross-entropies and the critics' with their penalties, by critic."""
    metrics = {f"{name}_generator_nats": Average.of(entropy) for name, entropy in entropies.items()}
    for name, (cross_entropy, penalty) in terms.items():
        metrics[f"{name}_critic_nats"] = Average.of(cross_entropy)
        metrics[f"{name}_penalty"] = Average.of(penalty)
    return metrics


def _random_windows(clips: jax.Array, keys: jax.Array, length: int) -> jax.Array:
    """So many consecutive frames of each clip, [batch, length, ...], from a random one on."""

    def window(clip: jax.Array, key: jax.Array) -> jax.Array:
        start = jax.random.randint(key, (), 0, len(clip) - length + 1)
        return jax.lax.dynamic_slice_in_dim(clip, start, length)

    return jax.vmap(window)(clips, keys)


def mocogan_prior(config: MocoganConfig, key: jax.Array, num_frames: int) -> MocoganLatents:
    """What is drawn for one clip, from N(0, I)."""
    content_key, start_key, noise_key = jax.random.split(key, 3)
    return MocoganLatents(
        jax.random.normal(content_key, (config.content_latents,)),
        jax.random.normal(start_key, (config.motion_latents,)),
        jax.random.normal(noise_key, (num_frames, config.motion_noise)),
    )
