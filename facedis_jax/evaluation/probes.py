"""What a linear classifier reads from codes: whether who someone is leaks into what their face is doing."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PERFORMED = 0.5
"""The level from which on a frame shows its expression: near the neutral, nothing tells expressions apart."""


class Probe(NamedTuple):
    """Shares of the held-out examples, 0 to 1: named rightly by the classifier, and by a fixed guess."""

    accuracy: float
    chance: float


def probe(codes: np.ndarray, classes: np.ndarray, *, seed: int = 0) -> Probe | None:
    """Fits a logistic regression from codes to classes on 70 % of the examples and scores it on the rest.

    Args:
      codes: [examples, dims]; brought to unit variance here.
      classes: [examples] integers.
      seed: of the split.

    Returns:
      The accuracy, and that of always naming the most frequent class; None for fewer than two classes, or too
      few examples to split.
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
    """Probes both codes for both factors.

    `subject_from_expression` and `expression_from_identity` are leaks, and should be near chance; the other
    two show what there is to be read where it belongs. Expressions are asked for at levels of 0.5 and more.

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
