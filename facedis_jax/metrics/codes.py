"""Scores of codes against known factors, and a count of uninformative codes.

MIG, SAP and DCI follow the definitions of disentanglement_lib (Locatello et al., "Challenging Common
Assumptions in the Unsupervised Learning of Disentangled Representations", 2019). All but
`collapsed_dimensions` work on the host, in float64 NumPy.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.losses import gaussian_kl


def collapsed_dimensions(mean: jax.Array, logvar: jax.Array, *, threshold: float = 0.05) -> jax.Array:
    """Number of latent dimensions that have collapsed to the prior.

    Section 4.6 of the information-bottlenecked VAE counts them and does not say how; the threshold is ours.

    A dimension has collapsed where its KL to N(0, 1), averaged over the data, is below the threshold. As the
    KL bounds the information that a dimension carries, 0.05 nats leave it a signal of at most a tenth of its
    noise's variance. Collapsed dimensions usually end below 0.01 nats and working ones above 0.5, so the
    count hardly depends on the threshold between 0.01 and 0.1; where it does, training has not settled.

    Args:
      mean, logvar: posteriors of the data, [examples, dims].
      threshold: nats per dimension.

    Returns:
      int32 scalar.

    Example:
      >>> mean = jnp.array([[-1.0, 0.01, 0.0], [1.0, -0.01, 0.0]])
      >>> logvar = jnp.log(jnp.array([0.1, 0.99, 1.0])) * jnp.ones([2, 3])
      >>> print(collapsed_dimensions(mean, logvar))
      2
    """
    per_dimension = jnp.mean(gaussian_kl(mean[..., None], logvar[..., None]), axis=0)
    return jnp.sum(per_dimension < threshold, dtype=jnp.int32)


def discretise(values: np.ndarray, bins: int = 20) -> np.ndarray:
    """Bins each column of `values` [examples, columns] into `bins` equal widths: int64, 0 to bins - 1.

    Example:
      >>> discretise(np.array([[0.0, 5.0], [1.0, 5.0], [4.0, 5.0]]), bins=4).T.tolist()
      [[0, 1, 3], [0, 0, 0]]
    """
    values = np.asarray(values, np.float64)
    low, high = values.min(axis=0), values.max(axis=0)
    width = np.where(high > low, high - low, 1.0)
    return np.minimum((values - low) / width * bins, bins - 1).astype(np.int64)


def mutual_information_gap(codes: np.ndarray, factors: np.ndarray, *, bins: int = 20) -> float:
    """MIG: by how much the most informative code leads the second, as a share of a factor's entropy.

    Counting overstates the information of few examples, by about (bins - 1)(values - 1) / (2 examples) nats
    for every code alike, so compare values of one data size only.

    Args:
      codes: [examples, dims], dims >= 2; continuous, binned here.
      factors: [examples, factors] integers, none of them constant.
      bins: number of bins of a code.

    Returns:
      The mean over the factors, from 0 to 1.

    Raises:
      ValueError: for fewer than two codes, or a constant factor.

    References:
      Chen et al., "Isolating Sources of Disentanglement in VAEs", 2018.

    Example:
      >>> factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
      >>> mutual_information_gap(factors.astype(float), factors)  # each code is one factor
      1.0
      >>> mutual_information_gap(np.hstack([factors, factors]).astype(float), factors)  # two codes know each factor
      0.0
    """
    codes, factors = discretise(codes, bins), np.asarray(factors)
    if codes.shape[1] < 2:
        raise ValueError(f"a gap needs at least two codes, got {codes.shape[1]}")
    gaps = []
    for index, factor in enumerate(factors.T):
        entropy = _discrete_information(factor, factor)
        if entropy <= 0:
            raise ValueError(f"factor {index} is constant")
        second, first = sorted(_discrete_information(code, factor) for code in codes.T)[-2:]
        gaps.append((first - second) / entropy)
    return float(np.mean(gaps))


def _discrete_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information of two columns of integers, in nats; the entropy where they are the same."""
    (_, a), (_, b) = np.unique(a, return_inverse=True), np.unique(b, return_inverse=True)
    joint = np.zeros([a.max() + 1, b.max() + 1])
    np.add.at(joint, (a, b), 1 / len(a))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / independent[seen])))


def squared_correlation(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """SAP's score for continuous factors: how well one code alone predicts one factor linearly.

    Args:
      codes: [examples, dims].
      factors: [examples, factors].

    Returns:
      [dims, factors] from 0 to 1; 0 where the code or the factor is constant.

    Example:
      >>> codes = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, -1.0], [3.0, 1.0]])
      >>> squared_correlation(codes, 10 - 2 * codes[:, :1]).tolist()
      [[1.0], [0.0]]
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    codes, factors = codes - codes.mean(axis=0), factors - factors.mean(axis=0)
    scale = np.square(codes).sum(axis=0)[:, None] * np.square(factors).sum(axis=0)[None]
    return np.divide(np.square(codes.T @ factors), scale, out=np.zeros_like(scale), where=scale > 0)


def separated_attribute_predictability(scores: np.ndarray) -> float:
    """SAP: by how much the code that predicts a factor best leads the second.

    Args:
      scores: [dims, factors], dims >= 2: how well each code alone predicts each factor, by
        `squared_correlation` for continuous factors and by a linear classifier's accuracy for discrete ones.

    Returns:
      The mean over the factors.

    Raises:
      ValueError: for another shape, or fewer than two codes.

    References:
      Kumar et al., "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations", 2018.

    Example:
      >>> separated_attribute_predictability(np.array([[0.75, 0.0], [0.25, 1.0], [0.0, 0.5]]))
      0.5
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or len(scores) < 2:
        raise ValueError(f"scores must be [dims, factors] with at least two codes, got shape {scores.shape}")
    second, first = np.sort(scores, axis=0)[-2:]
    return float(np.mean(first - second))


class DciScores(NamedTuple):
    """Both scores of DCI that are read from importances, each from 0 to 1.

    Attributes:
      disentanglement: whether each code serves one factor alone.
      completeness: whether each factor is served by one code alone.

    Example:
      >>> DciScores(disentanglement=1.0, completeness=0.5).completeness
      0.5
    """

    disentanglement: float
    completeness: float


def dci_from_importance(importance: np.ndarray) -> DciScores:
    """The D and C of DCI, from how much each code matters to the prediction of each factor.

    Each code's (factor's) score is one minus the entropy, relative to its maximum, of its row (column) of
    importances; scores are averaged with the weight of the row (column).

    Args:
      importance: [dims, factors], non-negative, at least two of each.

    Returns:
      Both scores; they ignore how well the factors are predicted, which is DCI's third number.

    Raises:
      ValueError: for another shape, a negative importance or none at all.

    References:
      Eastwood and Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations",
      2018.

    Example:
      >>> dci_from_importance(np.array([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]])).disentanglement
      1.0
    """
    importance = np.asarray(importance, np.float64)
    if importance.ndim != 2 or min(importance.shape) < 2:
        raise ValueError(f"importance must be [dims >= 2, factors >= 2], got shape {importance.shape}")
    if (importance < 0).any() or not importance.sum() > 0:
        raise ValueError("importances must be non-negative and not all zero")
    return DciScores(_concentration(importance), _concentration(importance.T))


def _concentration(importance: np.ndarray) -> float:
    """One minus the relative entropy of each row, averaged with the weight of the row."""
    weight = importance.sum(axis=1)
    share = np.divide(importance, weight[:, None], out=np.zeros_like(importance), where=weight[:, None] > 0)
    log_share = np.log(share, out=np.zeros_like(share), where=share > 0)
    relative_entropy = -np.sum(share * log_share, axis=1) / np.log(importance.shape[1])
    return float(np.sum(weight * (1 - relative_entropy)) / weight.sum())
