import math

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.metrics import Average


def test_ragged_batches_merge_into_the_average_of_all():
    values = np.random.default_rng(0).normal(size=10).astype(np.float32)
    whole = Average.of(values[:4]).merge(Average.of(values[4:9])).merge(Average.of(values[9:]))
    np.testing.assert_allclose(whole.compute(), values.astype(np.float64).mean(), rtol=1e-5)


def test_masked_values_do_not_count_even_if_they_are_not_numbers():
    values, mask = jnp.array([1.0, jnp.nan, 3.0, jnp.inf]), jnp.array([1.0, 0.0, 1.0, 0.0])
    assert Average.of(values, mask).compute() == 2.0
    assert math.isnan(Average.of(values, jnp.zeros(4)).compute())


def test_pairs_add_up_over_devices_as_a_tree():
    values = jnp.arange(12.0).reshape(3, 4)
    shares = jax.vmap(Average.of)(values)
    assert jax.tree.map(jnp.sum, shares).compute() == 5.5
