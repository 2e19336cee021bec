"""Faces with features of each mesh that are computed once, before training."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from facedis_jax.data.faces.face_set import FaceSource

# Meshes per call of the compiled function: enough to keep a few cores busy.
_CHUNK = 32


class FeatureSource:
    """A source of faces with a further field, `features`.

    Args:
      source: the faces.
      features: a pytree of arrays [faces, ...], in the order of the source.
    """

    def __init__(self, source: FaceSource, features: Any):
        self._source = source
        self._features = features

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features = jax.tree.map(lambda x: x[index], self._features)
        return {**self._source[index], "features": features}


def map_vertices(function: Callable[[jax.Array], Any], source: FaceSource) -> Any:
    """Results of a function for every face of a source, as host arrays [faces, ...].

    Args:
      function: of the vertices [vertices, 3] of one face, in mm; it is vmapped and compiled.
      source: the faces.
    """
    mapped = jax.jit(jax.vmap(function))
    results = []
    for first in range(0, len(source), _CHUNK):
        rows = range(first, min(first + _CHUNK, len(source)))
        vertices = np.stack([source[i]["vertices"] for i in rows])
        # The last chunk is filled up, so that nothing is compiled twice.
        size = len(vertices)
        filled = np.concatenate([vertices, np.repeat(vertices[-1:], _CHUNK - size, axis=0)])
        results.append(jax.tree.map(lambda x, size=size: np.asarray(x)[:size], mapped(filled)))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
