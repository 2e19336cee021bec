import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from facedis_jax.geometry import rotation_matrix, spread_rotations, triangle_rings, vertex_normals

VECTORS = np.random.default_rng(0).normal(size=(50, 3)) * np.geomspace(1e-6, 3, 50)[:, None]


def test_rotations_of_vectors_are_scipys():
    expected = Rotation.from_rotvec(VECTORS).as_matrix()
    np.testing.assert_allclose(rotation_matrix(jnp.asarray(VECTORS, jnp.float32)), expected, atol=2e-6)


def test_gradients_at_no_rotation_are_finite():
    gradient = jax.jacfwd(rotation_matrix)(jnp.zeros(3))
    np.testing.assert_allclose(gradient[:, :, 2], [[0, -1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(("count", "farthest"), [(72, 50), (600, 25)])
def test_every_rotation_is_near_one_of_those_spread_evenly(count, farthest):
    turns = Rotation.from_matrix(spread_rotations(count))
    for turn in Rotation.random(100, rng=0):
        assert np.degrees((turns * turn.inv()).magnitude().min()) < farthest


def test_normals_point_outwards():
    sphere = trimesh.creation.icosphere(subdivisions=2)
    rings = triangle_rings(sphere.faces, len(sphere.vertices) + 1)
    vertices = np.concatenate([sphere.vertices, [[3, 3, 3]]]).astype(np.float32)
    normals = vertex_normals(jnp.asarray(vertices), jnp.asarray(sphere.faces), rings)
    assert (np.sum(np.asarray(normals)[:-1] * sphere.vertices, 1) > 0.99).all()
    assert np.isfinite(normals).all()
