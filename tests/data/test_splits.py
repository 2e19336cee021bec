from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.data.splits import SPLITS, evenly_spaced, every_tenth, first_by_hash, split_indices, subject_folds
from facedis_jax.errors import InputError

_FOLDS = st.integers(2, 10).flatmap(
    lambda folds: st.tuples(
        st.just(folds),
        # How many examples each person has.
        st.lists(st.integers(1, 15), min_size=folds, max_size=40),
    )
)


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


@given(case=_FOLDS, seed=st.integers(0, 1000))
def test_folds_share_no_person_and_are_even(case, seed):
    folds, counts = case
    people = np.random.default_rng(seed).choice(1000, len(counts), replace=False)
    subjects = np.repeat(people, counts)
    fold = subject_folds(subjects, folds)
    assert (fold.shape, fold.dtype) == (subjects.shape, np.int32)
    assert set(fold) == set(range(folds))
    assert all(len(set(fold[subjects == person])) == 1 for person in people)
    sizes = np.bincount(fold, minlength=folds)
    # The last person that came to the fullest fold found no emptier one.
    assert sizes.max() - sizes.min() <= max(counts)


@given(case=_FOLDS, seed=st.integers(0, 1000))
def test_folds_do_not_depend_on_the_order_of_the_examples(case, seed):
    folds, counts = case
    subjects = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(seed).permutation(len(subjects))
    np.testing.assert_array_equal(subject_folds(subjects[order], folds), subject_folds(subjects, folds)[order])


def test_the_largest_person_comes_first_and_of_equals_the_lowest_number():
    subjects = np.repeat([5, 1, 8, 3], [1, 2, 2, 3])
    assert dict(zip(subjects.tolist(), subject_folds(subjects, 3).tolist(), strict=True)) == {3: 0, 1: 1, 8: 2, 5: 1}


@given(folds=st.integers(2, 10), more=st.integers(0, 30), each=st.integers(1, 5))
def test_people_with_equally_many_examples_are_shared_out_evenly(folds, more, each):
    subjects = np.repeat(np.arange(folds + more), each)
    people = [len(set(subjects[subject_folds(subjects, folds) == fold])) for fold in range(folds)]
    assert max(people) - min(people) <= 1


def test_fewer_people_than_folds_are_refused():
    with pytest.raises(InputError, match=r"folds: expected at least one person for each of 10, found 9 people"):
        subject_folds(np.repeat(np.arange(9), 100))
    with pytest.raises(InputError, match="folds: expected 2 or more, found 1"):
        subject_folds(np.arange(9), folds=1)


@given(total=st.integers(1, 60), count=st.integers(1, 80))
def test_evenly_spaced_indices_reach_from_the_first_to_the_last(total, count):
    indices = evenly_spaced(total, count)
    assert len(indices) == min(total, count)
    assert indices[0] == 0
    if len(indices) > 1:
        assert indices[-1] == total - 1
        assert np.ptp(np.diff(indices)) <= 1
    if count >= total:
        np.testing.assert_array_equal(indices, np.arange(total))


def test_a_choice_by_hash_depends_on_names_alone_and_smaller_ones_are_part_of_larger():
    names = [f"{i:03d}.png" for i in range(40)]
    few, more = (first_by_hash(np.arange(40), names, count) for count in (5, 20))
    assert set(few) < set(more)
    assert list(few) == sorted(few) != list(range(5))
    turned = first_by_hash(np.arange(40), names[::-1], 5)
    assert {names[::-1][i] for i in turned} == {names[i] for i in few}
    np.testing.assert_array_equal(first_by_hash(np.arange(40), names, None), np.arange(40))


def test_every_tenth_name_is_tested_from_the_first_on():
    assert np.flatnonzero(every_tenth([str(i) for i in range(25)])).tolist() == [0, 10, 20]
