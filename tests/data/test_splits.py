from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.data.splits import SPLITS, split_indices
from facedis_jax.errors import InputError


def _names(subjects, sequences, frames):
    return [f"s{s:02d}/e{e:02d}/{f:06d}" for s in range(subjects) for e in range(sequences) for f in range(frames)]


def test_the_papers_split_of_coma():
    train, test = split_indices("paper", [f"a/b/{i:06d}" for i in range(20_466)])
    assert (len(train), len(test)) == (18_416, 2_050)
    np.testing.assert_array_equal(test[:12], [*range(10), 100, 101])


def test_sequences_are_held_out_whole_one_of_each_subject_and_expression():
    names = _names(12, 12, 5)
    train, test = split_indices("sequence", names)
    held_out = {names[i].rsplit("/", 1)[0] for i in test}
    assert not held_out & {names[i].rsplit("/", 1)[0] for i in train}
    assert len(test) == 12 * 5
    assert set(Counter(s.split("/")[0] for s in held_out).values()) == {1}
    assert len({s.split("/")[1] for s in held_out}) == 12


@pytest.mark.parametrize(("subjects", "tested"), [(2, 1), (10, 1), (12, 2), (100, 10)])
def test_subjects_are_held_out_whole(subjects, tested):
    names = _names(subjects, 2, 3)
    train, test = split_indices("subject", names)
    people = {names[i].split("/")[0] for i in test}
    assert people == {f"s{i:02d}" for i in range(tested)}
    assert not people & {names[i].split("/")[0] for i in train}


@given(st.sampled_from(SPLITS), st.integers(2, 6), st.integers(2, 5), st.integers(3, 20))
def test_splits_are_partitions(split, subjects, sequences, frames):
    names = _names(subjects, sequences, frames)
    train, test = split_indices(split, names)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(names)))
    for half in (train, test):
        assert len(half)
        np.testing.assert_array_equal(half, np.sort(half))


@pytest.mark.parametrize(
    ("split", "names", "found"),
    [
        ("paper", _names(1, 1, 10), "0 and 10 of 10"),
        ("paper", [], "0 and 0 of 0"),
        ("sequence", _names(3, 1, 4), "12 and 0 of 12"),
        ("subject", _names(1, 4, 4), "0 and 16 of 16"),
        ("random", _names(1, 4, 4), "'random'"),
    ],
)
def test_splits_that_leave_nothing_are_refused(split, names, found):
    with pytest.raises(InputError, match=found):
        split_indices(split, names)
