"""Neighbourhoods with batch statistics: the plain order of layers, the fast one, and the kernels run as plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models.neighbourhood_kernel import block_size, linear_moments_and_extreme
from facedis_jax.models.neighbourhoods import (
    NeighbourhoodMaxPool,
    linear_moments_and_extreme_plain,
    neighbourhood_moments,
)
from facedis_jax.models.normalisation import LinearNormRelu, Normalise


def results_and_gradients(function, inputs, cotangents):
    results, pull = jax.vjp(function, *inputs)
    return jax.tree.leaves((results, pull(cotangents)))


@pytest.mark.parametrize("train", [True, False])
def test_maximum_before_the_normalisation_is_the_plain_order_with_its_gradients(train):
    rng = np.random.default_rng(4)
    gathered, centre = rng.normal(size=(12, 6, 5)), rng.normal(size=(12, 5))
    gathered[:, 1] = gathered[:, 0]  # neighbours that coincide share a gradient

    def layer(features):
        params = {"scale": rng.normal(size=features), "bias": rng.normal(size=features)}
        return params, {"mean": rng.normal(size=features), "var": rng.uniform(1, 2, features)}

    (first, first_statistics), (second, second_statistics) = layer(5), layer(7)
    assert (first["scale"] < 0).any()
    assert (second["scale"] < 0).any()
    kernel, cotangent = rng.normal(size=(5, 7)), rng.normal(size=(12, 7))

    def plain(first, kernel, second, gathered, centre):
        variables = {"params": {"BatchNorm_0": first}, "batch_stats": {"BatchNorm_0": first_statistics}}
        inputs = gathered + centre[:, None]
        hidden, updates = Normalise("batch").apply(variables, inputs, train=train, mutable=["batch_stats"])
        params = {"Dense_0": {"kernel": kernel}, "Normalise_0": {"BatchNorm_0": second}}
        variables = {"params": params, "batch_stats": {"Normalise_0": {"BatchNorm_0": second_statistics}}}
        hidden, more = LinearNormRelu(7, "batch").apply(
            variables, jax.nn.relu(hidden), train=train, mutable=["batch_stats"]
        )
        statistics = updates["batch_stats"]["BatchNorm_0"], more["batch_stats"]["Normalise_0"]["BatchNorm_0"]
        return hidden.max(axis=-2), statistics

    def ours(first, kernel, second, gathered, centre):
        params = {"BatchAffine_0": first, "kernel": kernel, "BatchAffine_1": second}
        statistics = {"BatchAffine_0": first_statistics, "BatchAffine_1": second_statistics}
        variables = {"params": params, "batch_stats": statistics}
        hidden, updates = NeighbourhoodMaxPool(7).apply(
            variables, gathered, centre, train=train, mutable=["batch_stats"]
        )
        return hidden, (updates["batch_stats"]["BatchAffine_0"], updates["batch_stats"]["BatchAffine_1"])

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (first, kernel, second, gathered, centre))
        found, expected = (
            (
                *jax.tree.leaves(jax.jit(f)(*arguments)),
                *results_and_gradients(jax.jit(lambda *a, f=f: f(*a)[0]), arguments, jnp.asarray(cotangent)),
            )
            for f in (ours, plain)
        )
    assert len(found) == 13
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_moments_and_their_gradients_are_those_of_the_sum():
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        inputs = jnp.asarray(rng.normal(size=(8, 6, 5))), jnp.asarray(rng.normal(2, 1, size=(8, 5)))
        cotangents = jnp.asarray(rng.normal(size=5)), jnp.asarray(rng.normal(size=5))

        def plain(gathered, centre):
            hidden = gathered + centre[:, None]
            return hidden.mean((0, 1)), jnp.square(hidden).mean((0, 1))

        found = results_and_gradients(neighbourhood_moments, inputs, cotangents)
        expected = results_and_gradients(plain, inputs, cotangents)
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def draw(neighbourhoods, neighbours, channels, features, dtype):
    rng = np.random.default_rng(channels + features)
    gathered, centre = (
        rng.normal(size=(neighbourhoods, neighbours, channels)),
        rng.normal(size=(neighbourhoods, channels)),
    )
    gathered[:, 1] = gathered[:, 0]  # neighbours that coincide share a gradient
    factor = rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels)
    kernel, sign = rng.normal(size=(channels, features)) / channels**0.5, rng.choice([-1, 1], features)
    mean, bias = rng.normal(size=(2, channels))
    inputs = gathered, centre, mean, factor, bias, kernel, sign
    types = dtype, dtype, "float32", "float32", "float32", dtype, "float32"
    shapes = ((features,), "float32"), ((features,), "float32"), ((neighbourhoods, features), dtype)
    cotangents = tuple(jnp.asarray(rng.normal(size=shape), kind) for shape, kind in shapes)
    return tuple(jnp.asarray(array, kind) for array, kind in zip(inputs, types, strict=True)), cotangents


# One or several blocks on either core; channels and features of one vector or of two.
@pytest.mark.parametrize(
    ("neighbourhoods", "channels", "features", "blocks"), [(256, 128, 128, 2), (192, 256, 128, 3), (64, 128, 256, 1)]
)
def test_the_kernels_are_the_plain_form(neighbourhoods, channels, features, blocks):
    inputs, cotangents = draw(neighbourhoods, 32, channels, features, "float32")
    assert neighbourhoods == 2 * blocks * block_size(inputs[0].shape, features)

    def kernels(*inputs):
        return linear_moments_and_extreme(*inputs, True)

    found = results_and_gradients(kernels, inputs, cotangents)
    expected = results_and_gradients(linear_moments_and_extreme_plain, inputs, cotangents)
    assert len(found) == 10
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_in_bfloat16_the_kernels_are_the_plain_form_up_to_its_rounding():
    inputs, cotangents = draw(64, 16, 128, 128, "bfloat16")
    exact = jax.tree.map(lambda array: array.astype(jnp.float32), (inputs, cotangents))
    found = results_and_gradients(lambda *a: linear_moments_and_extreme(*a, True), inputs, cotangents)
    expected = results_and_gradients(linear_moments_and_extreme_plain, *exact)
    assert [x.dtype for x in found[:3]] == ["float32", "float32", "bfloat16"]
    assert [x.dtype for x in found[3:]] == [x.dtype for x in inputs]
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        # Which of several neighbours is the largest may change, and with it single gradients.
        assert np.corrcoef(np.ravel(one).astype(float), np.ravel(other))[0, 1] > 0.99
    for one, other in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(np.float32(one), other, atol=0.01 * np.abs(other).max())


@pytest.mark.parametrize(
    ("shape", "features", "size"),
    [
        ((16 * 512, 32, 128), 128, 64),
        ((16 * 256, 32, 256), 256, 32),
        ((12, 32, 128), 128, None),  # fewer than fill a vector on each core
        ((0, 32, 128), 128, None),
        ((512, 30, 128), 128, None),
        ((512, 32, 64), 128, None),
        ((512, 32, 128), 64, None),
        ((512, 16, 512), 512, 32),
        ((512, 16, 512), 1024, None),  # the linear layer alone would fill the memory
    ],
)
def test_blocks_fill_vectors_and_divide_the_neighbourhoods(shape, features, size):
    assert block_size(shape, features) == size


def test_what_is_wider_than_the_kernels_is_left_to_the_plain_form():
    rng = np.random.default_rng(6)
    with jax.enable_x64(True):
        gathered, centre = (jnp.asarray(rng.normal(size=size), jnp.bfloat16) for size in ((64, 16, 128), (64, 128)))
        module = NeighbourhoodMaxPool(128)
        variables = module.init(jax.random.key(0), gathered, centre)
        params = jax.tree.map(lambda x: x.astype(float), variables["params"])

        def total(params):
            hidden, _ = module.apply({**variables, "params": params}, gathered, centre, train=True, mutable=True)
            return hidden.astype(float).sum()

        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(total)(params)))


@pytest.mark.parametrize(
    ("platform", "dtype", "neighbours", "precision", "kernels"),
    [
        ("tpu", "bfloat16", 32, "default", 2),
        ("tpu", "bfloat16", 32, "tensorfloat32", 2),
        ("tpu", "float32", 32, "default", 0),
        ("tpu", "bfloat16", 20, "default", 0),
        ("cuda", "bfloat16", 32, "default", 0),
    ],
)
def test_tpus_take_the_kernels_for_what_they_fit(platform, dtype, neighbours, precision, kernels):
    module = NeighbourhoodMaxPool(128)
    gathered, centre = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((256, neighbours, 128), (256, 128)))
    variables = jax.eval_shape(module.init, jax.random.key(0), gathered, centre)

    @jax.jit
    def gradients(variables, gathered, centre):
        def total(params, gathered, centre):
            hidden, _ = module.apply(
                variables | {"params": params}, gathered, centre, train=True, mutable=["batch_stats"]
            )
            return hidden.astype(jnp.float32).sum()

        return jax.grad(total, (0, 1, 2))(variables["params"], gathered, centre)

    with jax.default_matmul_precision(precision):
        program = jax.export.export(gradients, platforms=[platform])(variables, gathered, centre).mlir_module()
    assert program.count("@tpu_custom_call") == kernels
