"""Operations on points, meshes and images as pure functions of one example; imports jax and numpy alone."""

from facedis_jax.geometry.monotone import affine_flow, monotone_flow
from facedis_jax.geometry.nearest import closest_on_surface, closest_on_triangles, nearest_both_ways, triangle_rings
from facedis_jax.geometry.optical_flow import optical_flow
from facedis_jax.geometry.points import farthest_point_sample, k_nearest
from facedis_jax.geometry.registration import rigid_registration
from facedis_jax.geometry.rotations import rotation_matrix, spread_rotations, vertex_normals
from facedis_jax.geometry.surfaces import sample_surface, spread_over_surface
from facedis_jax.geometry.warp import canonical_grid, integrated_flow, warp

__all__ = [
    "affine_flow",
    "canonical_grid",
    "closest_on_surface",
    "closest_on_triangles",
    "farthest_point_sample",
    "integrated_flow",
    "k_nearest",
    "monotone_flow",
    "nearest_both_ways",
    "optical_flow",
    "rigid_registration",
    "rotation_matrix",
    "sample_surface",
    "spread_over_surface",
    "spread_rotations",
    "triangle_rings",
    "vertex_normals",
    "warp",
]
