import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, pearsonr
from sklearn.metrics import mutual_info_score

from facedis_jax.metrics import (
    collapsed_dimensions,
    dci_from_importance,
    discretise,
    mutual_information_gap,
    separated_attribute_predictability,
    squared_correlation,
)


def test_collapsed_dimensions_are_counted_by_their_average_kl():
    rng = np.random.default_rng(0)
    mean = (rng.normal(size=(500, 4)) * [1.5, 0.05, 0.0, 1.0]).astype(np.float32)
    logvar = np.tile(np.float32([-3.0, 0.01, 0.0, -0.5]), (500, 1))
    assert collapsed_dimensions(mean, logvar) == 2
    assert collapsed_dimensions(mean, logvar, threshold=1e-6) == 1
    assert collapsed_dimensions(mean, logvar, threshold=100.0) == 4


def test_discretise_is_numpys_histogram():
    values = np.random.default_rng(0).normal(size=(300, 2))
    binned = discretise(values, bins=7)
    for column, bins in zip(values.T, binned.T, strict=True):
        np.testing.assert_array_equal(np.bincount(bins, minlength=7), np.histogram(column, bins=7)[0])
    assert (discretise(np.ones([5, 1])) == 0).all()


def test_gap_is_the_definition_with_scikit_learns_information():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, [3, 5], size=(400, 2))
    codes = rng.normal(size=(400, 3)) + factors @ np.array([[3.0, 0, 1], [0, 2, 2]])
    binned, gaps = discretise(codes), []
    for factor in factors.T:
        information = sorted(mutual_info_score(code, factor) for code in binned.T)
        gaps.append((information[-1] - information[-2]) / entropy(np.bincount(factor)))
    assert mutual_information_gap(codes, factors) == pytest.approx(np.mean(gaps), abs=1e-10)


def test_gap_is_one_for_a_code_per_factor_and_zero_for_codes_in_pairs():
    factors = np.stack(np.meshgrid(np.arange(4), np.arange(5)), axis=-1).reshape(-1, 2)
    assert mutual_information_gap(factors * [2.0, -1.0], factors) == pytest.approx(1)
    assert mutual_information_gap(np.concatenate([factors, factors], axis=1), factors) == pytest.approx(0)


def test_squared_correlation_is_scipys():
    rng = np.random.default_rng(0)
    codes, factors = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    expected = [[pearsonr(code, factor)[0] ** 2 for factor in factors.T] for code in codes.T]
    np.testing.assert_allclose(squared_correlation(codes, factors), expected, atol=1e-12)
    assert (squared_correlation(np.zeros([50, 1]), factors) == 0).all()


def test_predictability_is_the_mean_lead_of_the_best_code():
    assert separated_attribute_predictability([[0.9, 0.2], [0.3, 0.6], [0.5, 0.5]]) == pytest.approx(0.25)


def test_dci_at_its_extremes():
    assert dci_from_importance(np.eye(4)) == pytest.approx((1, 1))
    assert dci_from_importance(np.ones([4, 3])) == pytest.approx((0, 0), abs=1e-12)
    # Two codes that share a factor: each is pure, the factor is split.
    assert dci_from_importance([[1, 0], [1, 0], [0, 2]]) == pytest.approx((1, 1 - math.log(2) / math.log(3) / 2))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31))
def test_dci_is_the_definition_with_scipys_entropy(seed):
    importance = np.random.default_rng(seed).exponential(size=(6, 4))
    codes = 1 - np.array([entropy(row, base=4) for row in importance])
    factors = 1 - np.array([entropy(column, base=6) for column in importance.T])
    expected = (
        np.average(codes, weights=importance.sum(axis=1)),
        np.average(factors, weights=importance.sum(axis=0)),
    )
    assert dci_from_importance(importance) == pytest.approx(expected, abs=1e-10)
    assert dci_from_importance(7 * importance[::-1]) == pytest.approx(expected, abs=1e-10)


def test_bad_arguments_are_named():
    codes, factors = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9)[:, None]
    with pytest.raises(ValueError, match="factor 0 is constant"):
        mutual_information_gap(codes, 0 * factors)
    with pytest.raises(ValueError, match="two codes"):
        mutual_information_gap(codes[:, :1], factors)
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        separated_attribute_predictability(np.ones([1, 2]))
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        dci_from_importance(np.ones([3, 1]))
    for importance in (np.zeros([2, 2]), np.array([[1.0, -1.0], [1.0, 1.0]])):
        with pytest.raises(ValueError, match="non-negative"):
            dci_from_importance(importance)
