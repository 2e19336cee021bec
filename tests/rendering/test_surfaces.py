import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.rendering.surfaces import boundary_loops, faces_away, vertex_normals, visible_fragments


def sphere(rings: int = 20, around: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere with its poles left open, outside seen counter-clockwise."""
    polar, azimuth = np.meshgrid(np.linspace(0.3, np.pi - 0.3, rings), np.arange(around) * 2 * np.pi / around)
    polar, azimuth = polar.T, azimuth.T
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij")
    a, b = (i * around + j).ravel(), (i * around + (j + 1) % around).ravel()
    quads = np.stack([a, a + around, b + around, b], -1)
    return points.reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def test_normals_of_a_sphere_point_outwards():
    points, triangles = sphere()
    middle = np.abs(points[:, 2]) < 0.8
    np.testing.assert_allclose(vertex_normals(points, triangles)[middle], points[middle], atol=0.02)


def test_a_vertex_of_no_triangle_has_no_normal():
    points, triangles = sphere()
    normals = vertex_normals(np.concatenate([points, [[9.0, 9.0, 9.0]]]), triangles)
    np.testing.assert_array_equal(normals[-1], 0)


def test_the_loops_of_a_sphere_are_its_poles():
    points, triangles = sphere()
    loops = boundary_loops(triangles, len(points))
    assert sorted(sorted(loop.tolist()) for loop in loops) == [list(range(40)), list(range(760, 800))]


def test_clockwise_triangles_show_their_back():
    corners = np.array([[[0, 0], [1, 0], [0, 1]], [[0, 0], [0, 1], [1, 0]]], float)
    np.testing.assert_array_equal(faces_away(corners), [False, True])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), width=st.integers(1, 14), height=st.integers(1, 14))
def test_pixels_show_the_last_triangle_over_their_centre(seed: int, width: int, height: int):
    """Against a loop over pixels and triangles in float64; the corners reach beyond the picture."""
    corners = np.random.default_rng(seed).uniform(-6, 18, (7, 3, 2)).astype(np.float32)
    seen = visible_fragments(corners, (width, height))
    assert (np.diff(seen.pixel) > 0).all()
    found = dict(zip(seen.pixel.tolist(), zip(seen.triangle, seen.weights, strict=True), strict=True))
    for row in range(height):
        for column in range(width):
            weights = np.stack([_barycentric(triangle, (column, row)) for triangle in corners.astype(float)])
            depth_inside = weights.min(-1)
            if np.abs(depth_inside).min() < 1e-4:  # on an edge, which single precision decides either way
                continue
            covering = np.flatnonzero(depth_inside > 0)
            pixel = row * width + column
            assert (pixel in found) == bool(len(covering))
            if len(covering):
                triangle, found_weights = found[pixel]
                assert triangle == covering[-1]
                np.testing.assert_allclose(found_weights, weights[triangle], atol=1e-3)


def _barycentric(corners: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    matrix = np.concatenate([corners.T, np.ones((1, 3))])
    return np.linalg.solve(matrix, [*point, 1.0])


def test_neighbouring_triangles_leave_no_gap():
    """A fan of slivers over the whole picture, with corners on pixel centres."""
    angles = np.linspace(0, 2 * np.pi, 38)
    rim = 7.5 + 20 * np.stack([np.cos(angles), np.sin(angles)], -1)
    corners = np.stack([np.full((37, 2), 7.5), rim[:-1], rim[1:]], 1)
    assert len(visible_fragments(corners, (16, 16)).pixel) == 256
    square = np.array([[0, 0], [15, 0], [15, 15], [0, 15]])
    assert len(visible_fragments(square[[[0, 1, 2], [0, 2, 3]]], (16, 16)).pixel) == 256


def test_triangles_without_area_or_outside_cover_nothing():
    flat = np.array([[[1, 1], [5, 5], [3, 3]], [[2, 2], [2, 2], [2, 2]], [[40, 40], [50, 40], [40, 50]]])
    seen = visible_fragments(flat, (8, 8))
    assert len(seen.pixel) == len(seen.triangle) == len(seen.weights) == 0
