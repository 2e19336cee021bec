import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.inference.chunks import in_chunks


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11])
def test_results_are_those_of_one_call_and_the_function_compiles_once(count):
    rng = np.random.default_rng(count)
    x, pair = rng.normal(size=(count, 2)).astype(np.float32), {"y": rng.normal(size=(count, 2, 3)).astype(np.float32)}
    shapes = []

    @jax.jit
    def function(x, pair, missing):
        assert missing is None
        shapes.append((x.shape, pair["y"].shape))
        return {"product": jnp.einsum("ni,nij->nj", x, pair["y"]), "none": None}, x.sum(axis=1)

    found, sums = in_chunks(function, (x, pair, None), 4)
    assert shapes == [((4, 2), (4, 2, 3))]
    assert found["none"] is None
    np.testing.assert_allclose(found["product"], np.einsum("ni,nij->nj", x, pair["y"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sums, x.sum(axis=1), rtol=1e-5, atol=1e-6)
    assert isinstance(sums, np.ndarray)


def test_a_chunk_that_is_not_full_is_filled_with_repeats():
    seen = []

    def function(x):
        seen.append(x.tolist())
        return x

    np.testing.assert_array_equal(in_chunks(function, (np.arange(7),), 5), np.arange(7))
    assert seen == [[0, 1, 2, 3, 4], [5, 6, 6, 6, 6]]
