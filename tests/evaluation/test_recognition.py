import jax
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from facedis_jax.evaluation.recognition import (
    accuracy_of,
    as_sequences,
    chance,
    confusions,
    geometric_features,
    margin,
    motion_of,
    optical_flow_features,
)
from facedis_jax.inference.codecs import mocogan_codes, video_codec
from facedis_jax.learners import (
    AbpVideoConfig,
    FoldResults,
    MocoganLearnerConfig,
    abp_video_functions,
    mocogan_functions,
)
from facedis_jax.models import DynamicConfig, MocoganConfig

COUNT, FRAMES, SIZE = 12, 3, 16  # more clips than are computed at once


def results(accuracy):
    return FoldResults(np.asarray(accuracy, float), np.zeros(0, int), np.zeros((0, 2)))


def test_features_are_the_codes_of_frames_and_the_fields_that_they_make():
    config = DynamicConfig(
        size=SIZE, appearance_latents=4, geometry_latents=3, appearance_filters=8, geometry_filters=8
    )
    functions = abp_video_functions(AbpVideoConfig(model=config))
    params = jax.jit(functions.init)(jax.random.key(0))
    codec = video_codec(functions, params)
    latents = codec.prior(COUNT, FRAMES)
    features = geometric_features(codec, latents)
    states = jax.jit(functions.states)(params, latents).geometry
    np.testing.assert_allclose(motion_of(features["dglf"], "relative"), states, atol=1e-6)
    np.testing.assert_allclose(
        features["dglf"] - states, np.repeat(latents.geometry.first[:, None], FRAMES, 1), atol=1e-6
    )
    fields = jax.jit(functions.flow)(params, features["dglf"])
    assert features["ddf"].shape == (COUNT, FRAMES, SIZE * SIZE * 2)
    np.testing.assert_allclose(features["ddf"].reshape(fields.shape), fields, atol=1e-5)


def test_motion_leaves_out_what_a_clip_begins_with():
    sequences = np.random.default_rng(0).normal(size=(2, FRAMES, 4))
    still = np.random.default_rng(1).normal(size=(2, 1, 4))
    np.testing.assert_allclose(motion_of(sequences + still, "relative"), motion_of(sequences, "relative"))
    np.testing.assert_array_equal(motion_of(sequences, "absolute"), sequences)
    assert not motion_of(sequences, "relative")[:, 0].any()


def test_optical_flow_goes_from_the_first_frame():
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    middles = 7.0 + np.arange(FRAMES)
    frames = np.exp(-((x - middles[:, None, None]) ** 2 + (y - 8) ** 2) / 20)
    clips = np.uint8(255 * frames)[None, ..., None]
    found = optical_flow_features(clips).reshape(FRAMES, SIZE, SIZE, 2)
    np.testing.assert_array_equal(found[0], 0)
    # What is seen at the middle of a later frame stood farther to the left.
    at_middle = found[np.arange(FRAMES), 8, middles.astype(int)]
    np.testing.assert_allclose(at_middle, np.c_[7 - middles, np.zeros(FRAMES)], atol=0.1)


def test_pixels_are_read_in_0_to_1():
    clips = np.random.default_rng(0).integers(256, size=(2, FRAMES, 8, 8, 3), dtype=np.uint8)
    sequences = as_sequences(clips)
    assert sequences.shape == (2, FRAMES, 192)
    np.testing.assert_allclose(sequences[1, 2], clips[1, 2].ravel() / 255, rtol=1e-6)


def test_motion_codes_of_many_clips_are_those_that_their_pictures_are_made_of():
    config = MocoganLearnerConfig(
        model=MocoganConfig(
            size=SIZE, content_latents=4, motion_latents=3, motion_noise=2, filters=8, output="sigmoid"
        ),
    )
    functions = mocogan_functions(config)
    params = jax.jit(functions.init)(jax.random.key(0))
    clips = np.random.default_rng(0).integers(256, size=(COUNT, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    found = mocogan_codes(functions, params, seed=3)(clips)
    assert found.motion.shape == (COUNT, FRAMES, 3)
    assert found.predictions.shape == clips.shape
    codes = jax.jit(functions.infer)(params, clips / np.float32(255), jax.random.split(jax.random.key(3), COUNT))
    np.testing.assert_allclose(found.motion, codes.motion, atol=1e-4)
    np.testing.assert_allclose(found.predictions, jax.jit(functions.decode)(params, codes), atol=1e-4)


def test_accuracies_and_margins_are_over_folds():
    one, other = results([0.9, 0.7, 0.8]), results([0.6, 0.6, 0.6])
    entry = accuracy_of(one)
    assert entry["folds"] == [0.9, 0.7, 0.8]
    assert entry["mean"] == pytest.approx(0.8)
    assert entry["std"] == pytest.approx(np.sqrt(0.02 / 3))
    assert margin(one, other) == pytest.approx({"mean": 0.2, "std": np.sqrt(0.02 / 3), "median": 0.2})


def test_confusions_count_truths_by_rows():
    labels, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2])
    counts = confusions(predictions, labels, 4)
    np.testing.assert_array_equal(counts, [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]])
    assert np.trace(counts) / counts.sum() == accuracy_score(labels, predictions)
    assert chance(labels) == 0.5
