import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models.linear import RowsDense, linear


@pytest.mark.parametrize("leading", [(), (9,), (2, 3, 4)])
def test_linear_is_the_product_with_its_gradients(leading):
    rng = np.random.default_rng(len(leading))
    inputs, kernel = rng.normal(size=(*leading, 5)), rng.normal(size=(5, 7))
    cotangent = rng.normal(size=(*leading, 7))
    with jax.enable_x64(True):
        value, backward = jax.vjp(linear, inputs, kernel)
        of_inputs, of_kernel = backward(cotangent)
    np.testing.assert_allclose(value, inputs @ kernel, rtol=1e-12)
    np.testing.assert_allclose(of_inputs, cotangent @ kernel.T, rtol=1e-12)
    expected = sum(np.outer(row, g) for row, g in zip(inputs.reshape(-1, 5), cotangent.reshape(-1, 7), strict=True))
    np.testing.assert_allclose(of_kernel, expected, rtol=1e-12)


def test_gradient_of_the_kernel_is_asked_for_without_a_transposition():
    """Which is what the function is for: a transposed copy of the gradient takes XLA:CPU longer than the product."""
    inputs, kernel = jnp.ones((8, 5)), jnp.ones((5, 7))

    def transposed(product):
        def of_kernel(kernel):
            return jax.vjp(lambda k: product(inputs, k), kernel)[1](jnp.ones((8, 7)))

        return "f32[5,7] = transpose[" in str(jax.make_jaxpr(of_kernel)(kernel))

    assert transposed(jnp.matmul)
    assert not transposed(linear)


def test_layer_has_the_parameters_of_a_dense_one_and_a_precision():
    inputs = jnp.ones((4, 3))
    layer = RowsDense(2, precision=jax.lax.Precision.HIGHEST)
    params = layer.init(jax.random.key(0), inputs)["params"]
    assert {name: value.shape for name, value in params.items()} == {"kernel": (3, 2), "bias": (2,)}
    loss = jax.grad(lambda params: layer.apply({"params": params}, inputs).sum())
    assert str(jax.make_jaxpr(loss)(params)).count("Precision.HIGHEST") >= 2
    assert loss(params)["bias"].tolist() == [4, 4]
