import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.data.splits import subject_folds
from facedis_jax.errors import InputError

_CASES = st.integers(2, 10).flatmap(
    lambda folds: st.tuples(
        st.just(folds),
        # How many examples each person has.
        st.lists(st.integers(1, 15), min_size=folds, max_size=40),
    )
)


@given(case=_CASES, seed=st.integers(0, 1000))
def test_folds_share_nobody_and_are_even(case, seed):
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


@given(case=_CASES, seed=st.integers(0, 1000))
def test_the_order_of_the_examples_plays_no_part(case, seed):
    folds, counts = case
    subjects = np.repeat(np.arange(len(counts)), counts)
    order = np.random.default_rng(seed).permutation(len(subjects))
    np.testing.assert_array_equal(subject_folds(subjects[order], folds), subject_folds(subjects, folds)[order])


@given(folds=st.integers(2, 10), more=st.integers(0, 30), each=st.integers(1, 5))
def test_equal_people_are_dealt_out_equally(folds, more, each):
    subjects = np.repeat(np.arange(folds + more), each)
    people = [len(set(subjects[subject_folds(subjects, folds) == fold])) for fold in range(folds)]
    assert max(people) - min(people) <= 1


def test_fewer_people_than_folds_are_refused():
    with pytest.raises(InputError, match=r"folds: expected at least one person for each of 10, found 9 people"):
        subject_folds(np.repeat(np.arange(9), 100))
    with pytest.raises(InputError, match="folds: expected 2 or more, found 1"):
        subject_folds(np.arange(9), folds=1)
