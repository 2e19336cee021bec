"""A mesh and coarser meshes of it, with the operators between them and on each, computed once from a template."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

from facedis_jax.errors import InputError
from facedis_jax.models.rivals.faces.decimation import barycentric, decimated
from facedis_jax.models.rivals.faces.sparse import SparseOperator, selection, sparse_operator
from facedis_jax.models.rivals.faces.topology import adjacency, canonical_order, check_surface, spirals

# Of no registered face; coarser meshes of more would take many minutes.
_MOST_VERTICES = 100_000


@dataclass(frozen=True, eq=False)
class MeshLevel:
    """One mesh of a hierarchy.

    Attributes:
      vertices: [vertices, 3], of the template.
      triangles: [triangles, 3].
    """

    vertices: np.ndarray
    triangles: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)

    @cached_property
    def laplacian_matrix(self) -> sparse.csr_array:
        """The symmetric normalised Laplacian 1 - D^-1/2 A D^-1/2, [vertices, vertices]."""
        edges = adjacency(self.triangles, len(self))
        roots = sparse.diags_array(1 / np.sqrt(edges.sum(1)))
        return sparse.csr_array(sparse.eye_array(len(self)) - roots @ edges @ roots)

    @cached_property
    def laplacian(self) -> SparseOperator:
        """The Laplacian less the identity: scaled to [-1, 1] where its largest eigenvalue is taken as 2."""
        return sparse_operator(sparse.csr_array(self.laplacian_matrix - sparse.eye_array(len(self))))

    @cached_property
    def scaled_laplacian(self) -> SparseOperator:
        """The Laplacian scaled to [-1, 1] by its true largest eigenvalue."""
        start = np.ones(len(self)) / np.sqrt(len(self))
        largest = float(eigsh(self.laplacian_matrix, k=1, v0=start + np.linspace(0, 1, len(self)))[0][0])
        return sparse_operator(sparse.csr_array(self.laplacian_matrix * (2 / largest) - sparse.eye_array(len(self))))


@dataclass(frozen=True, eq=False)
class MeshHierarchy:
    """A mesh, coarser meshes of it, and linear functions from [..., vertices, channels] of one to those of the next.

    Nothing of it depends on how the template's vertices are numbered, but for the order of the first level's.

    Attributes:
      levels: from fine to coarse.
      down: from each level to the next, which keeps some of its vertices.
      up: back, by barycentric weights.
    """

    levels: Sequence[MeshLevel]
    down: Sequence[SparseOperator]
    up: Sequence[SparseOperator]


def mesh_hierarchy(
    template: np.ndarray, triangles: np.ndarray, *, num_coarser: int, factor: float = 4, fewest: int = 1, where: str
) -> MeshHierarchy:
    """The hierarchy of a template.

    Args:
      template: [vertices, 3].
      triangles: [triangles, 3].
      num_coarser: how many coarser meshes.
      factor: how many times fewer vertices each has than the one before.
      fewest: vertices of the mesh before the coarsest, on which the last of an encoder's layers works.
      where: what the mesh is called in errors.

    Raises:
      InputError: the mesh is no surface, or has too few vertices.
    """
    template = np.asarray(template, np.float64)
    check_surface(triangles, len(template), where=where)
    if len(template) > _MOST_VERTICES:
        raise InputError(where, f"a mesh of at most {_MOST_VERTICES:,} vertices", f"{len(template):,}")
    needed = float(np.ceil(np.exp(np.log(fewest) + max(num_coarser - 1, 0) * np.log(factor)) * (1 - 1e-9)))
    if len(template) < needed:
        expected = (
            f"{needed:,.0f} vertices or more, for {num_coarser} coarser meshes, each of 1/{factor:g} of the one before"
        )
        raise InputError(where, expected, f"{len(template):,}")
    # Levels are found in an order of the vertices that is the same however the mesh numbers them.
    order, placed = canonical_order(template, triangles)
    fine, levels, down, up = template[order], [MeshLevel(template, np.asarray(triangles))], [], []
    # The first level has its vertices as the mesh numbers them.
    for number in range(num_coarser):
        coarse = decimated(fine, placed, int(np.ceil(len(fine) / factor)))
        back = barycentric(fine, fine[coarse.kept], coarse.triangles)
        kept = coarse.kept
        if not number:
            back, kept = back[np.argsort(order)], order[kept]
        down.append(sparse_operator(selection(kept, len(fine))))
        up.append(sparse_operator(back))
        fine, placed = fine[coarse.kept], coarse.triangles
        levels.append(MeshLevel(fine, placed))
    return MeshHierarchy(levels, down, up)


def level_spirals(level: MeshLevel, length: int, dilation: int = 1) -> np.ndarray:
    """`spirals` of a level, the same however its vertices are numbered: [vertices, length]."""
    order, placed = canonical_order(level.vertices, level.triangles)
    found = np.empty((len(level), length), np.int32)
    found[order] = order[spirals(level.vertices[order], placed, length, dilation)]
    return found
