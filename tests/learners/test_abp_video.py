"""The learner of clips: Algorithm 2 on 16 x 16 pixels, four frames and a handful of filters."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.learners import (
    ABP_VIDEO_STATE_AXES,
    AbpVideoConfig,
    LangevinConfig,
    OptimiserConfig,
    abp_video_functions,
    abp_video_learner,
)
from facedis_jax.learners.abp_video import VIDEO_LANGEVIN, VIDEO_OPTIMISER
from facedis_jax.learners.generator_functions import clip_prior, reconstruction_evaluation
from facedis_jax.models import DynamicConfig, DynamicGenerator, DynamicLatents, Trajectory
from facedis_jax.training import data_parallel
from facedis_jax.training.checkpoints import Checkpoints

FRAMES, CLIPS, BATCH = 4, 12, 4
EPSILON = 1e-5
CONFIG = AbpVideoConfig(
    model=DynamicConfig(
        size=16,
        appearance_latents=3,
        geometry_latents=2,
        appearance_noise=1,
        geometry_noise=2,
        transition_hidden=4,
        appearance_filters=8,
        geometry_filters=8,
    ),
    langevin=LangevinConfig(num_steps=2, step_size=0.05, inference_steps=3),
    sigma=0.5,
    optimiser=OptimiserConfig(learning_rate=1e-2, weight_decay=0.0, schedule="steps", beta_1=0.5),
)
# Where the four leaves of a clip's latents lie, side by side.
WIDTHS = (3, 3 * 1, 2, 3 * 2)
PARTS = (slice(0, 6), slice(6, 14))


def make(config=CONFIG, **settings):
    return abp_video_learner(config, **{"num_clips": CLIPS, "steps_per_epoch": 3, "num_steps": 100, **settings})


def make_clips(index, frames=FRAMES):
    """Clips [clips, frames, 16, 16, 3] uint8 of coloured discs that glide, each at its own pace."""
    y, x = np.mgrid[:16, :16]
    clips = []
    for i in index:
        rng = np.random.default_rng(i)
        place, pace, colour = rng.uniform(5, 10, 2), rng.normal(size=2), rng.uniform(0.2, 1, 3)
        for t in range(frames):
            row, column = place + t * pace
            clips.append(np.exp(-((x - column) ** 2 + (y - row) ** 2) / 9)[..., None] * colour)
    return np.round(255 * np.stack(clips)).astype(np.uint8).reshape(len(index), frames, 16, 16, 3)


def make_batch(index, frames=FRAMES):
    index = np.asarray(index, np.int32)
    return {"frames": make_clips(index, frames), "index": index, "mask": np.ones(len(index), np.float32)}


def rows(latents, index=range(3840)):
    """The latents of some clips, their four leaves side by side, float64."""
    return np.concatenate([np.float64(z)[index].reshape(len(index), -1) for z in jax.tree.leaves(latents)], axis=1)


def split(codes):
    parts = np.split(codes, np.cumsum(WIDTHS)[:-1], axis=1)
    return DynamicLatents(
        Trajectory(parts[0], parts[1].reshape(-1, 3, 1)), Trajectory(parts[2], parts[3].reshape(-1, 3, 2))
    )


@partial(jax.jit, static_argnums=0)
def _decode(config, params, latents):
    return DynamicGenerator(config).apply({"params": params}, latents)


def decode(params, codes):
    """Clips in float64 from rows of latents."""
    with jax.enable_x64(True):
        clips = _decode(CONFIG.model, *jax.tree.map(np.float64, (jax.device_get(params), split(codes))))
        assert clips.dtype == np.float64
        return np.asarray(clips)


def energies(params, clips, codes):
    """Minus Eq. 17 in float64, one value per clip; frames in [-1, 1]."""
    residual = clips / 127.5 - 1 - decode(params, codes)
    return np.square(residual).sum(axis=(1, 2, 3, 4)) / (2 * 0.5**2) + np.square(codes).sum(axis=1) / 2


@pytest.fixture(scope="module")
def video(small):
    """A first state with normal weights, and the compiled step."""
    learner = make()
    shapes = jax.eval_shape(learner.init, jax.random.key(0), make_batch([0]))
    rng = np.random.default_rng(2)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(scale=fan_in**-0.5, size=leaf.shape).astype(np.float32)

    params = jax.tree.map(draw, shapes.params)
    # The networks scale their weights at run time.
    for name in ("appearance_network", "geometry_network"):
        params[name] = jax.tree.map(lambda x: 6 * x if x.ndim > 1 else x, params[name])
    state = shapes.replace(
        params=jax.tree.map(jnp.asarray, params),
        opt_state=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.opt_state),
        chains=jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes.chains),
        key=jax.random.key(1),
        step=jnp.int32(0),
    )
    return SimpleNamespace(state=state, step=jax.jit(learner.step))


INDEX = np.array([7, 3, 11, 0])


@pytest.fixture(scope="module")
def stepped(video):
    return video.step(video.state, make_batch(INDEX))


def test_chains_begin_as_far_apart_as_asked():
    def first(initial_std):
        langevin = replace(CONFIG.langevin, initial_std=initial_std)
        init = make(replace(CONFIG, langevin=langevin)).init
        # Nothing but the chains is compiled.
        return jax.jit(lambda: init(jax.random.key(0), make_batch([0])).chains)()

    jax.tree.map(lambda near, far: np.testing.assert_array_equal(near, far / 4), first(0.25), first(1.0))


def test_chains_of_clips_outside_the_batch_do_not_move(video, stepped):
    moved = (rows(stepped[0].chains) != rows(video.state.chains)).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), np.sort(INDEX))


def test_first_chains_are_from_the_prior_and_as_long_as_the_clips():
    keys = jax.random.split(jax.random.key(0), 3840)
    codes = rows(jax.jit(jax.vmap(lambda key: clip_prior(CONFIG.model, key, FRAMES)))(keys))
    assert abs(codes.mean()) < 0.05
    np.testing.assert_allclose(np.cov(codes.T), np.eye(14), atol=0.2)
    chains = jax.eval_shape(make().init, keys[0], make_batch([0], frames=9)).chains
    assert [z.shape for z in jax.tree.leaves(chains)] == [(3840, 3), (3840, 8, 1), (3840, 2), (3840, 8, 2)]


def test_a_longer_clip_from_the_prior_goes_on_where_the_shorter_ends():
    short, long = (clip_prior(CONFIG.model, jax.random.key(0), frames) for frames in (3, 6))
    for one, other in zip(short, long, strict=True):
        np.testing.assert_array_equal(one.first, other.first)
        np.testing.assert_array_equal(one.noise, other.noise[:2])


def test_a_step_moves_the_chains_by_equation_16_in_turn(video, stepped):
    """Two sweeps in float64 with central differences for gradients, and the noise of the clip's index."""
    found = rows(stepped[0].chains, INDEX)
    for place in (0, 2):
        clip = make_clips(INDEX[[place]])
        key = jax.random.fold_in(jax.random.fold_in(video.state.key, 0), INDEX[place])
        z = rows(video.state.chains, INDEX[[place]])[0]
        for sweep in range(2):
            for part, which in enumerate(PARTS):
                nearby = np.concatenate([z + EPSILON * np.eye(14), z - EPSILON * np.eye(14)])
                around = energies(video.state.params, clip, nearby)
                gradient = (around[14:] - around[:14]) / (2 * EPSILON)
                noise_key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, sweep), part), 0)
                leaves = split(z[None])[part]
                keys = jax.random.split(noise_key, 2)
                noise = [jax.random.normal(k, x.shape[1:]).ravel() for k, x in zip(keys, leaves, strict=True)]
                z[which] += 0.05**2 / 2 * gradient[which] + 0.05 * np.concatenate(noise).astype(np.float64)
        np.testing.assert_allclose(found[place], z, rtol=1e-4, atol=1e-4)


def test_the_weights_gradient_is_equation_19s_mean_over_the_batch_at_the_new_latents(small, video, stepped):
    after, _ = stepped
    # Adam's first moment is half of its first gradient.
    gradient = jax.tree.map(lambda x: np.float64(x) / 0.5, optax.tree_utils.tree_get(after.opt_state, "mu"))
    codes, clips = rows(after.chains, INDEX), make_clips(INDEX)
    params = jax.tree.map(np.float64, jax.device_get(video.state.params))
    directions = small.directions(params)
    assert len(directions) == 4
    expected = small.derivatives(lambda params: energies(params, clips, codes).mean(), params, directions)
    for direction, value in zip(directions, expected, strict=True):
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
        assert abs(value) > 1e-2
        np.testing.assert_allclose(found, value, rtol=1e-3)


@pytest.mark.thorough
def test_the_geometrys_weights_begin_to_move_later_if_so_asked(video):
    learner = make(replace(CONFIG, optimiser=replace(CONFIG.optimiser, geometry_warmup=10)))
    batch = make_batch(INDEX)
    start = jax.jit(learner.init)(jax.random.key(0), batch)
    after, _ = jax.jit(learner.step)(start.replace(params=video.state.params), batch)
    for name, before in video.state.params.items():
        same = jax.tree.leaves(jax.tree.map(np.array_equal, before, after.params[name]))
        assert all(same) if name.startswith("geometry") else not any(same), name


def test_metrics_are_per_frame_and_per_clip_of_the_new_latents_and_the_old_weights(video, stepped):
    state, metrics = stepped
    codes, clips = rows(state.chains, INDEX), make_clips(INDEX)
    errors = np.square(clips / 255 - (decode(video.state.params, codes) + 1) / 2).sum(axis=(2, 3, 4))
    assert metrics["energy_nats"].count == metrics["squared_error"].count == BATCH
    np.testing.assert_allclose(metrics["squared_error"].compute(), errors.mean(), rtol=1e-4)
    expected = energies(video.state.params, clips, codes).mean()
    np.testing.assert_allclose(metrics["energy_nats"].compute(), expected, rtol=1e-4)


def test_sampled_latents_do_not_depend_on_the_batch(video, stepped):
    again, _ = video.step(video.state, make_batch([5, INDEX[2], 9, INDEX[0]]))
    for index in (INDEX[0], INDEX[2]):
        np.testing.assert_allclose(*(rows(s.chains, [index]) for s in (again, stepped[0])), rtol=1e-5, atol=1e-5)


def test_clips_are_learned_and_nothing_is_compiled_twice(video):
    state, _ = video.step(video.state, make_batch(INDEX))
    programs, errors = video.step._cache_size(), []
    order = np.random.default_rng(0)
    for _ in range(15):
        for index in order.permutation(CLIPS).reshape(3, BATCH):
            state, metrics = video.step(state, make_batch(index))
            errors.append(metrics["squared_error"].compute())
    assert video.step._cache_size() == programs
    assert int(state.step) == 46
    assert np.mean(errors[-6:]) < 0.6 * np.mean(errors[:6])


def test_neither_devices_nor_frames_at_once_change_what_is_learned(video, stepped):
    config = replace(CONFIG, model=replace(CONFIG.model, frames_at_once=3))
    step = data_parallel(
        make(config, axis_name="devices").step,
        devices=jax.devices()[:4],
        method="shard_map",
        state_axes=ABP_VIDEO_STATE_AXES,
    )
    found, metrics = step(step.place_state(video.state), make_batch(INDEX))
    expected, expected_metrics = stepped
    close(found.chains, expected.chains)
    close(*(optax.tree_utils.tree_get(state.opt_state, "mu") for state in (found, expected)), rtol=1e-3, atol=1e-3)
    close(metrics, expected_metrics)
    assert {shard.data.shape for shard in found.chains.geometry.noise.addressable_shards} == {(960, 3, 2)}


def test_checkpoints_hold_the_whole_state(stepped, tmp_path):
    state, _ = stepped
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(abstract).state
    assert jax.random.key_data(restored.key).tolist() == jax.random.key_data(state.key).tolist()
    jax.tree.map(np.testing.assert_array_equal, *(each.replace(key=None) for each in (restored, state)))


def test_unseen_clips_are_inferred_from_the_prior_whatever_their_length(video):
    config = replace(CONFIG, langevin=replace(CONFIG.langevin, inference_steps=40))
    functions, params = abp_video_functions(config), video.state.params
    clips, keys = make_clips([20, 21], frames=6) / np.float32(127.5) - 1, jax.random.split(jax.random.key(0), 2)
    latents = jax.jit(functions.infer)(params, clips, keys)
    start = jax.vmap(lambda key: clip_prior(CONFIG.model, jax.random.split(key)[0], 6))(keys)
    assert jax.tree.map(jnp.shape, latents) == jax.tree.map(jnp.shape, start)
    decoded = jax.jit(functions.decode)
    before, after = (functions.squared_error(clips, decoded(params, z)) for z in (start, latents))
    assert (after < before).all()


def test_inference_goes_on_from_latents_that_are_given(video):
    """Twenty steps from where twenty ended lower the error further; no step leaves what was given."""
    functions, params = abp_video_functions(CONFIG), video.state.params
    clips, keys = make_clips([20, 21], frames=4) / np.float32(127.5) - 1, jax.random.split(jax.random.key(0), 2)
    start = jax.vmap(lambda key: clip_prior(CONFIG.model, key, 4))(jax.random.split(jax.random.key(7), 2))

    def inference(steps):
        config = replace(CONFIG, langevin=replace(CONFIG.langevin, inference_steps=steps))
        return jax.jit(abp_video_functions(config).infer)

    jax.tree.map(np.testing.assert_array_equal, inference(0)(params, clips, keys, start=start), start)
    infer, decoded = inference(20), jax.jit(functions.decode)
    middle = infer(params, clips, keys, start=start)
    latents = (start, middle, infer(params, clips, keys, start=middle))
    errors = [functions.squared_error(clips, decoded(params, z)) for z in latents]
    assert (np.diff(errors, axis=0) < 0).all()


def test_evaluation_is_of_clips_that_are_inferred(video):
    functions = abp_video_functions(CONFIG)
    latents, batch = jax.tree.map(lambda x: x[:3], video.state.chains), make_batch([20, 21, 22])
    batch["mask"][1] = 0

    def infer(params, clips, keys, appearance):
        assert clips.shape == (3, FRAMES, 16, 16, 3)
        assert (clips.min(), len(keys), appearance) == (-1, 3, None)
        return latents

    found = reconstruction_evaluation(replace(functions, infer=infer), "frames")(video.state, batch)["squared_error"]
    predictions = (decode(video.state.params, rows(latents, range(3))) + 1) / 2
    errors = np.square(batch["frames"] / 255 - predictions).sum(axis=(2, 3, 4)).mean(axis=1)
    assert found.count == 2
    np.testing.assert_allclose(found.sum, errors[0] + errors[2], rtol=1e-4)


def test_functions_agree_with_each_other(video):
    functions = abp_video_functions(CONFIG)
    latents = jax.tree.map(lambda x: x[:2], video.state.chains)
    params = video.state.params
    codes, states = jax.jit(functions.codes)(params, latents), jax.jit(functions.states)(params, latents)
    np.testing.assert_allclose(codes.geometry, latents.geometry.first[:, None] + states.geometry, rtol=1e-5)
    clips = decode(params, rows(latents, range(2)))
    np.testing.assert_allclose(jax.jit(functions.frames)(params, codes), clips, rtol=1e-3, atol=1e-4)
    assert jax.eval_shape(functions.canonical, params, codes.appearance).shape == (2, FRAMES, 16, 16, 3)
    assert jax.eval_shape(functions.flow, params, codes.geometry).shape == (2, FRAMES, 16, 16, 2)


def test_defaults_are_those_of_the_nearest_public_code():
    assert (VIDEO_LANGEVIN.scheme, VIDEO_LANGEVIN.num_steps, VIDEO_LANGEVIN.step_size) == ("alternating", 15, 0.03)
    assert (VIDEO_OPTIMISER.name, VIDEO_OPTIMISER.learning_rate, VIDEO_OPTIMISER.beta_1) == ("adam", 2e-3, 0.5)
    assert (AbpVideoConfig().sigma, AbpVideoConfig().model) == (1.0, DynamicConfig())


def close(found, expected, rtol=1e-4, atol=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found, expected)
