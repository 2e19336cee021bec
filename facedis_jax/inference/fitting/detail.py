"""What a model's codes cannot hold of a scan: a smooth displacement of the fitted face onto it."""

import numpy as np
from scipy.sparse import coo_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from facedis_jax.inference.fitting.scans import Samples
from facedis_jax.rendering.surfaces import vertex_normals

# Of each step: how stiff the displacement is, and mm from how far the scan pulls.
_STEPS = ((1.0, 5.0), (0.3, 4.0), (0.1, 3.0), (0.1, 3.0))


def detailed(vertices: np.ndarray, triangles: np.ndarray, scan: Samples) -> np.ndarray:
    """A face [vertices, 3] mm moved onto a scan that it was fitted to, [vertices, 3] float64.

    As in non-rigid registration (Amberg et al., "Optimal Step Nonrigid ICP", 2007), the displacement is stiff at first,
    with neighbouring vertices moved alike; but vertices move to the planes of the scan and not to its points, and those
    that lie over a hole follow their neighbours.

    Args:
      vertices: of the face, in the scan's place.
      triangles: [triangles, 3] of the face.
      scan: many points of the scan.
    """
    start = np.asarray(vertices, np.float64)
    tree, count = cKDTree(scan.points), len(start)
    edges = np.unique(np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    ones = np.ones(len(edges))
    links = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    links = links + links.T
    stiffness = kron(diags_array(links.sum(1)) - links, eye_array(3))
    moved = start.copy()
    for stiff, reach in _STEPS:
        found = tree.query(moved)[1]
        gap, normals = scan.points[found] - moved, scan.normals[found].astype(np.float64)
        along = (gap * normals).sum(1)
        aside = np.sqrt(np.maximum((gap**2).sum(1) - along**2, 0))
        agree = np.abs((vertex_normals(moved, triangles) * normals).sum(1))
        weights = (aside < 2 * scan.spacing + 1) * np.clip(2 * agree - 1, 0, 1) / (1 + (along / reach) ** 2) ** 2
        # The displacement from the start, for the stiffness to be of all of it.
        wanted = along + ((moved - start) * normals).sum(1)
        rows = np.arange(3 * count).reshape(count, 3)
        outer = weights[:, None, None] * normals[:, :, None] * normals[:, None, :]
        pull = coo_array(
            (outer.ravel(), (rows.repeat(3, 1).ravel(), np.tile(rows, (1, 3)).ravel())), shape=(3 * count, 3 * count)
        )
        matrix = (pull + stiff * stiffness + 1e-3 * eye_array(3 * count)).tocsc()
        right = (weights * wanted)[:, None] * normals
        moved = start + splu(matrix).solve(right.ravel()).reshape(count, 3)
    return moved
