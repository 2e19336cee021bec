"""Faces with features of each mesh that are computed once, before training."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from facedis_jax.data.ahead import read_ahead
from facedis_jax.data.faces.face_set import FaceSource
from facedis_jax.data.shared_memory import shareable_array
from facedis_jax.progress import track

# Meshes per call of the compiled function, of which each core makes one at a time.
_CHUNK = 8


class FeatureSource:
    """A source of faces with a further field, `features`.

    Args:
      source: the faces.
      features: a pytree of arrays [faces, ...], in the order of the source.
    """

    def __init__(self, source: FaceSource, features: Any):
        self.source = source
        self.features = features

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features = jax.tree.map(lambda x: x[index], self.features)
        return {**self.source[index], "features": features}


def map_vertices(function: Callable[[jax.Array], Any], source: FaceSource, what: str = "computing features") -> Any:
    """Results of a function for every face of a source, as host arrays [faces, ...], computed on all cores.

    Args:
      function: of the vertices [vertices, 3] of one face, in mm; it is vmapped and compiled.
      source: the faces.
      what: is computed, for the progress that is shown.
    """
    example = source[0]["vertices"]
    chunk = jax.ShapeDtypeStruct((_CHUNK, *example.shape), example.dtype)
    mapped = jax.jit(jax.vmap(function)).lower(chunk).compile()
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), mapped.out_info)
    # Filled in place: parts that are joined at the end would for a while be there twice.
    results = jax.tree.map(lambda leaf: shareable_array((len(source), *leaf.shape), leaf.dtype), shapes)

    def chunks() -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(source), _CHUNK):
            rows = range(first, min(first + _CHUNK, len(source)))
            vertices = np.stack([source[i]["vertices"] for i in rows])
            # The last chunk is filled up, so that nothing is compiled twice.
            yield first, np.concatenate([vertices, np.repeat(vertices[-1:], _CHUNK - len(rows), axis=0)])

    def compute(numbered: tuple[int, np.ndarray]) -> None:
        first, vertices = numbered
        for result, part in zip(jax.tree.leaves(results), jax.tree.leaves(mapped(vertices)), strict=True):
            result[first : first + _CHUNK] = np.asarray(part)[: len(source) - first]

    num_chunks = -(-len(source) // _CHUNK)
    for _ in track(read_ahead(compute, chunks()), what, total=num_chunks):
        pass
    return results
