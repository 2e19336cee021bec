"""MIG, SAP and DCI of codes against the known factors of the data."""

from collections.abc import Mapping

import numpy as np

from facedis_jax.metrics import (
    dci_from_importance,
    discretise,
    mutual_information_gap,
    separated_attribute_predictability,
    squared_correlation,
)
from facedis_jax.progress import track


def latent_scores(
    codes: np.ndarray, factors: Mapping[str, np.ndarray], *, bins: int = 20, seed: int = 0
) -> dict[str, float]:
    """MIG, SAP and DCI of codes against known factors, by name; from 0 to 1, higher is better.

    Factors of integers are classes (a subject, an expression); factors of floats are continuous (a level, a weight). A
    factor that does not vary is skipped. As in disentanglement_lib, importances are those of gradient boosted trees
    (here 30 of depth 3), and the score of one code for a class is the accuracy of a linear support vector machine.
    Continuous factors are binned as the codes are for MIG; in SAP and for informativeness their score is R^2.

    Args:
      codes: [examples, dims], dims >= 2, such as posterior means.
      factors: name -> [examples] or [examples, columns], each column a factor; at least two in all.
      bins: number of bins of a continuous factor or code.
      seed: of the split into 70 % for fitting and 30 % for scoring, and of the trees.

    Returns:
      `mig`, `sap`, `dci_disentanglement`, `dci_completeness` and `dci_informativeness` (the mean over the
      factors of the held-out accuracy or R^2, which may fall below 0).

    Raises:
      ValueError: for fewer than two codes or two varying factors.

    References:
      Locatello et al., "Challenging Common Assumptions in the Unsupervised Learning of Disentangled
      Representations", 2019.
    """
    # Imported here, or every run would wait a second for it before its first step.
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.model_selection import train_test_split

    fit, held_out = train_test_split(np.arange(len(codes)), test_size=0.3, random_state=seed)
    columns = [column for factor in factors.values() for column in np.reshape(factor, (len(codes), -1)).T]
    columns = [column for column in columns if np.ptp(column[fit]) > 0]
    if codes.shape[1] < 2 or len(columns) < 2:
        raise ValueError(f"need two codes and two varying factors, got {codes.shape[1]} and {len(columns)}")
    # A code's scale must not matter to the linear classifiers, whose intercept is penalised.
    deviation = codes.std(axis=0)
    codes = (codes - codes.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    importance, informativeness, scores = [], [], []
    for column in track(columns, "scoring the codes"):
        continuous = np.issubdtype(column.dtype, np.floating)
        boosting = GradientBoostingRegressor if continuous else GradientBoostingClassifier
        trees = boosting(n_estimators=30, random_state=seed).fit(codes[fit], column[fit])
        # Rounding can leave an importance of -1e-17.
        importance.append(np.maximum(trees.feature_importances_, 0))
        informativeness.append(trees.score(codes[held_out], column[held_out]))
        scores.append(
            squared_correlation(codes, column[:, None])[:, 0]
            if continuous
            else _accuracies(codes, column, fit, held_out)
        )
    discrete = [discretise(c[:, None], bins)[:, 0] if np.issubdtype(c.dtype, np.floating) else c for c in columns]
    dci = dci_from_importance(np.stack(importance, axis=1))
    return {
        "mig": mutual_information_gap(codes, np.stack(discrete, axis=1), bins=bins),
        "sap": separated_attribute_predictability(np.stack(scores, axis=1)),
        "dci_disentanglement": dci.disentanglement,
        "dci_completeness": dci.completeness,
        "dci_informativeness": float(np.mean(informativeness)),
    }


def _accuracies(codes: np.ndarray, classes: np.ndarray, fit: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Held-out accuracies [dims] of linear classifiers from each code alone."""
    from sklearn.svm import LinearSVC

    accuracies = []
    for code in codes.T[:, :, None]:
        classifier = LinearSVC(C=0.01, class_weight="balanced", random_state=0)
        accuracies.append(classifier.fit(code[fit], classes[fit]).score(code[held_out], classes[held_out]))
    return np.array(accuracies)
