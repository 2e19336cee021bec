import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.geometry.batches import batch_under_vmap


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 0)])
def test_a_batch_is_computed_at_once_and_as_its_examples(axes):
    seen = []

    def function(pair, scale):
        seen.append(len(scale))
        return (pair[0] - pair[1]) * scale[:, None]

    random = np.random.default_rng(0)
    pair = tuple(random.normal(size=(3, 3)).astype(np.float32) for _ in range(2))
    scale = random.normal(size=3).astype(np.float32) if axes[1] == 0 else np.float32(2)
    pair = pair if axes[0] is not None else tuple(x[0] for x in pair)
    found = jax.vmap(batch_under_vmap(function), axes)(pair, scale)
    np.testing.assert_allclose(found, jax.vmap(lambda p, s: (p[0] - p[1]) * s, axes)(pair, scale), rtol=1e-6)
    # Once for its shape, once for the batch.
    assert seen[-1] == 3


def test_batches_of_batches_are_one_batch():
    counts = batch_under_vmap(lambda x: jnp.full(x.shape, len(x)))
    assert (jax.vmap(jax.vmap(jax.vmap(counts)))(jnp.zeros([2, 3, 4])) == 24).all()
    assert counts(jnp.zeros(5)).tolist() == [1] * 5
    assert jax.vmap(counts)(jnp.zeros([0, 5])).shape == (0, 5)
