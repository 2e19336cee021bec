"""Averages that stay exact over ragged batches and devices: a sum and a count until they are read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Average(NamedTuple):
    """A weighted sum and the weight behind it: scalars, so that pairs add up over batches and devices.

    Example:
      >>> Average.of(jnp.array([1.0, 2.0, 9.0]), mask=jnp.array([1.0, 1.0, 0.0])).compute()
      1.5
    """

    sum: jax.Array
    count: jax.Array  # type: ignore[assignment]

    @classmethod
    def of(cls, values: jax.Array, mask: jax.Array | None = None) -> "Average":
        """Sums `values` [...] where `mask` (same shape, 0 or 1) is set; masked values may be non-finite.

        Example:
          >>> average = Average.of(jnp.array([1.0, 2.0, jnp.nan]), mask=jnp.array([1.0, 1.0, 0.0]))
          >>> float(average.sum), float(average.count)
          (3.0, 2.0)
        """
        values = jnp.asarray(values)
        if mask is None:
            return cls(jnp.sum(values), jnp.asarray(values.size, values.dtype))
        return cls(jnp.sum(jnp.where(mask > 0, values, 0)), jnp.sum(mask).astype(values.dtype))

    def merge(self, other: "Average") -> "Average":
        """The average over both sets of examples.

        Example:
          >>> Average.of(jnp.array([1.0, 2.0])).merge(Average.of(jnp.array([9.0]))).compute()
          4.0
        """
        return Average(self.sum + other.sum, self.count + other.count)

    def compute(self) -> float:
        """Reads the value on the host; NaN where nothing was counted.

        Example:
          >>> Average.of(jnp.array([1.0, 2.0])).compute()
          1.5
        """
        count = float(self.count)
        return float(self.sum) / count if count else float("nan")
