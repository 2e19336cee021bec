"""Products with sparse matrices that are known before training, as gathers over fixed indices in both directions.

A scatter runs on one core of a CPU, and the gradient of a gather is one. The transpose of a known matrix is known as
well, so that here neither the product nor its gradient has a scatter.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

SparseOperator = Callable[[jax.Array], jax.Array]
"""A linear function from [..., columns, channels] to [..., rows, channels]."""


class _Gathers(NamedTuple):
    """The entries of a sparse matrix by rows, all of one width.

    Attributes:
      indices: [rows, width], columns; where a row has fewer entries, its weight is 0.
      weights: [rows, width]; None where all are 1.
      slots: [rows], of each row its place in `rest`; None where no row has more entries.
      rest: the entries of long rows beyond the width; its last row is empty, for the rows that are not long.
    """

    indices: np.ndarray
    weights: np.ndarray | None
    slots: np.ndarray | None = None
    rest: "_Gathers | None" = None


def sparse_operator(matrix: sparse.sparray) -> SparseOperator:
    """The product with a sparse matrix [rows, columns] as a function, which can be jitted, vmapped and differentiated.

    Reverse mode only.

    Example:
      >>> double = sparse_operator(sparse.csr_array(np.array([[0.0, 2.0], [1.0, 0.0]])))
      >>> double(jnp.array([[1.0], [3.0]])).tolist()
      [[6.0], [1.0]]
    """
    forward, backward = _gathers_of(matrix), _gathers_of(matrix.T)

    @jax.custom_vjp
    def product(features: jax.Array) -> jax.Array:
        return _product(forward, features)

    product.defvjp(
        lambda features: (_product(forward, features), None),
        lambda _, cotangent: (_product(backward, cotangent),),
    )
    return product


def selection(indices: np.ndarray, columns: int) -> sparse.csr_array:
    """The matrix [rows, columns] that picks a column for each row.

    Args:
      indices: [rows].
      columns: how many there are to pick from.
    """
    rows = np.arange(len(indices))
    return sparse.csr_array((np.ones(len(indices)), (rows, indices)), shape=(len(indices), columns))


def _gathers_of(matrix: sparse.sparray) -> _Gathers:
    csr = sparse.csr_array(matrix)
    csr.sort_indices()
    counts = np.diff(csr.indptr)
    width = _best_width(counts)
    place = np.arange(width)
    is_entry = place < counts[:, None]
    entry = np.where(is_entry, csr.indptr[:-1, None] + place, 0)
    if csr.nnz:
        indices, weights = csr.indices[entry].astype(np.int32), np.where(is_entry, csr.data[entry], 0)
    else:
        indices, weights = np.zeros(entry.shape, np.int32), np.zeros(entry.shape)
    found = _Gathers(indices, None if (weights == 1).all() else weights.astype(np.float32))
    is_long = counts > width
    if not is_long.any():
        return found
    slots = np.full(len(counts), is_long.sum(), np.int32)
    slots[is_long] = np.arange(is_long.sum())
    kept = np.concatenate([np.arange(csr.indptr[row] + width, csr.indptr[row + 1]) for row in np.flatnonzero(is_long)])
    ends = np.concatenate([[0], np.cumsum(counts[is_long] - width)])
    # An empty row at the end.
    ends = np.append(ends, ends[-1])
    rest = sparse.csr_array((csr.data[kept], csr.indices[kept], ends), shape=(len(ends) - 1, csr.shape[1]))
    return found._replace(slots=slots, rest=_gathers_of(rest))


def _best_width(counts: np.ndarray) -> int:
    """How many entries of each row to keep together, for the fewest gathers in all."""
    most = int(counts.max(initial=1))
    widths = np.arange(1, max(most, 1) + 1)
    costs = [len(counts) * (w + (w < most)) + (counts > w).sum() * (most - w) for w in widths]
    return int(widths[np.argmin(costs)])


def _product(gathers: _Gathers, features: jax.Array) -> jax.Array:
    # Else XLA computes what is gathered anew wherever it is: a polynomial of degree k 6^k times.
    features = jax.lax.optimization_barrier(features)
    total = None
    for column in range(gathers.indices.shape[1]):
        part = jnp.take(features, gathers.indices[:, column], axis=-2, mode="clip")
        if gathers.weights is not None:
            part = part * gathers.weights[:, column, None].astype(features.dtype)
        total = part if total is None else total + part
    assert total is not None
    if gathers.rest is not None and gathers.slots is not None:
        total = total + jnp.take(_product(gathers.rest, features), gathers.slots, axis=-2, mode="clip")
    return total
