import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models.normalisation import LinearBatchNormReluMax, LinearNormRelu, Normalise

pytestmark = pytest.mark.usefixtures("quick_compilation")
FEATURES = np.random.default_rng(0).normal(3, 2, (4, 6, 5)).astype(np.float32)


def test_batch_statistics_are_those_of_the_batch_in_training_and_running_ones_at_evaluation():
    norm = Normalise("batch")
    variables = norm.init(jax.random.key(0), FEATURES)
    trained, updates = norm.apply(variables, FEATURES, train=True, mutable=["batch_stats"])

    rows = FEATURES.reshape(-1, 5).astype(np.float64)
    mean, variance = rows.mean(0), rows.var(0)
    np.testing.assert_allclose(trained, (FEATURES - mean) / np.sqrt(variance + 1e-5), atol=1e-5)

    running_mean, running_variance = 0.1 * mean, 0.9 + 0.1 * variance
    evaluated = norm.apply({**variables, **updates}, FEATURES)
    expected = (FEATURES - running_mean) / np.sqrt(running_variance + 1e-5)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_layer_brings_each_feature_vector_to_mean_zero_and_variance_one(train):
    normalised = Normalise("layer").apply({}, FEATURES, train=train)

    exact = FEATURES.astype(np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(normalised, expected, atol=1e-5)


def test_layer_of_equal_features_is_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(lambda x: Normalise("layer").apply({}, x).sum())(jnp.full(5, 7.0))
    assert value == 0
    assert np.isfinite(gradient).all()


def test_none_passes_features_through():
    np.testing.assert_array_equal(Normalise("none").apply({}, FEATURES, train=True), FEATURES)


def test_unknown_normalisation_is_refused():
    with pytest.raises(ValueError, match="normalisation must be 'batch', 'layer' or 'none', not 'group'"):
        Normalise("group").apply({}, FEATURES)  # type: ignore[arg-type]


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_linear_norm_relu_without_normalisation_is_a_leaky_dense_layer(slope):
    layer = LinearNormRelu(3, "none", slope=slope)
    variables = layer.init(jax.random.key(1), FEATURES)
    weights = variables["params"]["Dense_0"]

    expected = FEATURES @ weights["kernel"] + weights["bias"]
    expected = np.where(expected > 0, expected, slope * expected)
    np.testing.assert_allclose(layer.apply(variables, FEATURES), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_a_bias_that_the_normalisation_would_take_away_is_not_learned(kind):
    variables = LinearNormRelu(3, kind).init(jax.random.key(1), FEATURES)
    assert set(variables["params"]["Dense_0"]) == {"kernel"}


@pytest.mark.parametrize("train", [True, False])
def test_maximum_before_the_normalisation_is_the_plain_order_with_its_gradients(train):
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(3, 4, 6, 5))
    inputs[:, :, 1] = inputs[:, :, 0]  # neighbours that coincide share a gradient
    kernel, scale, bias = rng.normal(size=(5, 7)), rng.normal(size=7), rng.normal(size=7)
    assert (scale < 0).any()
    statistics = {"mean": rng.normal(size=7), "var": rng.uniform(1, 2, 7)}
    cotangent = rng.normal(size=(3, 4, 7))

    def plain(kernel, scale, bias, inputs):
        params = {"Dense_0": {"kernel": kernel}, "Normalise_0": {"BatchNorm_0": {"scale": scale, "bias": bias}}}
        variables = {"params": params, "batch_stats": {"Normalise_0": {"BatchNorm_0": statistics}}}
        hidden, updates = LinearNormRelu(7, "batch").apply(variables, inputs, train=train, mutable=["batch_stats"])
        return hidden.max(axis=-2), updates["batch_stats"]["Normalise_0"]["BatchNorm_0"]

    def ours(kernel, scale, bias, inputs):
        params = {"Dense_0": {"kernel": kernel}, "scale": scale, "bias": bias}
        variables = {"params": params, "batch_stats": statistics}
        hidden, updates = LinearBatchNormReluMax(7).apply(variables, inputs, train=train, mutable=["batch_stats"])
        return hidden, updates["batch_stats"]

    with jax.enable_x64(True):
        found, expected = (
            jax.tree.leaves(
                (
                    f(kernel, scale, bias, inputs),
                    jax.vjp(lambda *a, f=f: f(*a)[0], kernel, scale, bias, inputs)[1](cotangent),
                )
            )
            for f in (ours, plain)
        )
    assert len(found) == 7
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
