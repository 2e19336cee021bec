"""Cross-validation over people: which fold tests which clip."""

import numpy as np

from facedis_jax.errors import InputError


def subject_folds(subjects: np.ndarray, folds: int = 10) -> np.ndarray:
    """Deals people out to folds, each with all that shows them.

    From the person with the most examples to the one with the fewest, each goes to the fold that has the fewest
    examples so far. So every fold has someone, folds are as even as this rule makes them (where all have equally many
    examples, they differ by one person at most), and the order of the examples plays no part.

    Args:
      subjects: [examples] integers that tell people apart.
      folds: how many, at least 2.

    Returns:
      [examples] int32, the fold 0 to folds - 1 in which an example is tested.

    Raises:
      InputError: where there are fewer people than folds.

    Example:
      >>> subject_folds(np.array([7, 7, 7, 3, 3, 5, 9]), folds=3)
      array([0, 0, 0, 1, 1, 2, 2], dtype=int32)
    """
    people, person, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    if folds < 2:
        raise InputError("folds", "2 or more", f"{folds}")
    if len(people) < folds:
        raise InputError("folds", f"at least one person for each of {folds}", f"{len(people)} people")
    fold_of = np.zeros(len(people), np.int32)
    filled = np.zeros(folds, int)
    for each in np.argsort(-counts, kind="stable"):
        fold_of[each] = filled.argmin()
        filled[fold_of[each]] += counts[each]
    return fold_of[person]
