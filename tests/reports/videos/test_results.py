import dataclasses

import numpy as np
import pytest

from facedis_jax.reports.videos.results import VideoResults, clip_of_each_expression, varied_clips

FRAMES = 3
# Three people, each in four clips of happy, sad, neutral and happy.
SUBJECTS = np.repeat([4, 7, 9], 4)
EXPRESSIONS = np.tile([0, 1, 2, 0], 3)


@pytest.fixture
def results():
    levels = (EXPRESSIONS != 2)[:, None] * np.linspace(0, 1, FRAMES)
    return VideoResults(
        numbers={},
        codec=None,
        clips=np.zeros((12, FRAMES, 4, 4, 3), np.uint8),
        latents=None,
        predictions=None,
        frame_predictions=None,
        rows={},
        labels={"subject": SUBJECTS, "expression": EXPRESSIONS, "level": levels},
        expressions=("happy", "sad", "neutral"),
    )


def without(results, *names):
    labels = {name: values for name, values in results.labels.items() if name not in names}
    return dataclasses.replace(results, labels=labels)


def test_clips_that_show_an_expression_are_moving(results):
    np.testing.assert_array_equal(results.moving, EXPRESSIONS != 2)
    assert without(results, "level").moving.all()


def test_clips_are_named_by_their_expression_where_it_is_known(results):
    assert [results.clip_name(row) for row in (0, 1, 2)] == ["happy", "sad", "neutral"]
    assert without(results, "expression").clip_name(2) == "clip 2"


def test_varied_clips_are_of_all_people_and_of_several_expressions(results):
    rows = varied_clips(results, 3)
    assert sorted(SUBJECTS[rows]) == [4, 7, 9]
    assert set(EXPRESSIONS[rows]) == {0, 1}
    every = varied_clips(results, 99)
    assert sorted(every) == list(range(12))


def test_one_person_shows_each_expression_and_others_what_is_missing(results):
    rows = clip_of_each_expression(results, 6)
    assert EXPRESSIONS[rows].tolist() == [0, 1, 2]
    assert len(set(SUBJECTS[rows])) == 1
    # Nobody but person 9 is left with a neutral clip, and person 4 has the most clips.
    kept = np.array([0, 1, 3, 4, 5, 10, 11])
    fewer = dataclasses.replace(
        results, clips=results.clips[kept], labels={name: values[kept] for name, values in results.labels.items()}
    )
    rows = kept[clip_of_each_expression(fewer, 6)]
    assert EXPRESSIONS[rows].tolist() == [0, 1, 2]
    assert SUBJECTS[rows].tolist() == [4, 4, 9]
    assert len(clip_of_each_expression(without(results, "expression"), 6)) == 6
