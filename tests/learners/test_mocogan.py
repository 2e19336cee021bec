"""A MoCoGAN of 8 x 8 pixels and a handful of filters."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.learners import (
    MocoganLearnerConfig,
    MocoganState,
    mocogan_functions,
    mocogan_learner,
)
from facedis_jax.learners.mocogan import mocogan_prior
from facedis_jax.models import ClipEncoder, MocoganConfig, MocoganGenerator, mocogan_critics
from facedis_jax.training import data_parallel

CONFIG = MocoganLearnerConfig(
    model=MocoganConfig(size=8, content_latents=3, motion_latents=3, motion_noise=2, filters=8, critic_filters=4),
    window=3,
    penalty_weight=3.0,
    critic_noise=0.2,
)
INDEX = np.array([5, 2, 9, 11], np.int32)
FRAMES = 5


def make(**settings):
    return mocogan_learner(CONFIG, **{"steps_per_epoch": 5, "num_steps": 100, **settings})


def make_batch(index=INDEX):
    clips = np.stack([np.random.default_rng(i).uniform(size=(FRAMES, 8, 8, 3)) for i in index])
    return {"frames": clips.astype(np.float32), "index": index, "mask": np.ones(len(index), np.float32)}


@pytest.fixture(scope="module")
def first():
    shapes = jax.eval_shape(make().init, jax.random.key(0), make_batch())
    rng = np.random.default_rng(2)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return jnp.asarray(rng.normal(scale=fan_in**-0.5, size=leaf.shape), jnp.float32)

    zeros = partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype))
    params, critics = jax.tree.map(draw, (shapes.params, shapes.critics))
    params["frame_network"] = jax.tree.map(lambda x: 3 * x, params["frame_network"])
    # A critic that is in no doubt has steep slopes and a cross-entropy that is not linear.
    critics = jax.tree.map(lambda x: 2 * x, critics)
    opt_states = zeros(shapes.opt_state), zeros(shapes.critic_opt_state)
    return MocoganState(params, critics, *opt_states, jax.random.key(1), jnp.int32(0))


@pytest.fixture(scope="module")
def stepped(first):
    return jax.jit(make().step)(first, make_batch())


@jax.jit
def views(key):
    """What a step draws for its clips: latents, the window's first frame, the frame that is judged, noise of both."""
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 0), i), 5))(INDEX)
    latents = jax.vmap(lambda key: mocogan_prior(CONFIG.model, key, 3))(keys[:, 0])
    starts = jax.vmap(lambda key: jax.random.randint(key, (), 0, FRAMES - 3 + 1))(keys[:, 1])
    frames = jax.vmap(lambda key: jax.random.randint(key, (), 0, 3))(keys[:, 2])
    noise = [jax.vmap(lambda key: 0.2 * jax.random.normal(key, (3, 8, 8, 3)))(keys[:, i]) for i in (3, 4)]
    return latents, starts, frames, noise


@jax.jit
def _generate(params, latents):
    return MocoganGenerator(CONFIG.model).apply({"params": params}, latents)


@jax.jit
def _judge(critics, images, clips):
    image, video = mocogan_critics(CONFIG.model)
    return image.apply({"params": critics["image"]}, images), video.apply({"params": critics["video"]}, clips)


def in_float64(function, *arguments):
    with jax.enable_x64(True):
        results = function(*jax.tree.map(np.float64, jax.device_get(arguments)))
        assert all(x.dtype == np.float64 for x in jax.tree.leaves(results))
        return jax.device_get(results)


def judge(critics, clips, frames):
    return in_float64(_judge, critics, clips[np.arange(4), frames], clips)


def softplus(x):
    return np.logaddexp(0, x)


def real_and_fake(state, params):
    latents, starts, frames, noise = jax.device_get(views(state.key))
    real = np.stack([clip[s : s + 3] for clip, s in zip(make_batch()["frames"], starts, strict=True)])
    return 2 * np.float64(real) - 1 + noise[0], in_float64(_generate, params, latents) + noise[1], frames


@jax.jit
def _encode(params, clips):
    return ClipEncoder(CONFIG.model).apply({"params": params}, clips)


@jax.jit
def _codes(params, latents):
    return MocoganGenerator(CONFIG.model).apply({"params": params}, latents, method="codes")


def encoder_errors(state, params):
    """Mean squared errors of the codes that the encoder finds in the clips of the state's own generator."""
    latents = jax.device_get(views(state.key))[0]
    clips, true = (in_float64(make, state.params, latents) for make in (_generate, _codes))
    found = in_float64(_encode, params["encoder"], clips)
    return {name: np.square(getattr(found, name) - getattr(true, name)).mean() for name in found._fields}


def test_metrics_are_the_terms_of_the_losses(first, stepped):
    _, metrics = stepped
    real, fake, frames = real_and_fake(first, first.params)
    of_real, of_fake = judge(first.critics, real, frames), judge(first.critics, fake, frames)
    for name, on_real, on_fake in zip(("image", "video"), of_real, of_fake, strict=True):
        terms = {"generator_nats": softplus(-on_fake), "critic_nats": softplus(-on_real) + softplus(on_fake)}
        for term, values in terms.items():
            assert metrics[f"{name}_{term}"].count == 4
            np.testing.assert_allclose(metrics[f"{name}_{term}"].compute(), values.mean(), rtol=1e-4)
    of_encoder = encoder_errors(first, first.params)
    for name in ("content", "motion"):
        np.testing.assert_allclose(metrics[f"{name}_error"].compute(), of_encoder[name], rtol=1e-4)
    assert len(metrics) == 8


def directional(loss, params, step=1e-6, seed=0):
    """Central differences along one random direction for each part of the parameters, and these directions."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(np.float64, jax.device_get(params))
    for name in params:
        direction = {
            other: jax.tree.map(lambda x, on=other == name: rng.normal(size=x.shape) * on, tree)
            for other, tree in params.items()
        }
        ends = [loss(jax.tree.map(lambda x, d, s=sign: x + s * step * d, params, direction)) for sign in (1, -1)]
        yield direction, (ends[0] - ends[1]) / (2 * step)


def agree(loss, params, opt_state):
    """Adam's first moment, half of its first gradient, against central differences in float64."""
    gradient = optax.tree_utils.tree_get(opt_state, "mu")
    for direction, expected in directional(loss, params):
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction))) / 0.5
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_generator_follows_both_critics_and_the_encoder_the_generator(first, stepped):
    def loss(params):
        _, fake, frames = real_and_fake(first, params)
        of_critics = sum(softplus(-logits).mean() for logits in judge(first.critics, fake, frames))
        return of_critics + sum(encoder_errors(first, params).values())

    agree(loss, first.params, stepped[0].opt_state)


@jax.jit
def _penalties(critics, images, clips):
    image, video = mocogan_critics(CONFIG.model)
    slopes = (
        jax.grad(lambda x: image.apply({"params": critics["image"]}, x).sum())(images),
        jax.grad(lambda x: video.apply({"params": critics["video"]}, x).sum())(clips),
    )
    return tuple(jnp.sum(jnp.square(s), axis=range(1, s.ndim)) for s in slopes)


def test_the_critics_follow_their_cross_entropies_and_r1s_penalties(first, stepped):
    real, fake, frames = real_and_fake(first, first.params)

    def loss(critics):
        of_real, of_fake = judge(critics, real, frames), judge(critics, fake, frames)
        penalties = in_float64(_penalties, critics, real[np.arange(4), frames], real)
        entropies = [softplus(-r) + softplus(f) for r, f in zip(of_real, of_fake, strict=True)]
        return sum((e + 3.0 / 2 * p).mean() for e, p in zip(entropies, penalties, strict=True))

    agree(loss, first.critics, stepped[0].critic_opt_state)
    for name, penalty in zip(
        ("image", "video"), in_float64(_penalties, first.critics, real[np.arange(4), frames], real), strict=True
    ):
        np.testing.assert_allclose(stepped[1][f"{name}_penalty"].compute(), penalty.mean(), rtol=1e-4)


def test_devices_do_not_change_what_is_learned(first, stepped):
    step = data_parallel(make(axis_name="devices").step, devices=jax.devices()[:4], method="shard_map")
    found, metrics = step(step.place_state(first), make_batch())
    expected, expected_metrics = stepped
    for name in ("opt_state", "critic_opt_state"):
        close(*(optax.tree_utils.tree_get(getattr(s, name), "mu") for s in (found, expected)))
    close(metrics, expected_metrics)
    assert int(found.step) == 1


def test_the_encoder_learns_the_codes_of_the_generators_clips(first):
    functions = mocogan_functions(CONFIG)
    keys = jax.random.split(jax.random.key(7), 64)
    true = jax.vmap(lambda key: mocogan_prior(CONFIG.model, key, FRAMES))(keys)
    codes = jax.jit(functions.codes)(first.params, true)
    clips = jax.jit(functions.decode)(first.params, codes)

    optimiser = optax.adam(1e-2)

    @jax.jit
    def descend(encoder, state):
        def error(encoder):
            found = functions.infer({"encoder": encoder}, clips, keys)
            return jnp.square(found.motion - codes.motion).mean() + jnp.square(found.content - codes.content).mean()

        updates, state = optimiser.update(jax.grad(error)(encoder), state)
        return optax.apply_updates(encoder, updates), state, error(encoder)

    encoder, errors = jax.jit(functions.init)(jax.random.key(0))["encoder"], []
    state = optimiser.init(encoder)
    for _ in range(60):
        encoder, state, error = descend(encoder, state)
        errors.append(float(error))
    assert errors[-1] < 0.7 * errors[0]
    found = jax.jit(functions.infer)({"encoder": encoder}, clips, keys)
    assert found.motion.shape == (64, FRAMES, 3)


def test_pixels_are_read_and_compared_as_those_of_clips():
    functions = mocogan_functions(replace(CONFIG, model=replace(CONFIG.model, output="sigmoid")))
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3)).astype(np.uint8)
    pixels = functions.to_model_range(jnp.asarray(clips))
    np.testing.assert_allclose(functions.to_unit_range(pixels), clips / 255, atol=1e-6)
    expected = np.square(np.diff(clips / 255, axis=0)[0]).sum(axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(functions.squared_error(pixels[:1], pixels[1:]), [expected], rtol=1e-5)


def close(found, expected):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected)
