import jax
import numpy as np
import pytest

from facedis_jax.inference.codecs import frame_codec, video_codec
from facedis_jax.learners import AbpVideoConfig, LangevinConfig, abp_video_functions
from facedis_jax.models import DynamicConfig, DynamicLatents, Latents

MODEL = DynamicConfig(
    size=16, appearance_latents=4, geometry_latents=3, appearance_filters=8, geometry_filters=8, output="tanh"
)
FUNCTIONS = abp_video_functions(AbpVideoConfig(model=MODEL, langevin=LangevinConfig(inference_steps=1)))
COUNT, FRAMES = 12, 3  # more than are computed at once


@pytest.fixture(scope="module")
def params():
    return jax.jit(FUNCTIONS.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def codec(params):
    return video_codec(FUNCTIONS, params)


@pytest.fixture(scope="module")
def latents(codec):
    return codec.prior(COUNT, FRAMES)


def test_many_clips_are_decoded_as_by_the_generator_in_one_call_and_shown_in_0_to_1(params, codec, latents):
    clips = codec.decode(latents)
    assert clips.shape == (COUNT, FRAMES, 16, 16, 3)
    np.testing.assert_allclose(2 * clips - 1, jax.jit(FUNCTIONS.decode)(params, latents), atol=1e-5)
    codes = codec.codes(latents)
    np.testing.assert_allclose(codec.frames(codes), clips, atol=1e-5)
    np.testing.assert_allclose(codec.flow(codes.geometry), jax.jit(FUNCTIONS.flow)(params, codes.geometry), atol=1e-5)
    assert (codec.appearance_latents, codec.geometry_latents) == (4, 3)


def test_new_clips_differ_and_longer_ones_go_on(codec, latents):
    longer = codec.decode(codec.prior(COUNT, 2 * FRAMES))
    assert longer.shape[1] == 2 * FRAMES
    np.testing.assert_allclose(longer[:, :FRAMES], codec.decode(latents), atol=1e-5)
    assert len(np.unique(latents.appearance.first.round(4), axis=0)) == COUNT


def test_a_frames_codes_make_that_frame(codec, latents):
    codes, clips = codec.codes(latents), codec.decode(latents)
    frames = frame_codec(codec)
    second = Latents(*(z[:, 1] for z in codes))
    np.testing.assert_allclose(frames.decode(second), clips[:, 1], atol=1e-5)
    np.testing.assert_allclose(frames.flow(second.geometry), codec.flow(codes.geometry)[:, 1], atol=1e-5)


def test_inferred_latents_depend_on_the_seed_and_the_place(params, codec):
    clips = np.repeat(np.random.default_rng(0).integers(256, size=(1, FRAMES, 16, 16, 3), dtype=np.uint8), COUNT, 0)
    found = codec.infer(clips)
    assert isinstance(found, DynamicLatents)
    assert found.geometry.noise.shape == (COUNT, FRAMES - 1, 10)
    assert len(np.unique(found.geometry.first.round(4), axis=0)) == COUNT
    same = codec.infer(clips / np.float32(255)).geometry.first
    np.testing.assert_allclose(same, found.geometry.first, atol=1e-5)
    other = video_codec(FUNCTIONS, params, seed=1).infer(clips)
    assert np.abs(other.geometry.first - found.geometry.first).max(axis=1).min() > 1e-3


def test_inference_goes_on_from_latents_of_each_clip(params, codec, latents):
    clips = np.random.default_rng(0).integers(256, size=(COUNT, FRAMES, 16, 16, 3), dtype=np.uint8)
    found, infer = codec.infer(clips, start=latents), jax.jit(FUNCTIONS.infer)
    for i in (0, COUNT - 1):
        start = jax.tree.map(lambda z, i=i: z[i : i + 1], latents)
        key = jax.random.fold_in(jax.random.split(jax.random.key(0))[0], i)
        expected = infer(params, FUNCTIONS.to_model_range(clips[i : i + 1]), key[None], start=start)
        np.testing.assert_allclose(found.geometry.first[i], expected.geometry.first[0], atol=1e-4)
