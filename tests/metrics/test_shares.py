import numpy as np
import pytest

from facedis_jax.metrics import LeastSquares


def test_coefficients_are_those_of_least_squares_however_the_values_are_parted():
    rng = np.random.default_rng(0)
    values, *directions = rng.normal(size=(4, 20, 7, 3)).astype(np.float32)
    columns = np.stack([d.astype(np.float64).ravel() for d in directions], axis=1)
    expected = np.linalg.lstsq(columns, values.astype(np.float64).ravel())[0]
    whole = LeastSquares.of(values, *directions)
    np.testing.assert_allclose(whole.coefficients(), expected, rtol=1e-9)
    first = LeastSquares.of(values[:6], *(d[:6] for d in directions))
    rest = LeastSquares.of(values[6:], *(d[6:] for d in directions))
    np.testing.assert_allclose(first.merge(rest).coefficients(), expected, rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.19, 1.0, -2.0])
def test_a_known_share_is_found_beside_what_has_nothing_to_do_with_it(share: float):
    direction, other = np.zeros((2, 10, 3))
    direction[:5], other[5:] = 3.0, 4.0
    assert LeastSquares.of(share * direction + other, direction).coefficients() == pytest.approx(share)


def test_what_is_not_there_has_no_coefficient():
    motion, nothing = np.ones(3), np.zeros(3)
    assert np.isnan(LeastSquares.of(motion, nothing).coefficients()).tolist() == [True]
    np.testing.assert_allclose(LeastSquares.of(2 * motion, nothing, motion).coefficients(), [np.nan, 2])


def test_directions_that_depend_on_each_other_share_the_coefficient_whatever_their_unit():
    motion = np.array([1.0, 2.0, 3.0])
    first, second = LeastSquares.of(motion, motion, 1000 * motion).coefficients()
    assert first + 1000 * second == pytest.approx(1)
