"""Operations on points, meshes and images as pure functions of one example; imports jax and numpy alone."""

from facedis_jax.geometry.points import farthest_point_sample, k_nearest
from facedis_jax.geometry.registration import rigid_registration
from facedis_jax.geometry.surfaces import sample_surface, spread_over_surface
from facedis_jax.geometry.warp import canonical_grid, warp

__all__ = [
    "canonical_grid",
    "farthest_point_sample",
    "k_nearest",
    "rigid_registration",
    "sample_surface",
    "spread_over_surface",
    "warp",
]
