from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from facedis_jax.models import UpsamplingNetwork, upsampling
from facedis_jax.models.upsampling import INITIAL_DEVIATION, subpixel_convolution, transposed_convolution


# Sizes of fours are taken in blocks, others are not; with many channels, remainders by themselves; the gradient of an
# even number of filters has none.
@pytest.mark.parametrize("filters", [3, 4])
@pytest.mark.parametrize(("stride", "size", "many"), [
    (1, (3, 5), 16), (1, (4, 8), 16), (2, (4, 8), 16), (3, (3, 5), 16), (4, (3, 5), 16), (2, (3, 5), 2), (3, (4, 6), 2),
])  # fmt: skip
def test_the_two_convolutions_and_their_gradients_are_equal(stride, size, many, filters, monkeypatch):
    monkeypatch.setattr(upsampling, "SEPARATE_CHANNELS", many)
    rng = np.random.default_rng(stride)
    all_taps = range(1, 8)
    images = rng.normal(size=(2, *size, 2))
    kernels = [rng.normal(size=(taps, taps, 2, filters)) for taps in all_taps]
    cotangent = rng.normal(size=(2, size[0] * stride, size[1] * stride, filters))

    def results(convolution):
        def both(images, kernel):
            output, pull = jax.vjp(lambda x, k: convolution(x, k, stride), images, kernel)
            return output, *pull(cotangent)

        return jax.jit(lambda images, kernels: [both(images, kernel) for kernel in kernels])(images, kernels)

    with jax.enable_x64(True):
        found, expected = (results(f) for f in (subpixel_convolution, transposed_convolution))
    for taps, ours, lax in zip(all_taps, found, expected, strict=True):
        assert ours[0].shape == cotangent.shape
        for one, other in zip(ours, lax, strict=True):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=f"{taps} taps")


def network_in_numpy(params, codes):
    """A code to a map in float64: the dense layer, then two convolutions of stride 2, 3 and 5 taps."""
    x = np.maximum(codes @ params["dense_kernel"] + params["dense_bias"], 0).reshape(4, 4, -1)
    for i, taps in enumerate((3, 5)):
        kernel = params[f"upsample_{i}_kernel"]
        # Every pixel lays down the kernel, turned around, and "SAME" cuts off what lies outside, the lesser half first.
        laid = np.zeros((2 * len(x) + taps, 2 * len(x) + taps, kernel.shape[3]))
        for row, column in np.ndindex(x.shape[:2]):
            stamp = np.einsum("abio,i->abo", kernel[::-1, ::-1], x[row, column])
            laid[2 * row : 2 * row + taps, 2 * column : 2 * column + taps] += stamp
        first = (taps - 2) // 2
        size = 2 * len(x)
        x = laid[first : first + size, first : first + size] + params[f"upsample_{i}_bias"]
        if i == 0:
            x = np.maximum(x, 0)
    return x


def test_a_network_is_its_layers_one_after_another(random_variables):
    module = UpsamplingNetwork(first_filters=5, filters=(4, 3), kernels=(3, 5), strides=(2, 2))
    codes = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    variables = random_variables(module, codes)
    found = jax.jit(module.apply)(variables, codes)
    assert found.shape == (2, 3, 16, 16, 3)
    params = {name: value.astype(np.float64) for name, value in variables["params"].items()}
    expected = [network_in_numpy(params, code) for code in codes.reshape(6, 6)]
    np.testing.assert_allclose(found.reshape(6, 16, 16, 3), expected, rtol=1e-4, atol=1e-5)
    assert found.min() < -0.1, "the last layer has no rectifier"
    assert np.abs(np.diff(expected, axis=0)).max() > 0.1, "every code makes another map"


def test_first_weights_are_the_authors_or_of_one_deviation_where_they_are_balanced():
    def first(weight_balance):
        module = UpsamplingNetwork(50, (2,), (5,), (2,), weight_balance=weight_balance)
        return jax.jit(module.init)(jax.random.key(1), jnp.zeros(20))["params"]

    cut_normal = stats.truncnorm(-2, 2, scale=INITIAL_DEVIATION)
    for value in jax.tree.leaves(first(None)):
        assert stats.kstest(np.ravel(value), cut_normal.cdf).pvalue > 1e-3
    balanced = first(0.3)
    assert stats.kstest(np.ravel(balanced["dense_kernel"]), "norm").pvalue > 1e-3
    assert not np.any(balanced["dense_bias"])


def test_the_authors_fan_in_counts_all_taps_and_their_biases_are_not_zero():
    """Their constant is smaller by the stride: the same map as of ours with kernels that were divided by it."""
    sizes = {"first_filters": 50, "filters": (8, 40, 6), "kernels": (4, 4, 5), "strides": (4, 2, 1)}
    ours, theirs = (UpsamplingNetwork(**sizes, weight_balance=0.3, he_fan_in=each) for each in ("pixel", "kernel"))
    codes = jax.random.normal(jax.random.key(2), (3, 20))
    params = jax.jit(theirs.init)(jax.random.key(1), codes)["params"]
    divided = dict(params)
    for i, stride in enumerate(sizes["strides"]):
        divided[f"upsample_{i}_kernel"] = params[f"upsample_{i}_kernel"] / stride
    expected = jax.jit(ours.apply)({"params": divided}, codes)
    np.testing.assert_allclose(jax.jit(theirs.apply)({"params": params}, codes), expected, rtol=1e-4, atol=1e-6)
    biases = np.concatenate([np.ravel(value) for name, value in params.items() if name.endswith("bias")])
    assert stats.kstest(biases, stats.truncnorm(-2, 2, scale=INITIAL_DEVIATION).cdf).pvalue > 1e-3


def test_activations_keep_their_scale_with_hes_constant():
    """With weights N(0, 1) and no biases, mean squares double from codes to map: the last layer halves nothing."""
    module = UpsamplingNetwork(256, (256, 256, 256), (3, 5, 4), (2, 2, 2), weight_balance=1.0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((4, 256)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: np.zeros(x.shape, np.float32) if len(x.shape) == 1 else rng.normal(size=x.shape).astype(np.float32),
        shapes,
    )
    maps = jax.jit(module.apply)(variables, rng.normal(size=(4, 256)).astype(np.float32))
    # Near the border there is less to sum.
    np.testing.assert_allclose(np.square(maps[:, 10:-10, 10:-10]).mean(), 2, rtol=0.1)


@pytest.mark.parametrize(
    ("filters", "kernels", "strides"),
    [
        ((6, 5, 3), (3, 5, 5), (2, 2, 2)),  # Table 4's kinds of layers
        ((4, 6, 2), (4, 4, 5), (4, 2, 1)),  # Table 5's: squares of 4 become those of 2
        ((4, 5, 6, 3), (3, 3, 3, 4), (2, 1, 1, 1)),  # squares from layer to layer, of several taps
        ((3, 2), (3, 3), (1, 3)),
    ],
)
def test_folded_layers_are_the_plain_ones_one_after_another(filters, kernels, strides):
    rng = np.random.default_rng(0)
    images, layers, channels = rng.normal(size=(2, 4, 4, 5)).astype(np.float32), [], 5
    for taps, width, stride in zip(kernels, filters, strides, strict=True):
        kernel = rng.normal(scale=(taps * channels**0.5) ** -1, size=(taps, taps, channels, width))
        bias = rng.normal(size=width)
        layers.append(upsampling._Layer(kernel.astype(np.float32), bias.astype(np.float32), stride))
        channels = width

    def plain(images, layers):
        for kernel, bias, stride in layers[:-1]:
            images = jax.nn.relu(transposed_convolution(images, kernel, stride) + bias)
        kernel, bias, stride = layers[-1]
        return transposed_convolution(images, kernel, stride) + bias

    def results(function):
        def of(images, weights):
            made = [upsampling._Layer(*pair, stride) for pair, stride in zip(weights, strides, strict=True)]
            return function(images, made)

        maps, pull = jax.vjp(of, images, [layer[:2] for layer in layers])
        return maps, pull(jnp.cos(jnp.arange(maps.size, dtype=jnp.float32)).reshape(maps.shape))

    found, expected = (jax.jit(partial(results, f))() for f in (upsampling.folded_layers, plain))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
