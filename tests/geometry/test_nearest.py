import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from facedis_jax.geometry import closest_on_surface, closest_on_triangles, nearest_both_ways, triangle_rings


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 1), (300, 41), (41, 300)])
def test_both_neighbours_are_as_near_as_scipys(sizes):
    one, other = 60 * draw(0, sizes[0], 3), 60 * draw(1, sizes[1], 3)
    for found, (queries, points) in zip(nearest_both_ways(one, other), ((one, other), (other, one)), strict=True):
        expected = cKDTree(points.astype(np.float64)).query(queries)[0]
        np.testing.assert_allclose(np.linalg.norm(queries - points[np.asarray(found)], axis=1), expected, rtol=5e-3)


def test_neighbours_of_batches_come_from_vmap():
    one, other = draw(0, 3, 20, 3), draw(1, 3, 30, 3)
    for found, expected in zip(
        jax.vmap(nearest_both_ways)(one, other),
        zip(*(nearest_both_ways(*pair) for pair in zip(one, other, strict=True)), strict=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, np.stack(expected))


@pytest.mark.parametrize("flat", [False, True])
def test_the_closest_place_of_a_triangle_is_trimeshs(flat):
    corners = draw(0, 500, 3, 3)
    if flat:
        # Three corners on a line, and triangles that are a point.
        corners[:250, 2] = 0.3 * corners[:250, 0] + 0.7 * corners[:250, 1]
        corners[400:, 1:] = corners[400:, :1]
    points = 2 * draw(1, 500, 3)
    weights = np.asarray(closest_on_triangles(jnp.asarray(points), jnp.asarray(corners)))
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    place = (weights[..., None] * corners).sum(1)
    expected = trimesh.triangles.closest_point(corners.astype(np.float64), points.astype(np.float64))
    if flat:
        expected = expected[250:400]
        points, place = points[250:400], place[250:400]
    np.testing.assert_allclose(
        np.linalg.norm(points - place, axis=1), np.linalg.norm(points - expected, axis=1), atol=1e-4
    )


def test_the_surface_around_nearest_vertices_is_the_nearest():
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=50)
    vertices, triangles = np.float32(sphere.vertices), np.int32(sphere.faces)
    points = 40 * draw(2, 200, 3)
    rings = triangle_rings(triangles, len(vertices))
    near = nearest_both_ways(points, vertices)[0]
    triangle, weights = closest_on_surface(jnp.asarray(points), jnp.asarray(vertices), triangles, rings[near])
    place = (np.asarray(weights)[..., None] * vertices[triangles[np.asarray(triangle)]]).sum(1)
    every = [trimesh.triangles.closest_point(sphere.triangles, np.repeat(p[None], len(triangles), 0)) for p in points]
    expected = [np.linalg.norm(p - each, axis=1).min() for p, each in zip(points, every, strict=True)]
    np.testing.assert_allclose(np.linalg.norm(points - place, axis=1), expected, atol=2e-2)


def test_rings_hold_the_triangles_of_each_vertex():
    sphere = trimesh.creation.icosphere(subdivisions=1)
    rings = triangle_rings(sphere.faces, len(sphere.vertices) + 1)
    for vertex in range(len(sphere.vertices)):
        assert set(rings[vertex]) == set(np.flatnonzero((sphere.faces == vertex).any(1)))
    assert (rings[-1] == 0).all()


def test_too_many_points_are_refused():
    with pytest.raises(ValueError, match="65536"):
        nearest_both_ways(jnp.zeros((65_537, 3)), jnp.zeros((1, 3)))
