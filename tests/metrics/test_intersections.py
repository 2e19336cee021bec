import numpy as np
import pytest
import trimesh
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from facedis_jax.metrics import intersections, self_intersections

PAIR = np.arange(6).reshape(2, 3)
SECOND = np.array([0, 0, 0, 1, 1, 1])[:, None]
CROSSING = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, -1], [1, 1, 1], [9, 9, 1]], float)


def sheet(size, height):
    """A square grid of `size` x `size` cells with `height(x, y)` above it."""
    x, y = np.meshgrid(np.arange(size + 1.0), np.arange(size + 1.0), indexing="ij")
    vertices = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(size)[:, None] * (size + 1) + np.arange(size)).reshape(-1)
    lower = np.stack([corner, corner + size + 1, corner + 1], axis=1)
    upper = np.stack([corner + size + 1, corner + size + 2, corner + 1], axis=1)
    return vertices, np.concatenate([lower, upper])


def share_a_point(first, second):
    """Whether two triangles meet, as a linear programme over the corners' weights."""
    equal = np.zeros([5, 6])
    equal[:3, :3], equal[:3, 3:] = first.T, -second.T
    equal[3, :3] = equal[4, 3:] = 1
    return linprog(np.zeros(6), A_eq=equal, b_eq=[0, 0, 0, 1, 1], method="highs").status == 0


def test_two_crossing_triangles():
    assert self_intersections(CROSSING, PAIR) == 2
    assert self_intersections(CROSSING + SECOND * [0, 0, 1.5], PAIR) == 0


def test_a_triangle_that_crosses_two_counts_once():
    above = CROSSING[:3] + np.array([0, 0, 0.5])
    vertices = np.concatenate([CROSSING, above])
    assert self_intersections(vertices, np.arange(9).reshape(3, 3)) == 3


def six_points(axes, reach):
    """Different points of a small grid."""
    point = st.tuples(*[st.integers(-reach, reach)] * axes)
    return st.lists(point, min_size=6, max_size=6, unique=True).map(lambda points: np.array(points, float))


def check_against_linear_programme(corners):
    edges = corners.reshape(2, 3, 3)[:, 1:] - corners.reshape(2, 3, 3)[:, :1]
    assume(np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).min() > 0)
    expected = 2 if share_a_point(corners[:3], corners[3:]) else 0
    assert self_intersections(corners, PAIR) == expected
    tilted = corners @ Rotation.random(rng=0).as_matrix().T
    assert self_intersections(tilted, PAIR) == expected


@settings(deadline=None, max_examples=200)
@given(six_points(axes=3, reach=2))
def test_pairs_agree_with_a_linear_programme(corners):
    """Small integers, so that touching and collinear pairs are frequent."""
    check_against_linear_programme(corners)


@settings(deadline=None, max_examples=200)
@given(six_points(axes=2, reach=3))
def test_pairs_in_one_plane_agree_with_a_linear_programme(corners):
    check_against_linear_programme(np.pad(corners, [(0, 0), (0, 1)]))


def test_many_triangles_agree_with_all_pairs(monkeypatch):
    monkeypatch.setattr(intersections, "_PAIRS_AT_A_TIME", 50)
    monkeypatch.setattr(intersections, "_TESTS_AT_A_TIME", 7)
    rng = np.random.default_rng(0)
    vertices = np.repeat(rng.uniform(-1, 1, size=(60, 3)), 3, axis=0) + 0.2 * rng.normal(size=(180, 3))
    triangles = vertices.reshape(60, 3, 3)
    meets = [[i != j and share_a_point(triangles[i], triangles[j]) for j in range(60)] for i in range(60)]
    expected = int(np.any(meets, axis=1).sum())
    assert 0 < expected < 60
    assert self_intersections(vertices, np.arange(180).reshape(-1, 3)) == expected


@pytest.mark.parametrize("mesh", [trimesh.creation.icosphere(3), trimesh.creation.box(), trimesh.creation.torus(3, 1)])
def test_closed_surfaces_have_none(mesh):
    assert self_intersections(mesh.vertices, mesh.faces) == 0


def test_two_spheres_that_overlap_meet_along_a_ring():
    ball = trimesh.creation.icosphere(3)
    both = trimesh.util.concatenate([ball, ball.copy().apply_translation([1.013, 0.017, 0.029])])
    count = self_intersections(both.vertices, both.faces)
    assert 20 < count < len(both.faces) / 4
    apart = trimesh.util.concatenate([ball, ball.copy().apply_translation([2.1, 0, 0])])
    assert self_intersections(apart.vertices, apart.faces) == 0


def test_a_smooth_sheet_has_none_and_a_folded_one_has_some():
    vertices, triangles = sheet(12, lambda x, y: 0.5 * np.sin(x))
    assert self_intersections(vertices, triangles) == 0
    folded = vertices.copy()
    beyond = folded[:, 0] > 6
    folded[beyond, 0] = 12 - folded[beyond, 0] + 0.3
    folded[beyond, 2] = 0.2 * (folded[beyond, 0] - 4)
    assert self_intersections(folded, triangles) > 0


def test_overlap_in_one_plane_counts():
    square = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, 0], [5, 1, 0], [1, 5, 0]], float)
    assert self_intersections(square, PAIR) == 2
    assert self_intersections(square + SECOND * [9, 0, 0], PAIR) == 0


def test_seams_and_triangles_without_area_are_no_intersections():
    vertices, triangles = sheet(4, lambda x, y: 0.1 * x * y)
    assert self_intersections(vertices[triangles].reshape(-1, 3), np.arange(triangles.size).reshape(-1, 3)) == 0
    collapsed = np.concatenate([triangles, [[0, 0, 24]]])
    assert self_intersections(vertices, collapsed) == 0


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_order_and_similarity_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    vertices, triangles = rng.normal(size=(40, 3)), rng.permutation(120).reshape(40, 3) % 40
    count = self_intersections(vertices, triangles)
    order = rng.permutation(40)
    rotation = Rotation.random(rng=seed).as_matrix()
    moved = scale * vertices[order] @ rotation.T + scale * rng.normal(size=3)
    relabelled = np.argsort(order)[triangles][rng.permutation(40)][:, [1, 2, 0]]
    assert self_intersections(moved, relabelled) == count


def test_nothing_to_look_at_and_nothing_to_trust():
    assert self_intersections(CROSSING, np.zeros([0, 3], int)) == 0
    with pytest.raises(ValueError, match="finite"):
        self_intersections(np.where(CROSSING == 9, np.nan, CROSSING), PAIR)
