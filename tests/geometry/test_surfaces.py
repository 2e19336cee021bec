import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare, kstest

from facedis_jax.geometry import sample_surface, spread_over_surface

sample = jax.jit(sample_surface, static_argnums=3)


def mesh(seed, triangles=40):
    """Triangles of very different areas that share no vertex: every point tells which it lies in."""
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(triangles, 3, 3)) * np.exp(rng.normal(size=(triangles, 1, 1)))
    corners[:, :, 2] += 20 * np.arange(triangles)[:, None]
    return corners.reshape(-1, 3).astype(np.float32), np.arange(3 * triangles).reshape(-1, 3)


def barycentric(points, corners):
    """Weights [points, 3] of a triangle's corners by least squares, and distances from its plane, in float64."""
    a, b, c = corners.astype(np.float64)
    edges = np.stack([b - a, c - a], axis=1)
    weights = (points - a) @ np.linalg.pinv(edges).T
    off_plane = np.linalg.norm(points - a - weights @ edges.T, axis=1)
    return np.column_stack([1 - weights.sum(axis=1), weights]), off_plane


def test_points_lie_in_triangles_in_proportion_to_their_areas_and_evenly_within():
    vertices, triangles = mesh(0)
    corners = vertices[triangles].astype(np.float64)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    points = np.asarray(sample(jax.random.key(0), vertices, triangles, 20_000))
    found = [barycentric(points, corner) for corner in corners]
    inside = np.stack([(weights.min(axis=1) > -1e-3) & (off < 1e-3) for weights, off in found])
    assert (inside.sum(axis=0) == 1).all()
    counts = inside.sum(axis=1)
    largest = counts.argmax()
    assert chisquare(counts, 20_000 * areas / areas.sum()).pvalue > 0.01
    # Of a uniform point in a triangle, each barycentric coordinate is distributed as 1 - sqrt(1 - U).
    weights = found[largest][0][inside[largest]]
    for coordinate in weights.T:
        assert kstest(coordinate, lambda x: 1 - (1 - np.clip(x, 0, 1)) ** 2).pvalue > 0.01


@pytest.mark.parametrize("seed", range(4))
def test_degenerate_triangles_are_never_chosen(seed):
    rng = np.random.default_rng(seed)
    vertices = rng.normal(scale=100, size=(60, 3)).astype(np.float32)
    a, b = rng.integers(0, 59, size=(2, 5000))
    vertices[59] = (vertices[0] + vertices[1]) / 2
    degenerate = np.concatenate([np.stack([a, b, b], axis=1), np.stack([a, b, a], axis=1), [[0, 1, 59], [2, 2, 2]]])
    triangles = rng.permutation(np.concatenate([degenerate, [[10, 11, 12]]]))
    points = np.asarray(sample(jax.random.key(seed), vertices, triangles, 20_000))
    weights, off_plane = barycentric(points, vertices[[10, 11, 12]])
    assert weights.min() > -1e-4
    assert off_plane.max() < 1e-3


def test_a_key_gives_its_points_and_batches_are_single_meshes():
    vertices, triangles = mesh(1)
    keys = jax.random.split(jax.random.key(3), 3)
    clouds = np.stack([vertices, 2 * vertices, vertices + 1])
    together = jax.jit(jax.vmap(lambda key, cloud: sample_surface(key, cloud, triangles, 50)))(keys, clouds)
    for key, cloud, points in zip(keys, clouds, together, strict=True):
        np.testing.assert_allclose(sample(key, cloud, triangles, 50), points, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(sample(key, cloud, triangles, 50), sample(key, cloud, triangles, 50))
    assert not np.allclose(sample(keys[0], vertices, triangles, 50), sample(keys[1], vertices, triangles, 50))


def test_the_gradient_moves_points_with_their_triangles():
    vertices, triangles = jnp.eye(3), jnp.array([[0, 1, 2]])
    gradient = jax.jit(jax.grad(lambda vertices: sample(jax.random.key(0), vertices, triangles, 8).sum()))(vertices)
    # Barycentric weights of each point sum to one, in every coordinate.
    np.testing.assert_allclose(gradient.sum(axis=0), 8, rtol=1e-6)
    assert (gradient > 0).all()


def test_what_does_not_fit_is_refused():
    key, vertices, triangles = jax.random.key(0), jnp.eye(3), jnp.array([[0, 1, 2]])
    assert sample(key, vertices, triangles, 0).shape == (0, 3)
    for bad in (
        (vertices[:, :2], triangles, 4),
        (vertices, triangles[0], 4),
        (vertices, triangles[:0], 4),
        (vertices, triangles, -1),
    ):
        with pytest.raises(ValueError, match="got"):
            sample_surface(key, *bad)


def test_spread_points_lie_evenly_over_area():
    vertices = jnp.array([[0.0, 0, 0], [10, 0, 0], [10, 1, 0], [0, 1, 0], [0, 0, 5], [10, 0, 5]])
    # A strip of an area of 10 in two triangles, and one triangle of 25, the smaller one first.
    triangles = jnp.array([[0, 1, 2], [0, 2, 3], [0, 1, 5]])
    points = np.asarray(spread_over_surface(vertices, triangles, 7000), np.float64)
    on_strip = points[:, 2] == 0
    assert abs(on_strip.sum() - 2000) <= 2
    # Means over each are those of the area, far nearer than of random points (0.003 against 0.06 mm of deviation).
    np.testing.assert_allclose(points[on_strip].mean(0), [5, 0.5, 0], atol=0.01)
    np.testing.assert_allclose(points[~on_strip].mean(0), [20 / 3, 0, 5 / 3], atol=0.01)
    np.testing.assert_array_equal(points, spread_over_surface(vertices, triangles, 7000))
