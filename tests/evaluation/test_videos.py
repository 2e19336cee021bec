import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from facedis_jax.data.pixel_set import StoredPixels
from facedis_jax.evaluation.videos import (
    Pairs,
    correlations,
    donor_scores,
    draw_pairs,
    fit_level_reader,
    frame_errors,
    level_scores,
    mean_colours,
    nearest,
    person_scores,
)
from facedis_jax.inference.codecs import Decoded

SIZE, FRAMES = 8, 6
RNG = np.random.default_rng(0)
# What expressions 0 and 1 add to a face at level 1; 2 is rest.
MOTION = RNG.normal(size=(2, SIZE, SIZE, 3)) / 10


def clip(looks, expression, levels):
    motion = np.zeros_like(looks) if expression == 2 else MOTION[expression]
    return looks + levels[:, None, None, None] * motion


def people(count, seed):
    """Clips of so many people, each at rest and in two expressions: clips, levels, expressions, subjects."""
    rng = np.random.default_rng(seed)
    expressions, subjects = np.tile([0, 1, 2], count), np.repeat(np.arange(count), 3)
    # In steps as large as cells, that is in colours that differ from person to person.
    looks = np.kron(rng.uniform(0.3, 0.7, size=(count, 4, 4, 3)), np.ones((1, 2, 2, 1)))
    levels = rng.uniform(size=(3 * count, FRAMES)) * (expressions != 2)[:, None]
    levels[:, 0] = 0
    clips = [clip(looks[s], e, level) for s, e, level in zip(subjects, expressions, levels, strict=True)]
    return np.float32(clips), np.float32(levels), expressions, subjects


def test_errors_are_sums_over_each_frames_pixels_and_channels():
    clips = RNG.integers(256, size=(3, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    predictions = RNG.uniform(size=clips.shape).astype(np.float32)
    found = frame_errors(clips, predictions)
    for i in range(3):
        for t in range(FRAMES):
            expected = np.sum((clips[i, t] / 255 - np.float64(predictions[i, t])) ** 2)
            assert found[i, t] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(frame_errors(np.float32(clips / 255), predictions), found, rtol=1e-5)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_correlations_are_pearsons(length, seed):
    one, other = np.random.default_rng(seed).normal(size=(2, 4, length))
    expected = [pearsonr(x, y).statistic for x, y in zip(one, other, strict=True)]
    np.testing.assert_allclose(correlations(one, other), expected, atol=1e-9)
    np.testing.assert_allclose(correlations(3 * one + 1, other), expected, atol=1e-9)


def test_what_does_not_change_correlates_with_nothing():
    np.testing.assert_array_equal(correlations(np.ones((1, 5)), np.arange(5.0)[None]), [0.0])


def test_levels_are_read_off_people_never_seen():
    clips, levels, expressions, _ = people(6, 1)
    reader = fit_level_reader(clips, levels, expressions)
    assert set(reader.readers) == {0, 1}
    new_clips, truth, expressions, _ = people(4, 2)
    moving = expressions != 2
    found = correlations(reader(new_clips[moving], expressions[moving]), truth[moving])
    assert found.min() > 0.99
    # As well from bytes.
    as_bytes = np.round(255 * np.clip(new_clips, 0, 1)).astype(np.uint8)[moving]
    assert correlations(reader(as_bytes, expressions[moving]), truth[moving]).min() > 0.95


def test_mean_colours_are_of_cells_over_time():
    clips = RNG.uniform(size=(2, FRAMES, SIZE, SIZE, 3)).astype(np.float32)
    found = mean_colours(clips, cells=2).reshape(2, 2, 2, 3)
    for i in range(2):
        for row in range(2):
            for column in range(2):
                cell = clips[i, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                np.testing.assert_allclose(found[i, row, column], cell.mean(axis=(0, 1, 2)), rtol=1e-5)


def test_the_nearest_is_the_one_at_the_smallest_distance():
    points, candidates = RNG.normal(size=(20, 5)), RNG.normal(size=(9, 5))
    distances = np.linalg.norm(points[:, None] - candidates, axis=-1)
    np.testing.assert_array_equal(nearest(points, candidates), distances.argmin(axis=1))


@given(st.integers(1, 40), st.integers(0, 100))
def test_pairs_are_of_different_people_and_expressions_and_none_twice(count, seed):
    _, _, expressions, subjects = people(4, 0)
    pairs = draw_pairs(subjects, expressions, count=count, seed=seed)
    # Each of 12 clips goes with two expressions of three other people.
    assert len(pairs.appearance) == min(count, 72)
    assert (subjects[pairs.appearance] != subjects[pairs.geometry]).all()
    assert (expressions[pairs.appearance] != expressions[pairs.geometry]).all()
    assert len({*zip(pairs.appearance, pairs.geometry, strict=True)}) == len(pairs.appearance)


def test_of_one_person_there_are_no_pairs():
    assert len(draw_pairs(np.zeros(5, int), None, count=10).appearance) == 0
    for expressions in (None, np.zeros(3, int)):
        assert len(draw_pairs(np.array([0, 0, 1]), expressions, count=10).appearance) == 4


@pytest.mark.parametrize("takes_after", ["appearance", "geometry"])
def test_scores_tell_whom_recombined_clips_take_after(takes_after):
    """Outputs that have one donor's looks, and the other's motion, or that have both of one donor."""
    clips, levels, expressions, subjects = people(5, 3)
    pairs = draw_pairs(subjects, expressions, count=60)
    looks = clips[:, 0]
    donors = pairs.appearance if takes_after == "appearance" else pairs.geometry
    outputs = np.float32(
        [
            clip(looks[d], expressions[j], levels[j] if takes_after == "appearance" else np.linspace(1, 0, FRAMES))
            for d, j in zip(donors, pairs.geometry, strict=True)
        ]
    )
    donor = donor_scores(outputs, pairs, clips, subjects)
    right = takes_after == "appearance"
    assert (donor["person"], donor["geometry_person"]) == (float(right), float(not right))
    assert (donor["chance_clip"], donor["chance_person"]) == pytest.approx((1 / 15, 1 / 5))
    assert donor["halves_person"] == 1.0
    reader = fit_level_reader(*people(6, 1)[:3])
    level = level_scores(reader, outputs, pairs, clips, clips, levels, expressions)
    assert (level["recombined"]["mean"] > 0.99) == right
    assert level["real"]["mean"] > 0.99
    assert level["reconstructed"] == level["real"]
    assert level["real"]["clips"] == 10
    moving = (expressions[pairs.appearance] != 2) & (expressions[pairs.geometry] != 2)
    expected = correlations(levels[pairs.appearance[moving]], levels[pairs.geometry[moving]])
    assert level["donors"]["mean"] == pytest.approx(expected.mean())
    assert (level["closer"] > 0.99) == right


@pytest.mark.parametrize("takes_after", ["appearance", "geometry"])
def test_a_classifier_of_people_sees_whom_recombined_clips_take_after(takes_after):
    clips, _, expressions, subjects = people(5, 3)
    pairs = draw_pairs(subjects, expressions, count=30)
    outputs = clips[getattr(pairs, takes_after)]
    found = person_scores(outputs, pairs, clips, subjects)
    other = "geometry" if takes_after == "appearance" else "appearance"
    assert (found[takes_after], found[other], found["chance"]) == (1.0, 0.0, 0.2)
    assert found["real"] == 1.0
    shuffled = np.random.default_rng(0).permutation(subjects)
    assert person_scores(outputs, pairs, clips, shuffled)["real"] < 0.8


def test_of_one_person_or_one_clip_each_there_is_no_classifier():
    clips, _, expressions, subjects = people(4, 3)
    pairs = draw_pairs(subjects, expressions, count=5)
    assert person_scores(clips, pairs, clips, np.zeros_like(subjects)) is None
    assert person_scores(clips, pairs, clips, np.arange(len(subjects))) is None


def test_a_clip_is_found_again_by_its_own_colours():
    clips, _, _, subjects = people(4, 5)
    found = donor_scores(clips, Pairs(np.arange(12), np.roll(np.arange(12), 3)), clips, subjects)
    assert (found["clip"], found["person"], found["geometry_person"]) == (1.0, 1.0, 0.0)


def test_where_one_donor_of_every_pair_is_at_rest_nothing_is_said_of_two_performances():
    clips, levels, expressions, subjects = people(4, 6)
    kept = expressions != 1
    clips, levels, expressions, subjects = clips[kept], levels[kept], expressions[kept], subjects[kept]
    pairs = draw_pairs(subjects, expressions, count=20)
    reader = fit_level_reader(clips, levels, expressions)
    found = level_scores(reader, clips[pairs.geometry], pairs, clips, clips, levels, expressions)
    assert set(found) == {"recombined", "reconstructed", "real"}
    assert found["recombined"]["mean"] > 0.99


def test_only_a_few_clips_are_in_memory_at_once():
    """And all measures are those of clips in memory."""
    clips, levels, expressions, subjects = people(9, 7)
    clips = np.round(255 * np.clip(clips, 0, 1)).astype(np.uint8)
    pairs = draw_pairs(subjects, expressions, count=25)
    reader = fit_level_reader(clips, levels, expressions)
    made = RNG.uniform(size=clips.shape).astype(np.float32)
    outputs = made[pairs.geometry]

    def decode(latents):
        assert len(latents) <= 10
        return latents

    class Few(StoredPixels):
        def __getitem__(self, rows):
            return decode(super().__getitem__(rows))

    stored = Few([{"frames": clip} for clip in clips], "frames")
    lazily, reconstructions = Decoded(decode, outputs), Decoded(decode, made)
    np.testing.assert_array_equal(frame_errors(stored, reconstructions), frame_errors(clips, made))
    assert donor_scores(lazily, pairs, stored, subjects) == donor_scores(outputs, pairs, clips, subjects)
    known = levels, expressions
    assert level_scores(reader, lazily, pairs, stored, reconstructions, *known) == level_scores(
        reader, outputs, pairs, clips, made, *known
    )
