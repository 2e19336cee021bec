"""Splits into training and test examples, and folds, by the names of examples or the people that they show."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from facedis_jax.errors import InputError

SPLITS = ("paper", "sequence", "subject")
"""The names that `split_indices` knows."""

EVERY_TENTH = "every tenth image is tested"
"""What a set says of its halves where `every_tenth` made them."""

EVERY_TENTH_FACE = f"{EVERY_TENTH} (a person may be in both halves)"
"""The same of faces."""


def split_indices(split: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test faces, ascending; each face is in one of them.

    - "paper": of every hundred faces in the order of their names, the first ten are tested (section 4.1 of the IB-VAE's
      paper). CoMA's 20,466 give 18,416 and 2,050. A test frame has its neighbours in time in the training set.
    - "sequence": one whole sequence of each subject is tested, the i-th sequence of subject i, modulo their number, so
      that no expression is favoured. CoMA's 144 sequences give 12.
    - "subject": the first tenth of the subjects, rounded up, are tested: people who are never seen in training. 2 of
      CoMA's 12, and the first ten of BU-3DFE's 100, as in the paper.

    Args:
      split: one of `SPLITS`.
      names: sorted "subject/sequence/frame"; the subject ends at the first slash, the sequence at the last.

    Returns:
      train [train] and test [test] int64.

    Raises:
      InputError: where the split is unknown, or has nothing to train on or to test.
    """
    if split == "paper":
        is_test = np.arange(len(names)) % 100 < 10
    elif split == "sequence":
        held_out = _diagonal(sorted({name.rsplit("/", 1)[0] for name in names}))
        is_test = np.array([name.rsplit("/", 1)[0] in held_out for name in names], bool)
    elif split == "subject":
        subjects = sorted({name.split("/", 1)[0] for name in names})
        tested = set(subjects[: -(-len(subjects) // 10)])
        is_test = np.array([name.split("/", 1)[0] in tested for name in names], bool)
    else:
        raise InputError("split", f"one of {', '.join(SPLITS)}", repr(split))
    return indices_of(split, is_test)


def indices_of(split: str, is_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the faces for which `is_test` [faces] is false, and of those for which it is true.

    Raises:
      InputError: where either is empty; names the split.
    """
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if not len(train) or not len(test):
        found = f"{len(train)} and {len(test)} of {len(is_test)}"
        raise InputError(f"split {split!r}", "faces to train on and faces to test", found)
    return train, test


def every_tenth(names: Sequence[str]) -> np.ndarray:
    """Which images of a set without a split of its own are tested, [names] bool: the first of every ten names."""
    return np.arange(len(names)) % 10 == 0


def first_by_hash(indices: np.ndarray, names: Sequence[str], count: int | None) -> np.ndarray:
    """At most `count` of some indices, ascending, chosen by the sha256 of their names; all if `count` is None.

    The choice looks random, is the same on every machine, and is part of every larger choice.

    Args:
      indices: [n] integers to choose from.
      names: of all examples; `indices` are indices into them.
      count: how many.
    """
    if count is None or count >= len(indices):
        return indices
    order = sorted(indices.tolist(), key=lambda i: hashlib.sha256(names[i].encode(errors="surrogateescape")).digest())
    return np.sort(np.array(order[:count], indices.dtype))


def subject_folds(subjects: np.ndarray, folds: int = 10) -> np.ndarray:
    """The fold in which each example is tested, with all examples of a person in one fold.

    Folds are those of scikit-learn's `GroupKFold`: from the person with the most examples to the one with the fewest,
    each goes to the fold that has the fewest examples so far. Folds of people with equally many examples differ by one
    person at most. The order of the examples plays no part; of people with equally many examples, the one with the
    lowest number comes first.

    Args:
      subjects: [examples] integers that tell people apart.
      folds: how many, at least 2.

    Returns:
      [examples] int32, 0 to folds - 1.

    Raises:
      InputError: where there are fewer people than folds.

    Example:
      >>> subject_folds(np.array([7, 7, 7, 3, 3, 5, 9]), folds=3)
      array([0, 0, 0, 1, 1, 2, 2], dtype=int32)
    """
    # Here, since it takes a second, which a command's --help can do without.
    from sklearn.model_selection import GroupKFold

    people, person = np.unique(subjects, return_inverse=True)
    if folds < 2:
        raise InputError("folds", "2 or more", f"{folds}")
    if len(people) < folds:
        raise InputError("folds", f"at least one person for each of {folds}", f"{len(people)} people")
    fold_of = np.empty(len(subjects), np.int32)
    # Of people with equally many examples, GroupKFold takes the one with the highest number first.
    for fold, (_, test) in enumerate(GroupKFold(folds).split(subjects, groups=-person)):
        fold_of[test] = fold
    return fold_of


def evenly_spaced(total: int, count: int) -> np.ndarray:
    """At most `count` evenly spaced indices of `total`, from the first to the last; all where there are no more.

    Example:
      >>> evenly_spaced(10, 4).tolist()
      [0, 3, 6, 9]
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(int)


def _diagonal(sequences: Sequence[str]) -> set[str]:
    """Sequence i of subject i, modulo the number of the subject's sequences; none of a subject who has only one."""
    by_subject = defaultdict(list)
    for sequence in sequences:
        by_subject[sequence.split("/", 1)[0]].append(sequence)
    return {own[i % len(own)] for i, own in enumerate(by_subject.values()) if len(own) > 1}
