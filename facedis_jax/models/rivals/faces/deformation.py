"""The deformation representation of faces: what each vertex's surroundings are turned and stretched by.

As Jiang et al. have it, a vertex's nine features are the stretch S, by its upper triangle, and the logarithm of the
rotation R of the linear map T = R S that takes the edges to its neighbours from a reference to the face, less those of
no deformation. Two things differ from their public code, so that a face comes back from its features exactly:

- A vertex's normal counts as one more edge. In flat surroundings the edges alone leave open what T does to the normal,
  and in nearly flat ones the noise of a scan decides it.
- The way back solves for the vertices whose edges have these maps in the sense by which the maps were found. Theirs
  solves a Laplacian equation with cotangent weights, which gives the face back where maps are alike around a vertex.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from facedis_jax.geometry import rotation_matrix
from facedis_jax.models.rivals.faces.sparse import sparse_operator
from facedis_jax.models.rivals.faces.topology import adjacency, piece_of_vertex

_PRECISE = jax.lax.Precision.HIGHEST
# Where all edges of a vertex lie in one line, part of the map is left open: it is taken as no change.
_OPEN = 1e-3
# Sweeps of Jacobi's method, of which three bring a 3 x 3 matrix to the precision of float32.
_SWEEPS = 4


@dataclass(frozen=True, eq=False)
class DeformationSpace:
    """The representation of faces of one topology by their deformation from a reference.

    Attributes:
      reference: [vertices, 3], mm.
      triangles: [triangles, 3], of a surface.
    """

    reference: np.ndarray
    triangles: np.ndarray

    def features(self, faces: jax.Array) -> jax.Array:
        """The features [..., vertices, 9] of faces [..., vertices, 3]."""
        edges = self._edge_products(faces)
        normals = self._normals(faces)
        products = edges + self._normal_weight[:, None, None] * normals[..., :, None] * self._normal[:, None, :]
        products = products + jnp.eye(3) * self._open[:, None, None]
        maps = _product(products, self._inverse_moments)
        rotation, stretch = _polar(maps)
        return jnp.concatenate([_upper(stretch) - _upper(jnp.eye(3)), rotation_vector(rotation)], -1)

    def faces(self, features: jax.Array) -> jax.Array:
        """The faces [..., vertices, 3] of features [..., vertices, 9], with the centre of the reference."""
        rotation, stretch = rotation_matrix(features[..., 6:]), _symmetric(features[..., :6]) + jnp.eye(3)
        maps = _product(rotation, stretch)
        wanted = _product(maps, self._tangent_moments) - self._tangent_open
        reference = jnp.asarray(self.reference, jnp.float32)
        faces = jnp.broadcast_to(reference, (*features.shape[:-2], *reference.shape))
        for _ in range(2):
            # The second round mends what single precision leaves of the first.
            rest = wanted - self._tangent_products(faces)
            rows = jnp.moveaxis(rest, -1, -2).reshape(*rest.shape[:-3], -1, 3)
            bridges = self._bridges(maps, faces)
            step = self._back(jnp.concatenate([rows, bridges], axis=-2))
            # One product for all faces.
            columns = jnp.moveaxis(step, -2, 0)
            moved = _product(self._inverse, columns.reshape(len(columns), -1)).reshape(columns.shape)
            moved = jnp.moveaxis(moved, 0, -2)
            faces = faces + moved - moved.mean(-2, keepdims=True)
        return faces

    @cached_property
    def _edges(self) -> np.ndarray:
        """[edges, 2] vertices and their neighbours, each edge both ways."""
        rows, columns = adjacency(self.triangles, len(self.reference)).nonzero()
        return np.stack([rows, columns], 1)

    @cached_property
    def _vectors(self) -> np.ndarray:
        points = np.asarray(self.reference, np.float64)
        return points[self._edges[:, 1]] - points[self._edges[:, 0]]

    @cached_property
    def _edge_moments(self) -> np.ndarray:
        """[vertices, 3, 3], the sum of e e^T over each vertex's edges."""
        moments = np.zeros((len(self.reference), 3, 3))
        np.add.at(moments, self._edges[:, 0], self._vectors[:, :, None] * self._vectors[:, None])
        return moments

    @cached_property
    def _normal_weight(self) -> np.ndarray:
        """[vertices]: as much as the edges weigh along one direction of the surface."""
        return np.trace(self._edge_moments, axis1=1, axis2=2) / 2

    @cached_property
    def _open(self) -> np.ndarray:
        return _OPEN * self._normal_weight

    @cached_property
    def _normal(self) -> np.ndarray:
        """[vertices, 3], of the reference."""
        a, b, c = np.moveaxis(np.asarray(self.reference, np.float64)[self.triangles], 1, 0)
        total = self._incidence @ np.cross(b - a, c - a)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return total / np.where(length > 0, length, 1)

    @cached_property
    def _incidence(self) -> sparse.csr_array:
        """The matrix [vertices, triangles] that is 1 where a vertex is a corner."""
        corners = np.asarray(self.triangles).ravel()
        shape = (len(self.reference), len(self.triangles))
        return sparse.csr_array((np.ones(len(corners)), (corners, np.arange(len(corners)) // 3)), shape=shape)

    @cached_property
    def _around(self) -> Callable[[jax.Array], jax.Array]:
        return sparse_operator(self._incidence)

    def _normals(self, faces: jax.Array) -> jax.Array:
        """Unit normals [..., vertices, 3], each of the sum of its triangles' normals by their areas."""
        a, b, c = (faces[..., self.triangles[:, i], :] for i in range(3))
        return _unit(self._around(jnp.cross(b - a, c - a)))

    @cached_property
    def _moments(self) -> np.ndarray:
        outer = self._normal[:, :, None] * self._normal[:, None]
        eye = np.eye(3) * self._open[:, None, None]
        return self._edge_moments + self._normal_weight[:, None, None] * outer + eye

    @cached_property
    def _inverse_moments(self) -> np.ndarray:
        return np.linalg.inv(self._moments).astype(np.float32)

    @cached_property
    def _tangent(self) -> np.ndarray:
        """[vertices, 3, 3], which takes the normal out of a vector."""
        squares = np.square(self._normal).sum(1)[:, None, None]
        outer = self._normal[:, :, None] * self._normal[:, None]
        return np.eye(3) - outer / np.where(squares > 0, squares, 1)

    @cached_property
    def _scale(self) -> np.ndarray:
        """[vertices, 1, 1], by which equations are divided, so that large triangles weigh no more than small ones."""
        return self._normal_weight[:, None, None]

    @cached_property
    def _tangent_moments(self) -> np.ndarray:
        return (self._moments @ self._tangent / self._scale).astype(np.float32)

    @cached_property
    def _tangent_open(self) -> np.ndarray:
        return (self._open[:, None, None] * self._tangent / self._scale).astype(np.float32)

    def _product_matrix(self, vectors: np.ndarray) -> sparse.csr_array:
        """The matrix [3 vertices, vertices] from one coordinate to its part of the sums of e' e^T."""
        count, (start, end) = len(self.reference), self._edges.T
        rows = (3 * start[:, None] + np.arange(3)).ravel()
        values = vectors.ravel()
        there = sparse.csr_array((values, (rows, np.repeat(end, 3))), shape=(3 * count, count))
        here = sparse.csr_array((values, (rows, np.repeat(start, 3))), shape=(3 * count, count))
        return sparse.csr_array(there - here)

    @cached_property
    def _edge_products(self) -> Callable[[jax.Array], jax.Array]:
        """Faces [..., vertices, 3] to the sums of e' e^T, [..., vertices, 3, 3]."""
        return self._as_products(self._product_matrix(self._vectors))

    @cached_property
    def _tangent_matrix(self) -> sparse.csr_array:
        vectors = np.einsum("ecd,ec->ed", (self._tangent / self._scale)[self._edges[:, 0]], self._vectors)
        return self._product_matrix(vectors)

    @cached_property
    def _tangent_products(self) -> Callable[[jax.Array], jax.Array]:
        return self._as_products(self._tangent_matrix)

    def _as_products(self, matrix: sparse.csr_array) -> Callable[[jax.Array], jax.Array]:
        operator, count = sparse_operator(matrix), len(self.reference)

        def products(faces: jax.Array) -> jax.Array:
            rows = operator(faces).reshape(*faces.shape[:-2], count, 3, 3)
            return jnp.moveaxis(rows, -1, -2)

        return products

    @cached_property
    def _pairs(self) -> np.ndarray:
        """[pieces - 1, 2]: of each piece but the largest, the vertex of the others that is nearest, and its own."""
        points, piece = np.asarray(self.reference), piece_of_vertex(self.triangles, len(self.reference))
        largest = np.bincount(piece).argmax()
        there = np.flatnonzero(piece == largest)
        pairs = []
        for number in np.setdiff1d(np.unique(piece), largest):
            own = np.flatnonzero(piece == number)
            distance, place = cKDTree(points[there]).query(points[own])
            nearest = distance.argmin()
            pairs.append((there[place[nearest]], own[nearest]))
        return np.array(pairs, int).reshape(-1, 2)

    def _bridges(self, maps: jax.Array, faces: jax.Array) -> jax.Array:
        """What is missing of the edges between pieces, [..., pieces - 1, 3], as the map at their start has them."""
        start, end = self._pairs.T
        edge = np.asarray(self.reference)[end] - np.asarray(self.reference)[start]
        wanted = jnp.einsum("...pij,pj->...pi", maps[..., start, :, :], edge.astype(np.float32), precision=_PRECISE)
        return wanted - (faces[..., end, :] - faces[..., start, :])

    @cached_property
    def _equations(self) -> sparse.csr_array:
        """All linear equations of one coordinate, [3 vertices + pieces - 1, vertices]."""
        count, number = len(self.reference), np.arange(len(self._pairs))
        rows, columns = np.concatenate([number, number]), self._pairs.T.ravel()
        values = np.concatenate([-np.ones(len(number)), np.ones(len(number))])
        bridges = sparse.csr_array((values, (rows, columns)), shape=(len(number), count))
        return sparse.csr_array(sparse.vstack([self._tangent_matrix, bridges]))

    @cached_property
    def _back(self) -> Callable[[jax.Array], jax.Array]:
        return sparse_operator(sparse.csr_array(self._equations.T))

    @cached_property
    def _inverse(self) -> np.ndarray:
        """[vertices, vertices], of the normal equations, where the centre stays."""
        normal = (self._equations.T @ self._equations).toarray()
        # Moving all vertices alike changes no edge: a weight on it makes the equations solvable and changes nothing.
        normal += np.trace(normal) / len(normal) ** 2
        return np.linalg.inv(normal).astype(np.float32)


def rotation_vector(rotation: jax.Array) -> jax.Array:
    """The axis of rotations [..., 3, 3] times their angle in radians, [..., 3], the inverse of `rotation_matrix`.

    Below half a turn; at half a turn it is zero.

    Example:
      >>> print(rotation_vector(rotation_matrix(jnp.array([0.1, -0.2, 0.3]))).round(3))
      [ 0.1 -0.2  0.3]
    """
    skew = (rotation - jnp.swapaxes(rotation, -1, -2)) / 2
    axis = jnp.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    sine = jnp.linalg.norm(axis, axis=-1)
    angle = jnp.arctan2(sine, (jnp.trace(rotation, axis1=-2, axis2=-1) - 1) / 2)
    factor = jnp.where(sine > 1e-4, angle / jnp.where(sine > 1e-4, sine, 1), 1 + jnp.square(sine) / 6)
    return axis * factor[..., None]


def _polar(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Proper rotations R and symmetric S, [..., 3, 3], whose products are the maps."""
    squares, vectors = _eigen(_product(jnp.swapaxes(maps, -1, -2), maps))
    # The map on its own principal axes, from the longest to the shortest, the last by what is left.
    images = _product(maps, vectors)
    order = jnp.argsort(-squares, axis=-1)
    images, axes = (jnp.take_along_axis(x, order[..., None, :], axis=-1) for x in (images, vectors))
    first = _unit(images[..., 0])
    second = _unit(images[..., 1] - jnp.sum(images[..., 1] * first, -1, keepdims=True) * first)
    third = jnp.cross(first, second) * _sign(axes)[..., None]
    rotation = _product(jnp.stack([first, second, third], -1), jnp.swapaxes(axes, -1, -2))
    stretch = _product(jnp.swapaxes(rotation, -1, -2), maps)
    return rotation, (stretch + jnp.swapaxes(stretch, -1, -2)) / 2


def _sign(axes: jax.Array) -> jax.Array:
    """1 where three axes are right-handed, else -1."""
    return jnp.sign(jnp.sum(jnp.cross(axes[..., 0], axes[..., 1]) * axes[..., 2], -1))


def _unit(vectors: jax.Array) -> jax.Array:
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _eigen(matrices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues [..., 3] and vectors [..., 3, 3] in columns of symmetric matrices, by Jacobi's method.

    For many small matrices at once: LAPACK takes them one by one, and accelerators have no fast path for them.
    """

    def turned(_: int, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        matrices, vectors = pair
        for p, q in ((0, 1), (0, 2), (1, 2)):
            off, difference = matrices[..., p, q], matrices[..., q, q] - matrices[..., p, p]
            angle = jnp.where(off == 0, 0.0, jnp.arctan2(2 * off, difference) / 2)[..., None, None]
            stays, mixes = np.zeros((2, 3, 3), np.float32)
            stays[[p, q], [p, q]], mixes[p, q], mixes[q, p] = 1, 1, -1
            turn = jnp.eye(3) + (jnp.cos(angle) - 1) * stays + jnp.sin(angle) * mixes
            matrices = _product(jnp.swapaxes(turn, -1, -2), _product(matrices, turn))
            vectors = _product(vectors, turn)
        return matrices, vectors

    start = (matrices, jnp.broadcast_to(jnp.eye(3), matrices.shape))
    matrices, vectors = jax.lax.fori_loop(0, _SWEEPS, turned, start)
    return jnp.diagonal(matrices, axis1=-2, axis2=-1), vectors


def _product(first: jax.Array | np.ndarray, second: jax.Array | np.ndarray) -> jax.Array:
    return jnp.matmul(first, second, precision=_PRECISE)


_UPPER = np.triu_indices(3)


def _upper(matrices: jax.Array) -> jax.Array:
    return matrices[..., _UPPER[0], _UPPER[1]]


def _symmetric(numbers: jax.Array) -> jax.Array:
    """Symmetric matrices [..., 3, 3] of their upper triangles [..., 6]."""
    place = np.zeros((3, 3), int)
    place[_UPPER] = np.arange(6)
    place.T[_UPPER] = np.arange(6)
    return numbers[..., place]
