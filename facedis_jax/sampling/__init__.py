"""Sampling from densities as pure functions of one example; imports jax and numpy alone."""

from facedis_jax.sampling.hoist import hoist, separate
from facedis_jax.sampling.langevin import (
    LangevinStatistics,
    alternating_langevin,
    alternating_langevin_with_statistics,
    langevin,
    langevin_with_statistics,
)

__all__ = [
    "LangevinStatistics",
    "alternating_langevin",
    "alternating_langevin_with_statistics",
    "hoist",
    "langevin",
    "langevin_with_statistics",
    "separate",
]
