"""Operators on meshes against float64 NumPy and SciPy, on random meshes in any order of their vertices."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, sparse, stats
from scipy.spatial import cKDTree

from facedis_jax.errors import InputError
from facedis_jax.models.rivals.faces.decimation import barycentric, decimated
from facedis_jax.models.rivals.faces.deformation import DeformationSpace
from facedis_jax.models.rivals.faces.hierarchy import MeshLevel, level_spirals, mesh_hierarchy
from facedis_jax.models.rivals.faces.layers import chebyshev_convolution, spiral_convolution
from facedis_jax.models.rivals.faces.recoupling import recoupled
from facedis_jax.models.rivals.faces.sparse import sparse_operator
from facedis_jax.models.rivals.faces.topology import adjacency, check_surface, ordered_rings
from tests.rival_meshes import random_surface, renumbered


def gradients(function, *arguments):
    weights = np.cos(np.arange(np.size(function(*arguments)))).astype(np.float32)
    return jax.grad(lambda *x: (function(*x).ravel() * weights).sum(), argnums=range(len(arguments)))(*arguments)


@pytest.mark.parametrize("long_row", [False, True])
def test_a_sparse_product_and_its_gradient(long_row):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((9, 12)) * (rng.random((9, 12)) < 0.25)
    dense[4] = 0
    if long_row:
        dense[2], dense[:, 3] = 1.5, -2
    operator = sparse_operator(sparse.csr_array(dense))
    x = rng.standard_normal((2, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(operator(x), dense @ x.astype(np.float64), atol=1e-5)
    (gradient,) = gradients(operator, x)
    (expected,) = gradients(lambda x: jnp.einsum("rc,bcf->brf", jnp.asarray(dense, jnp.float32), x), x)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    lowered = jax.jit(jax.grad(lambda x: (operator(x) ** 2).sum())).lower(x).as_text()
    assert "scatter" not in lowered


@pytest.mark.parametrize(("channels", "filters"), [(2, 5), (5, 2)])
@pytest.mark.parametrize("orders", [1, 5])
def test_chebyshev_convolutions(channels, filters, orders):
    vertices, triangles = random_surface(1, 30)
    level = MeshLevel(vertices, triangles)
    edges = np.zeros((len(vertices), len(vertices)))
    for a, b, c in triangles:
        edges[[a, b, c], [b, c, a]] = edges[[b, c, a], [a, b, c]] = 1
    degrees = edges.sum(1)
    normalised = -edges / np.sqrt(degrees[:, None] * degrees)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((len(vertices), 3, channels)).astype(np.float32)
    kernel = rng.standard_normal((orders, channels, filters)).astype(np.float32)

    def plain(x, kernel):
        polynomials = [jnp.eye(len(vertices)), jnp.asarray(normalised, jnp.float32)]
        while len(polynomials) < orders:
            polynomials.append(2 * polynomials[1] @ polynomials[-1] - polynomials[-2])
        return sum(jnp.einsum("uv,vbc,co->ubo", *part) for part in zip(polynomials, [x] * orders, kernel, strict=False))

    convolve = chebyshev_convolution(level.laplacian)
    values, vectors = np.linalg.eigh(normalised)
    terms = [np.cos(k * np.arccos(np.clip(values, -1, 1))) for k in range(orders)]
    exact = sum((vectors * t) @ vectors.T @ (x.reshape(len(x), -1).astype(np.float64)) .reshape(len(x), -1)
                @ np.kron(np.eye(3), w) for t, w in zip(terms, kernel, strict=True))  # fmt: skip
    np.testing.assert_allclose(convolve(x, kernel).reshape(len(x), -1), exact, atol=2e-4)
    for found, expected in zip(gradients(convolve, x, kernel), gradients(plain, x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-4, rtol=1e-4)
    # The other Laplacian reaches from -1 to 1.
    scaled = np.asarray(level.scaled_laplacian(np.eye(len(vertices), dtype=np.float32)))
    np.testing.assert_allclose(np.linalg.eigvalsh(scaled)[[0, -1]], [-1, 1], atol=1e-5)


# Few filters, and many, go another way than as many as channels.
@pytest.mark.parametrize(("channels", "filters"), [(3, 4), (16, 2), (2, 8)])
def test_spiral_convolutions(channels, filters):
    vertices, triangles = random_surface(2, 30)
    indices = level_spirals(MeshLevel(vertices, triangles), 7)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, len(vertices), channels)).astype(np.float32)
    kernel = rng.standard_normal((7 * channels, filters)).astype(np.float32)

    def plain(x, kernel):
        return x[:, indices].reshape(2, len(vertices), -1) @ kernel

    convolve = spiral_convolution(indices)
    np.testing.assert_allclose(convolve(x, kernel), plain(x.astype(np.float64), kernel), atol=1e-4)
    for found, expected in zip(gradients(convolve, x, kernel), gradients(plain, x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    both = jax.vmap(convolve, (None, 0))(x, jnp.stack([kernel, 2 * kernel]))
    np.testing.assert_allclose(both[1], 2 * both[0], rtol=1e-5)


def test_spirals_run_around_each_vertex_ring_by_ring():
    vertices, triangles = random_surface(3, 60)
    edges = adjacency(triangles, len(vertices)).toarray() > 0
    steps = sparse.csgraph.shortest_path(sparse.csr_array(edges), unweighted=True)
    for vertex, spiral in enumerate(level_spirals(MeshLevel(vertices, triangles), 9)):
        assert spiral[0] == vertex
        assert len(set(spiral)) == 9
        assert (np.diff(steps[vertex, spiral]) >= 0).all()
    is_border = np.array([len(ring) for ring in ordered_rings(vertices, triangles)])
    is_border = is_border != np.bincount(triangles.ravel())
    assert 0 < is_border.mean() < 1
    for vertex, ring in enumerate(ordered_rings(vertices, triangles)):
        assert sorted(ring) == np.flatnonzero(edges[vertex]).tolist()
        # Neighbours in the ring are neighbours on the surface.
        closed = [*ring, *ring[:1]] if not is_border[vertex] else ring
        assert all(edges[a, b] for a, b in pairwise(closed))
        if not is_border[vertex]:
            assert ring[0] == min(ring, key=lambda n: np.linalg.norm(vertices[n] - vertices[vertex]))


def test_a_piece_too_small_for_a_spiral_goes_on_with_the_nearest():
    vertices, triangles = random_surface(0, 40)
    far = np.array([[0.0, 0, 300], [5, 0, 300], [0, 5, 300]])
    more = np.concatenate([triangles, len(vertices) + np.array([[0, 1, 2]])])
    spiral = level_spirals(MeshLevel(np.concatenate([vertices, far]), more), 6)[-1]
    assert set(spiral[:3]) == set(len(vertices) + np.arange(3))
    nearest = cKDTree(vertices).query(far[2], 3)[1]
    assert spiral[3:].tolist() == nearest.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_coarser_meshes_are_surfaces_near_the_fine_one(seed):
    vertices, triangles = random_surface(seed, 200)
    coarse = decimated(vertices, triangles, 50)
    assert len(coarse.kept) == 50
    check_surface(coarse.triangles, 50, where="coarse")
    kept = vertices[coarse.kept]
    # But for slivers, no triangle is turned over, and no hole is closed.
    normals = np.cross(*(kept[coarse.triangles[:, i]] - kept[coarse.triangles[:, 0]] for i in (1, 2)))
    assert (normals[:, 2] > 0).mean() > 0.95
    borders = [
        (adjacency(t, len(v)).nnz // 2, len(v), len(t)) for v, t in ((vertices, triangles), (kept, coarse.triangles))
    ]
    euler = [v - e + t for e, v, t in borders]
    assert euler == [0, 0]
    # The quadrics keep the shape: a random choice of as many vertices is further from the surface.
    back = barycentric(vertices, kept, coarse.triangles)
    error = np.linalg.norm(back @ kept - vertices, axis=1).mean()
    assert error < 2.5


def test_the_way_up_is_the_closest_place_and_sums_to_one():
    vertices, triangles = random_surface(4, 120)
    coarse = decimated(vertices, triangles, 40)
    kept = vertices[coarse.kept]
    weights = barycentric(vertices, kept, coarse.triangles)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert weights.min() >= 0
    assert np.diff(sparse.csr_array(weights).indptr).max() <= 3
    np.testing.assert_allclose(weights[coarse.kept].toarray(), np.eye(40), atol=1e-9)
    moved = barycentric(vertices + 1000, kept + 1000, coarse.triangles)
    np.testing.assert_allclose(moved.toarray(), weights.toarray(), atol=1e-8)
    # No place on any triangle is closer.
    grid = np.array(
        [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1, 21) if a + b <= 1 + 1e-9]
    )
    places = np.einsum("gk,tkc->tgc", grid, kept[coarse.triangles]).reshape(-1, 3)
    nearest = cKDTree(places).query(vertices)[0]
    assert (np.linalg.norm(weights @ kept - vertices, axis=1) <= nearest + 1e-9).all()


def test_nothing_depends_on_how_vertices_are_numbered():
    vertices, triangles = random_surface(5, 150)
    others, shuffled, order = renumbered(vertices, triangles, 6)
    x = np.random.default_rng(0).standard_normal((len(vertices), 4)).astype(np.float32)
    made = [
        mesh_hierarchy(*mesh, num_coarser=2, fewest=9, where="mesh")
        for mesh in ((vertices, triangles), (others, shuffled))
    ]
    first, second = made
    for level, same in zip(first.levels[1:], second.levels[1:], strict=True):
        np.testing.assert_array_equal(level.vertices, same.vertices)
    down = first.down[0](x)
    np.testing.assert_array_equal(down, second.down[0](x[order]))
    np.testing.assert_allclose(first.up[0](down)[order], second.up[0](down), atol=1e-6)
    spiral, same = (level_spirals(h.levels[0], 9) for h in made)
    np.testing.assert_array_equal(spiral[order], order[same])
    np.testing.assert_allclose(first.levels[0].laplacian(x)[order], second.levels[0].laplacian(x[order]), atol=1e-6)


def faces_of(vertices, seed, count=3):
    """Faces that differ from a reference by much."""
    rng = np.random.default_rng(seed)
    waves = np.sin(vertices[None] @ rng.normal(scale=0.02, size=(count, 3, 3)) + rng.uniform(0, 6, (count, 1, 3)))
    turned = linalg.expm(np.array([[0, -0.3, 0.2], [0.3, 0, -0.1], [-0.2, 0.1, 0]]))
    return (vertices @ turned + 12 * waves + rng.normal(scale=0.3, size=(count, *vertices.shape))).astype(np.float32)


def test_the_deformation_representation_is_its_definition():
    vertices, triangles = random_surface(7, 40)
    (face,) = faces_of(vertices, 0, 1).astype(np.float64)
    rest, mirrored = vertices, vertices * [1, 1, -1]
    faces = np.stack([face, rest, mirrored]).astype(np.float32)
    found, unmoved, turned_over = np.asarray(jax.jit(DeformationSpace(vertices, triangles).features)(faces))
    assert np.abs(unmoved).max() < 1e-5
    # Proper rotations, whatever the face.
    assert np.isfinite(turned_over).all()
    edges = adjacency(triangles, len(vertices)).toarray() > 0

    def normal(points, vertex):
        own = points[triangles[(triangles == vertex).any(1)]]
        total = np.cross(own[:, 1] - own[:, 0], own[:, 2] - own[:, 0]).sum(0)
        return total / np.linalg.norm(total)

    for vertex in range(len(vertices)):
        around = np.flatnonzero(edges[vertex])
        e, moved = vertices[around] - vertices[vertex], face[around] - face[vertex]
        weight = (e**2).sum() / 2
        n, m = normal(vertices, vertex), normal(face, vertex)
        eye = 1e-3 * weight * np.eye(3)
        transform = (moved.T @ e + weight * np.outer(m, n) + eye) @ np.linalg.inv(
            e.T @ e + weight * np.outer(n, n) + eye
        )
        rotation, stretch = linalg.polar(transform)
        assert np.linalg.det(rotation) > 0
        log = linalg.logm(rotation).real
        expected = [*(stretch - np.eye(3))[np.triu_indices(3)], log[2, 1], log[0, 2], log[1, 0]]
        np.testing.assert_allclose(found[vertex], expected, atol=2e-4)


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_face_comes_back_from_its_deformation(pieces):
    vertices, triangles = random_surface(8, 150)
    faces = faces_of(vertices, 1)
    if pieces == 2:
        # A second piece that is carried along.
        vertices = np.concatenate([vertices, vertices + np.array([0, 0, 30])])
        triangles = np.concatenate([triangles, triangles + len(vertices) // 2])
        faces = np.concatenate([faces, faces + np.float32([0, 0, 30])], 1)
    space = DeformationSpace(vertices, triangles)
    back = np.asarray(jax.jit(lambda x: space.faces(space.features(x)))(faces), np.float64)
    if pieces == 2:
        # Where a piece lies is known as far as the surroundings of the nearest vertex tell; its shape is.
        half = back.shape[1] // 2
        back, faces = back[:, half:], faces[:, half:]
    moved = faces - faces.mean(1, keepdims=True) - (back - back.mean(1, keepdims=True))
    assert np.linalg.norm(moved, axis=-1).max() < 1e-4


_SHEET = np.array([[0, 1, 2], [1, 3, 2]])
BAD = {
    "no triangles": (np.zeros((0, 3), int), 4, "triangles, found none"),
    "an index too large": (np.array([[0, 1, 9]]), 4, "vertex 9"),
    "a flat triangle": (np.array([[0, 1, 1], [1, 3, 2]]), 4, "two equal"),
    "an isolated vertex": (_SHEET, 5, "vertex 4"),
    "a fin": (np.array([[0, 1, 2], [1, 3, 2], [2, 1, 4]]), 5, "3 at the edge"),
    "turned opposite ways": (np.array([[0, 1, 2], [1, 2, 3]]), 4, "opposite ways"),
    "two pieces": (np.concatenate([_SHEET, _SHEET + 4]), 8, "2 pieces, of 4, 4 vertices"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_surface_is_refused(name):
    triangles, count, named = BAD[name]
    with pytest.raises(InputError, match=named) as refused:
        check_surface(triangles, count, where="face.ply", one_piece=True)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("face.ply")


def test_too_few_vertices_for_the_sampling_are_refused():
    vertices, triangles = random_surface(0, 40)
    with pytest.raises(InputError, match="144 vertices or more"):
        mesh_hierarchy(vertices, triangles, num_coarser=3, fewest=9, where="face.ply")


def test_products_of_codes_are_distributed_as_the_codes():
    codes = np.random.default_rng(0).normal(size=(2, 20_000, 1)).astype(np.float32)
    found = np.asarray(jax.jit(recoupled)(*codes))[:, 0, 0]
    assert stats.kstest(found, "norm").pvalue > 0.01
    uniform = stats.norm.cdf(codes.astype(np.float64)).prod(0)[:, 0]
    np.testing.assert_allclose(found, stats.norm.ppf(uniform * (1 - np.log(uniform))), atol=0.02)
    # Far out in the tails there are numbers still, and slopes.
    slope = jax.grad(lambda code: recoupled(code, code).sum())(jnp.array([-9.0, 0.0, 9.0]))
    assert np.isfinite(slope).all()
