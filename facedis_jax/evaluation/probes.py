"""Linear classifiers on codes: whether the identity code holds expressions, and the expression code identities."""

from typing import NamedTuple

import numpy as np

from facedis_jax.evaluation.true_faces import AT_REST, PERFORMED

# Of each person, on average, for a classifier of people on faces at rest.
_FEWEST_FACES_AT_REST = 5


class Probe(NamedTuple):
    """The accuracy of a classifier on held-out examples, 0 to 1, and one over the number of classes."""

    accuracy: float
    chance: float


def probe(codes: np.ndarray, classes: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0) -> Probe | None:
    """Accuracy of a logistic regression from codes to classes, fitted to 70 % of the examples, on the rest.

    Args:
      codes: [examples, dims]; they are scaled to unit variance.
      classes: [examples] integers.
      groups: [examples], such as people: all of a group are fitted to, or none; None splits examples.
      seed: of the split.

    Returns:
      The accuracies; None for fewer than two classes, or too few examples to split.
    """
    if len(codes) < 4:
        return None
    # Imported here, or every run would wait a second for it before its first step.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupShuffleSplit, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if groups is None:
        fit, held_out = train_test_split(np.arange(len(codes)), test_size=0.3, random_state=seed)
    elif len(np.unique(groups)) > 1:
        fit, held_out = next(GroupShuffleSplit(1, test_size=0.3, random_state=seed).split(codes, groups=groups))
    else:
        return None
    if len(np.unique(classes[fit])) < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(codes[fit], classes[fit])
    return Probe(
        accuracy=float(model.score(codes[held_out], classes[held_out])),
        chance=1 / len(np.unique(classes)),
    )


def leakage(
    identity: np.ndarray,
    expression_codes: np.ndarray,
    subject: np.ndarray,
    expression: np.ndarray,
    level: np.ndarray,
    *,
    offset_codes: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float] | None]:
    """Probes of both codes for both factors, by name.

    "subject_from_expression" and "expression_from_identity" are leaks, and should be near chance;
    "subject_from_identity" and "expression_from_expression" should be high. People move in their own ways, so that
    expressions give some of them away: "subject_from_true_offsets" is what the true offsets tell, and
    "subject_from_expression_at_rest" the leak where nobody moves. Expressions are classified on faces of level 0.5 and
    more, faces at rest are those up to 0.1.

    Args:
      identity, expression_codes: posterior means, [faces, d_id] and [faces, d_exp].
      subject, expression: [faces] integers.
      level: [faces], 0 to 1, as `FaceSet.true_levels`.
      offset_codes: [faces, dims], principal components of the faces' true offsets from their neutrals.
      seed: of the splits.
    """
    shown, rest = level >= PERFORMED, level <= AT_REST
    probes = {
        "subject_from_identity": probe(identity, subject, seed=seed),
        "subject_from_expression": probe(expression_codes, subject, seed=seed),
        "expression_from_identity": probe(identity[shown], expression[shown], seed=seed),
        "expression_from_expression": probe(expression_codes[shown], expression[shown], seed=seed),
        "subject_from_true_offsets": None if offset_codes is None else probe(offset_codes, subject, seed=seed),
        "subject_from_expression_at_rest": probe(expression_codes[rest], subject[rest], seed=seed)
        if rest.sum() >= _FEWEST_FACES_AT_REST * len(np.unique(subject[rest]))
        else None,
    }
    return {name: None if found is None else found._asdict() for name, found in probes.items()}
