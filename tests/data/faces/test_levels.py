import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from facedis_jax.data.faces.levels import NeutralMeans, sequence_levels, subject_neutrals
from facedis_jax.errors import InputError


def test_levels_are_distances_to_the_first_frame_over_their_maximum():
    first = np.random.default_rng(0).normal(size=(7, 3))
    shift = np.array([3.0, 0.0, 4.0])
    frames = np.stack([first, first + 0.2 * shift, first + shift, first - 0.5 * shift])
    np.testing.assert_allclose(sequence_levels(frames), [0, 0.2, 1, 0.5], atol=1e-6)


def test_a_flat_sequence_has_level_zero():
    np.testing.assert_array_equal(sequence_levels(np.ones((4, 5, 3))), np.zeros(4))


def test_sequences_are_kept_apart():
    rng = np.random.default_rng(1)
    frames, sequence = rng.normal(size=(9, 4, 3)), np.array([5, 2, 5, 2, 2, 5, 9, 9, 5])
    levels = sequence_levels(frames, sequence)
    for name in (2, 5, 9):
        np.testing.assert_array_equal(levels[sequence == name], sequence_levels(frames[sequence == name]))


@given(hnp.arrays(np.float64, (5, 3, 3), elements=st.floats(-100, 100, width=32)), st.floats(0.1, 1000))
def test_levels_do_not_depend_on_unit_or_place(frames, scale):
    levels = sequence_levels(frames)
    assert levels[0] == 0
    assert levels.max() in (0, 1)
    if np.ptp(frames, axis=0).max() > 0.01:
        np.testing.assert_allclose(sequence_levels(frames * scale + 7), levels, atol=1e-5)


def test_neutrals_are_means_of_frames_up_to_one_percent():
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(6, 4, 3)).astype(np.float32)
    subject, levels = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0.02, 0.01, 0, 1, 0.005], np.float32)
    expected = np.stack([frames[[0, 5]].astype(np.float64).mean(0), frames[[2, 3]].astype(np.float64).mean(0)])
    neutrals = subject_neutrals(frames, subject, levels, ["a", "b"])
    assert neutrals.dtype == np.float32
    np.testing.assert_allclose(neutrals, expected, rtol=1e-6)


def test_neutrals_do_not_depend_on_how_frames_are_grouped():
    rng = np.random.default_rng(3)
    frames, levels = rng.normal(size=(8, 4, 3)), rng.choice([0.0, 0.5], 8)
    levels[0] = 0
    whole, parts = NeutralMeans(["a"]), NeutralMeans(["a"])
    whole.add(0, frames, levels)
    for i in range(0, 8, 3):
        parts.add(0, frames[i : i + 3], levels[i : i + 3])
    np.testing.assert_allclose(parts.result(), whole.result(), rtol=1e-6)


def test_a_subject_without_neutral_is_named():
    with pytest.raises(InputError, match=r"subject Ann: expected a frame of level 0\.01 or less, found none"):
        subject_neutrals(np.ones((2, 4, 3)), np.array([0, 1]), np.array([0, 0.5]), ["Bob", "Ann"])
