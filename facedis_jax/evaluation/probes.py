"""Linear classifiers on codes: whether the identity code holds expressions, and the expression code identities."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PERFORMED = 0.5
"""The level from which on a frame counts as showing its expression; near the neutral all expressions are alike."""


class Probe(NamedTuple):
    """Accuracies on held-out examples, 0 to 1: of a classifier, and of always predicting the most frequent class."""

    accuracy: float
    chance: float


def probe(codes: np.ndarray, classes: np.ndarray, *, seed: int = 0) -> Probe | None:
    """Accuracy of a logistic regression from codes to classes, fitted to 70 % of the examples, on the rest.

    Args:
      codes: [examples, dims]; they are scaled to unit variance.
      classes: [examples] integers.
      seed: of the split.

    Returns:
      The accuracies; None for fewer than two classes, or too few examples to split.
    """
    if len(codes) < 4:
        return None
    fit, held_out = train_test_split(np.arange(len(codes)), test_size=0.3, random_state=seed)
    names, counts = np.unique(classes[fit], return_counts=True)
    if len(names) < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(codes[fit], classes[fit])
    return Probe(
        accuracy=float(model.score(codes[held_out], classes[held_out])),
        chance=float(np.mean(classes[held_out] == names[np.argmax(counts)])),
    )


def leakage(
    identity: np.ndarray,
    expression_codes: np.ndarray,
    subject: np.ndarray,
    expression: np.ndarray,
    level: np.ndarray,
    *,
    seed: int = 0,
) -> dict[str, dict[str, float] | None]:
    """Probes of both codes for both factors, by name.

    "subject_from_expression" and "expression_from_identity" are leaks, and should be near chance;
    "subject_from_identity" and "expression_from_expression" should be high. Expressions are classified on faces of
    level 0.5 and more.

    Args:
      identity, expression_codes: posterior means, [faces, d_id] and [faces, d_exp].
      subject, expression: [faces] integers.
      level: [faces], 0 to 1.
      seed: of the splits.
    """
    shown = level >= PERFORMED
    probes = {
        "subject_from_identity": probe(identity, subject, seed=seed),
        "subject_from_expression": probe(expression_codes, subject, seed=seed),
        "expression_from_identity": probe(identity[shown], expression[shown], seed=seed),
        "expression_from_expression": probe(expression_codes[shown], expression[shown], seed=seed),
    }
    return {name: None if found is None else found._asdict() for name, found in probes.items()}
