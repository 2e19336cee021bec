"""The kernels for TPUs, run as plain JAX, attend as the plain form does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models import OffsetAttention
from facedis_jax.models.attention_kernel import attend, fits
from facedis_jax.models.pct import attend_plain


def results_and_gradients(function, query, value, cotangent):
    result, pull = jax.vjp(function, query, value)
    return result, *pull(cotangent)


# Small energies, and such as leave most of the attention with one key.
@pytest.mark.parametrize("size", [0.1, 3.0])
@pytest.mark.parametrize("points", [128, 256])
def test_the_kernels_are_the_plain_form(points, size):
    rng = np.random.default_rng(points)
    query = jnp.float32(size * rng.normal(size=(2, points, 16)))
    value, cotangent = jnp.float32(rng.normal(size=(2, 2, points, 128)))

    found = results_and_gradients(lambda *a: attend(*a, True), query, value, cotangent)
    expected = results_and_gradients(attend_plain, query, value, cotangent)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    ("platform", "dtype", "points", "precision", "kernels"),
    [
        ("tpu", "bfloat16", 256, "default", 2),
        ("tpu", "bfloat16", 256, "tensorfloat32", 2),
        ("tpu", "float32", 256, "default", 0),
        ("tpu", "bfloat16", 250, "default", 0),
        ("tpu", "bfloat16", 1024, "default", 0),
        ("cuda", "bfloat16", 256, "default", 0),
    ],
)
def test_tpus_take_the_kernels_for_what_they_fit(platform, dtype, points, precision, kernels):
    layer = OffsetAttention("layer")
    inputs = jax.ShapeDtypeStruct((2, points, 128), dtype)
    variables = jax.eval_shape(layer.init, jax.random.key(0), inputs)

    @jax.jit
    def gradients(variables, inputs):
        return jax.grad(lambda v, x: layer.apply(v, x).astype(jnp.float32).sum(), (0, 1))(variables, inputs)

    with jax.default_matmul_precision(precision):
        program = jax.export.export(gradients, platforms=[platform])(variables, inputs).mlir_module()
    assert program.count("@tpu_custom_call") == kernels


@pytest.mark.parametrize(
    ("points", "channels", "keys", "kernels"),
    [
        (512, 1024, 256, True),
        (512, 2048, 64, False),  # more than fast memory holds
        (512, 128, 512, False),
        (256, 128, 20, False),
        (256, 200, 48, False),
        (640, 128, 32, False),
    ],
)
def test_the_kernels_are_for_what_fast_memory_holds(points, channels, keys, kernels):
    query, value = jnp.zeros((1, points, keys)), jnp.zeros((1, points, channels))
    assert fits(query, value) is kernels
    assert not fits(query[:0], value[:0])
    assert not fits(query[0], value[0])
