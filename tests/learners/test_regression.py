import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedis_jax.errors import InputError
from facedis_jax.learners import RegressionConfig, fit_regressor
from facedis_jax.learners.regression import validation_rows

CONFIG = RegressionConfig(hidden=16, epochs=20, batch_size=20, learning_rate=1e-2, weight_decays=(0.1, 10.0))
KEY = jax.random.key(0)


def examples(count=200, inputs=4, seed=0):
    """Features and three targets that follow from them, smoothly but not linearly."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, inputs)).astype(np.float32)
    mixed = features @ np.random.default_rng(9).normal(size=(inputs, 3))
    return features, (10 + 2 * mixed + np.tanh(mixed)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return fit_regressor(*examples(), CONFIG, KEY)


def test_it_predicts_what_it_has_not_seen(fitted):
    features, targets = examples(seed=1)
    error = np.abs(fitted.predict(features) - targets).mean()
    assert error < 0.15 * np.abs(targets - targets.mean(axis=0)).mean()


def test_the_validation_error_is_that_of_unseen_examples(fitted):
    features, targets = examples(count=2000, seed=1)
    assert np.abs(fitted.predict(features) - targets).mean() == pytest.approx(fitted.validation_error, rel=0.35)


def test_predictions_are_those_of_a_two_layer_perceptron(fitted):
    features = examples(seed=1)[0].astype(np.float64)
    (hidden, output), statistics = (fitted.weights[f"{name}_layer"] for name in ("hidden", "output")), fitted[1]
    scaled = (features - statistics.mean) / statistics.scale
    raw = np.maximum(scaled @ hidden["kernel"] + hidden["bias"], 0) @ output["kernel"] + output["bias"]
    expected = raw * statistics.target_scale + statistics.target_mean
    np.testing.assert_allclose(fitted.predict(features.astype(np.float32)), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_l1():
    # Features that say nothing leave the best constant: the median for the L1 loss, here 0, and not the mean, 0.3.
    targets = np.arange(200)[:, None] % 10 < 3
    constant = fit_regressor(np.ones((200, 1)), targets, CONFIG, KEY).predict(np.ones((1, 1)))
    assert abs(constant) < 0.05


def test_units_of_features_and_targets_do_not_matter(fitted):
    features, targets = examples()
    scales = np.float32([0.25, 1, 8, 64])
    other = fit_regressor(features * scales, targets * 4 - 64, CONFIG, KEY)
    assert (other.epochs, other.weight_decay) == (fitted.epochs, fitted.weight_decay)
    np.testing.assert_allclose(other.predict(features * scales), fitted.predict(features) * 4 - 64, atol=0.05)


def test_the_same_key_gives_the_same_regressor(fitted):
    again = fit_regressor(*examples(), CONFIG, KEY)
    jax.tree.map(np.testing.assert_array_equal, again.weights, fitted.weights)
    other = fit_regressor(*examples(), CONFIG, jax.random.key(1))
    assert not np.array_equal(other.weights["hidden_layer"]["kernel"], fitted.weights["hidden_layer"]["kernel"])


def test_noise_is_met_with_weight_decay_and_an_early_end():
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(100, 60)), rng.normal(size=(100, 2))
    chosen = fit_regressor(features, noise, CONFIG, KEY)
    careless = fit_regressor(features, noise, RegressionConfig(16, 20, 20, 1e-2, (0.0,)), KEY)
    assert chosen.weight_decay == 10 or chosen.epochs < CONFIG.epochs
    assert chosen.validation_error <= careless.validation_error
    # Nobody predicts noise: the regressor does little worse than the mean of the training targets.
    fresh = rng.normal(size=(500, 60)), rng.normal(size=(500, 2))
    assert np.abs(chosen.predict(fresh[0]) - fresh[1]).mean() < 1.25 * np.abs(fresh[1]).mean()


@given(
    groups=st.lists(st.integers(0, 6), min_size=2, max_size=40).filter(lambda groups: len(set(groups)) > 1),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_validation_takes_whole_groups(groups, share, seed):
    groups = np.array(groups)
    held = validation_rows(len(groups), share, np.random.default_rng(seed), groups)
    assert 0 < held.sum() < len(groups)
    assert not set(groups[held]) & set(groups[~held])
    # No more than is needed: without any one of its groups there would be too few, or it is the only one.
    sizes = [np.sum(groups[held] == group) for group in set(groups[held])]
    assert len(sizes) == 1 or held.sum() - max(sizes) < share * len(groups)


def test_validation_takes_its_share():
    assert validation_rows(1000, 0.2, np.random.default_rng(0)).sum() == 200


@pytest.mark.parametrize(
    ("features", "targets", "groups", "message"),
    [
        (np.zeros((4, 2)), np.zeros((3, 2)), None, "shapes"),
        (np.zeros((4, 2, 2)), np.zeros((4, 2)), None, "shapes"),
        (np.zeros((4, 2)), np.zeros((4, 2)), np.zeros(4), "groups"),
    ],
)
def test_what_cannot_be_fitted(features, targets, groups, message):
    with pytest.raises(ValueError, match=message):
        fit_regressor(features, targets, CONFIG, KEY, groups=groups)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("hidden", 0), ("batch_size", 0), ("weight_decays", ())])
def test_a_fit_of_nothing_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: expected"):
        RegressionConfig(**{name: value})
