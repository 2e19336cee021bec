import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.models.normalisation import BatchAffine, LinearNormRelu, Normalise

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
def test_the_affine_map_of_moments_is_flax_batch_normalisation(train):
    rng = np.random.default_rng(3)
    params = {"scale": jnp.asarray(rng.normal(size=5)), "bias": jnp.asarray(rng.normal(size=5))}
    statistics = {"mean": jnp.asarray(rng.normal(size=5)), "var": jnp.asarray(rng.uniform(1, 2, 5))}
    rows = FEATURES.reshape(-1, 5)
    (mean, factor, bias), updates = BatchAffine(5).apply(
        {"params": params, "batch_stats": statistics},
        rows.mean(0),
        np.square(rows).mean(0),
        train=train,
        mutable=["batch_stats"],
    )
    nested = {"params": {"BatchNorm_0": params}, "batch_stats": {"BatchNorm_0": statistics}}
    expected, expected_updates = Normalise("batch").apply(nested, FEATURES, train=train, mutable=["batch_stats"])

    np.testing.assert_allclose((FEATURES - mean) * factor + bias, expected, rtol=1e-5, atol=1e-5)
    for name, value in expected_updates["batch_stats"]["BatchNorm_0"].items():
        np.testing.assert_allclose(updates["batch_stats"][name], value, rtol=1e-5)
