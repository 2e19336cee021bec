"""Random surfaces for the tests of what works on meshes."""

import numpy as np
from scipy.spatial import Delaunay


def random_surface(seed: int, count: int = 60, *, hole: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] and triangles of a bulging disc of random points, with a hole in it."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(-1, 1, (3 * count, 2))
    distance = np.linalg.norm(flat, axis=1)
    flat = flat[(distance < 1) & (distance > 0.2)][:count]
    triangles = Delaunay(flat).simplices
    u, v = (flat[triangles[:, i]] - flat[triangles[:, 0]] for i in (1, 2))
    turned = u[:, 0] * v[:, 1] < u[:, 1] * v[:, 0]
    triangles[turned] = triangles[turned][:, ::-1]
    if hole:
        corners = flat[triangles]
        triangles = triangles[np.abs(_winding(corners)) < 0.5]
    used, triangles = np.unique(triangles, return_inverse=True)
    points = np.c_[flat, 1 - (flat**2).sum(1) / 2] + 0.01 * rng.standard_normal((len(flat), 3))
    return 80 * points[used], triangles.reshape(-1, 3).astype(np.int32)


def _winding(corners: np.ndarray) -> np.ndarray:
    """How often triangles [triangles, 3, 2] turn around the origin."""
    angles = np.arctan2(corners[..., 1], corners[..., 0])
    steps = (np.roll(angles, -1, axis=1) - angles + np.pi) % (2 * np.pi) - np.pi
    return steps.sum(1) / (2 * np.pi)


def renumbered(vertices: np.ndarray, triangles: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same surface with its vertices and triangles in another order, and [vertices] where each vertex was."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(vertices))
    place = np.argsort(order)
    shuffled = np.roll(place[triangles[rng.permutation(len(triangles))]], 1, axis=1)
    return vertices[order], shuffled.astype(np.int32), order
