"""Operations on points and meshes as pure functions of one example; imports jax and numpy alone."""

from facedis_jax.geometry.points import farthest_point_sample, k_nearest
from facedis_jax.geometry.registration import rigid_registration

__all__ = ["farthest_point_sample", "k_nearest", "rigid_registration"]
