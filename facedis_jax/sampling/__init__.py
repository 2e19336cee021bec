"""Sampling from densities as pure functions of one example; imports jax and numpy alone."""

from facedis_jax.sampling.langevin import (
    alternating_langevin,
    alternating_langevin_with_statistics,
    langevin,
    langevin_with_statistics,
)
from facedis_jax.sampling.steps import LangevinStatistics

__all__ = [
    "LangevinStatistics",
    "alternating_langevin",
    "alternating_langevin_with_statistics",
    "langevin",
    "langevin_with_statistics",
]
