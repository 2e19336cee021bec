"""Neighbours, rings and spirals of a mesh's vertices. Works on the host, in NumPy."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from facedis_jax.errors import InputError


def check_surface(triangles: np.ndarray, num_vertices: int, *, where: str, one_piece: bool = False) -> None:
    """Checks that triangles are a surface on which meshes can be sampled and vertices have rings.

    Args:
      triangles: [triangles, 3] indices of vertices.
      num_vertices: of the mesh.
      where: what the mesh is called in errors.
      one_piece: whether it must hang together.

    Raises:
      InputError: no triangles, one with two equal corners, a vertex outside all of them, an edge of three or more, two
        neighbours that are turned opposite ways, or several pieces.
    """

    def refuse(expected: str, found: str) -> None:
        raise InputError(where, expected, found)

    triangles = np.asarray(triangles)
    if not len(triangles):
        refuse("a mesh with triangles", "none")
    if triangles.min() < 0 or triangles.max() >= num_vertices:
        refuse(f"triangles of {num_vertices:,} vertices", f"vertex {triangles.max()}")
    flat = (triangles == np.roll(triangles, 1, axis=1)).any(1)
    if flat.any():
        refuse("triangles with three different corners", f"triangle {flat.argmax()} with two equal ones")
    unused = np.bincount(triangles.ravel(), minlength=num_vertices) == 0
    if unused.any():
        refuse("vertices that triangles use", f"{unused.sum():,} that none does, such as vertex {unused.argmax()}")
    directed = _directed_edges(triangles)
    edges, counts = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    if counts.max() > 2:
        a, b = edges[counts.argmax()]
        refuse("a surface, two triangles at an edge", f"{counts.max()} at the edge of vertices {a} and {b}")
    same_way, counts = np.unique(directed, axis=0, return_counts=True)
    if counts.max() > 1:
        a, b = same_way[counts.argmax()]
        refuse("triangles turned one way", f"two turned opposite ways at the edge of vertices {a} and {b}")
    if one_piece:
        pieces = np.bincount(piece_of_vertex(triangles, num_vertices))
        if len(pieces) > 1:
            shown = ", ".join(f"{size:,}" for size in sorted(pieces, reverse=True)[:4])
            refuse("a mesh in one piece", f"{len(pieces)} pieces, of {shown}{', ...' * (len(pieces) > 4)} vertices")


def adjacency(triangles: np.ndarray, num_vertices: int) -> sparse.csr_array:
    """The matrix [vertices, vertices] that is 1 where two vertices share an edge."""
    directed = _directed_edges(triangles)
    both = np.concatenate([directed, directed[:, ::-1]])
    shape = (num_vertices, num_vertices)
    found = sparse.csr_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=shape)
    found.sum_duplicates()
    found.data[:] = 1
    return found


def piece_of_vertex(triangles: np.ndarray, num_vertices: int) -> np.ndarray:
    """[vertices] the number of the connected piece that each vertex belongs to."""
    return sparse.csgraph.connected_components(adjacency(triangles, num_vertices), directed=False)[1]


def canonical_order(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of vertices and triangles by where they lie, the same however a mesh numbers them.

    Vertices at exactly one place keep their order.

    Returns:
      [vertices] the vertices in that order, and [triangles, 3] the triangles in places of that order, each from its
      smallest corner on.
    """
    order = np.lexsort(np.asarray(vertices, np.float64).T[::-1])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    placed = place[np.asarray(triangles)]
    first = placed.argmin(1)
    turned = placed[np.arange(len(placed))[:, None], (first[:, None] + np.arange(3)) % 3]
    return order, turned[np.lexsort(turned.T[::-1])]


def ordered_rings(vertices: np.ndarray, triangles: np.ndarray) -> list[list[int]]:
    """The neighbours of each vertex, counter-clockwise seen from outside.

    A ring at a border begins there; a closed one at the nearest neighbour. Public code begins at whichever half-edge
    its library lists first, which depends on how the mesh was written.

    Args:
      vertices: [vertices, 3].
      triangles: [triangles, 3], of a surface as `check_surface` wants it.
    """
    after: list[dict[int, int]] = [{} for _ in vertices]
    for a, b, c in np.asarray(triangles).tolist():
        after[a][b], after[b][c], after[c][a] = c, a, b
    rings = []
    for vertex, following in enumerate(after):
        distances = {n: float(np.sum((vertices[n] - vertices[vertex]) ** 2)) for n in {*following, *following.values()}}
        nearest_first = sorted(distances, key=lambda n: (distances[n], n))
        starts = [n for n in nearest_first if n not in set(following.values())]
        ring: list[int] = []
        for start in [*starts, *nearest_first]:
            walker: int | None = start
            while walker is not None and walker not in ring:
                ring.append(walker)
                walker = following.get(walker)
        rings.append(ring)
    return rings


def spirals(vertices: np.ndarray, triangles: np.ndarray, length: int, dilation: int = 1) -> np.ndarray:
    """Of each vertex, the vertices on the spiral around it, [vertices, length] int32, itself first.

    Rings are followed outwards: the next one is made of the rings of the last one's vertices, each from the vertex
    before it on. A piece of a mesh with fewer vertices than the spiral is long goes on with the nearest ones in space.

    Args:
      vertices: [vertices, 3].
      triangles: [triangles, 3].
      length: of a spiral.
      dilation: of `length * dilation` vertices every so many are taken.

    References:
      Gong et al., "SpiralNet++: A Fast and Highly Efficient Mesh Convolution Operator", 2019.

    Raises:
      ValueError: for fewer vertices than a spiral takes.
    """
    whole = length * dilation
    if len(vertices) < whole:
        raise ValueError(f"spirals of {whole} vertices of a mesh of {len(vertices)}")
    rings = ordered_rings(vertices, triangles)
    tree = cKDTree(vertices)
    found = np.empty((len(vertices), length), np.int32)
    for vertex in range(len(vertices)):
        spiral = _spiral(vertex, rings, whole)
        if len(spiral) < whole:
            near = np.atleast_1d(tree.query(vertices[vertex], min(2 * whole, len(vertices)))[1]).tolist()
            seen = set(spiral)
            spiral += [n for n in near if n not in seen][: whole - len(spiral)]
        found[vertex] = spiral[::dilation]
    return found


def _spiral(vertex: int, rings: Sequence[list[int]], whole: int) -> list[int]:
    spiral, last = [vertex, *rings[vertex]], rings[vertex]
    seen = set(spiral)
    while len(spiral) < whole and last:
        ring: list[int] = []
        for before, here in zip([last[-1], *last], last, strict=False):
            around = rings[here]
            start = around.index(before) + 1 if before in around else 0
            for neighbour in around[start:] + around[:start]:
                if neighbour not in seen:
                    seen.add(neighbour)
                    ring.append(neighbour)
        spiral += ring
        last = ring
    return spiral[:whole]


def border_edges(triangles: np.ndarray) -> np.ndarray:
    """[edges, 2] the edges of one triangle alone, in the direction in which it has them."""
    directed = _directed_edges(triangles)
    counts = Counter(map(tuple, np.sort(directed, axis=1).tolist()))
    is_border = [counts[(min(a, b), max(a, b))] == 1 for a, b in directed.tolist()]
    return directed[np.array(is_border, bool)]


def _directed_edges(triangles: np.ndarray) -> np.ndarray:
    triangles = np.asarray(triangles)
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
