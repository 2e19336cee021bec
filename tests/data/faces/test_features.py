import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.data.faces.face_set import ArraySource
from facedis_jax.data.faces.features import FeatureSource, map_vertices


def make_source(size):
    rng = np.random.default_rng(0)
    return ArraySource(
        vertices=rng.normal(size=(size, 5, 3)).astype(np.float32),
        subject=rng.integers(3, size=size).astype(np.int32),
        expression=np.zeros(size, np.int32),
        level=np.zeros(size, np.float32),
        index=np.arange(size, dtype=np.int32),
    )


@pytest.mark.parametrize("size", [1, 32, 33, 70])
def test_every_face_is_mapped_and_nothing_is_compiled_twice(size):
    traces = []

    def function(vertices):
        traces.append(vertices.shape)
        return {"mean": vertices.mean(axis=0), "order": jnp.argsort(vertices[:, 2])}

    source = make_source(size)
    mapped = map_vertices(function, source)
    assert traces == [(5, 3)]
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(mapped))
    np.testing.assert_allclose(mapped["mean"], source.vertices.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(mapped["order"], source.vertices[:, :, 2].argsort(axis=1))


def test_each_face_carries_its_own_features():
    source = make_source(40)
    carried = FeatureSource(source, map_vertices(lambda vertices: (vertices.sum(), vertices[0]), source))
    assert len(carried) == 40
    for i in (0, 31, 32, 39):
        face = carried[i]
        total, first = face.pop("features")
        np.testing.assert_allclose(total, source.vertices[i].sum(), rtol=1e-4)
        np.testing.assert_array_equal(first, source.vertices[i, 0])
        jax.tree.map(np.testing.assert_array_equal, face, dict(source[i]))
