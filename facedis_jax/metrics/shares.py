"""Least squares: how much of one set of displacements is in another."""

from typing import NamedTuple

import numpy as np


class LeastSquares(NamedTuple):
    """Sums of which the coefficients of a regression without intercept are made; those of several parts add up.

    Ours. With the offset that a reconstruction has from its neutral, regressed on the true one, the coefficient is the
    share of the motion that is kept. With the error of a transferred expression, regressed on the difference between
    the donor's neutral and the person's, it is the share of the donor that comes along.

    Attributes:
      gram: [directions, directions] float64, products of the directions with each other.
      products: [directions] float64, products of the directions with the values.

    Example:
      >>> motion, other = np.array([3.0, 4.0, 0.0]), np.array([0.0, 0.0, 2.0])
      >>> LeastSquares.of(0.5 * motion + other, motion).coefficients().tolist()
      [0.5]
      >>> LeastSquares.of(0.5 * motion + other, motion, other).coefficients().tolist()
      [0.5, 1.0]
    """

    gram: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, *directions: np.ndarray) -> "LeastSquares":
        """The sums of `values` and of as many directions as are given, arrays of one shape.

        Example:
          >>> LeastSquares.of(np.array([1.0, 2.0]), np.array([2.0, 4.0])).products.tolist()
          [10.0]
        """
        columns = np.stack([np.asarray(each, np.float64).ravel() for each in directions])
        return cls(columns @ columns.T, columns @ np.asarray(values, np.float64).ravel())

    def merge(self, other: "LeastSquares") -> "LeastSquares":
        """The sums over both sets of values.

        Example:
          >>> half, whole = (LeastSquares.of(np.array([x]), np.array([2.0])) for x in (1.0, 2.0))
          >>> half.merge(whole).coefficients().tolist()
          [0.75]
        """
        return LeastSquares(self.gram + other.gram, self.products + other.products)

    def coefficients(self) -> np.ndarray:
        """The coefficients [directions] float64 by which the directions come nearest to the values.

        NaN where a direction is 0 everywhere. Of directions that depend on each other, the shortest coefficients.

        Example:
          >>> LeastSquares.of(np.array([1.0, 2.0]), np.array([2.0, 4.0])).coefficients().round(6).tolist()
          [0.5]
        """
        present = np.diag(self.gram) > 0
        coefficients = np.full(len(self.products), np.nan)
        gram, products = self.gram[np.ix_(present, present)], self.products[present]
        # Scaled to ones on the diagonal, so that what counts as dependent has nothing to do with units.
        scale = np.sqrt(np.diag(gram))
        scaled = np.linalg.lstsq(gram / np.outer(scale, scale), products / scale, rcond=1e-9)[0]
        coefficients[present] = scaled / scale
        return coefficients
