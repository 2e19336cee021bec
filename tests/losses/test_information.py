import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm

from facedis_jax import losses
from facedis_jax.losses import information, mutual_information_offset

# Compiled once for each shape, so that many examples cost little.
mutual_information = jax.jit(losses.mutual_information, static_argnums=3, static_argnames="estimator")
aggregate_mutual_information = jax.jit(losses.aggregate_mutual_information, static_argnums=3)


def posteriors(seed, batch, dims, spread=1.0):
    """A batch of posteriors and a sample of each, float32."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=spread, size=(batch, dims))
    logvar = rng.normal(scale=0.5, size=(batch, dims)) - 1
    z = mean + np.exp(0.5 * logvar) * rng.normal(size=(batch, dims))
    return tuple(x.astype(np.float32) for x in (z, mean, logvar))


def log_density_matrix(z, mean, logvar):
    """log q(z_i|x_j) in float64, from SciPy."""
    z, mean, logvar = (np.asarray(x, np.float64) for x in (z, mean, logvar))
    return norm.logpdf(z[:, None], mean[None], np.exp(0.5 * logvar)[None]).sum(-1)


def stratified_weights(batch, dataset_size):
    """Chen et al., appendix C, written out: oneself, one stratified, the rest alike."""
    others = batch - 1
    weights = np.full([batch, batch], 1 / others)
    for i in range(batch):
        weights[i, i] = 1 / dataset_size
        weights[i, (i + 1) % batch] = (dataset_size - others) / (dataset_size * others)
    return weights


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([(2, 1), (8, 4)]), st.sampled_from([0.1, 1.0, 10.0]))
def test_both_estimators_are_their_formulas_in_float64(seed, shape, spread):
    batch, dims = shape
    z, mean, logvar = posteriors(seed, batch, dims, spread)
    dataset_size = 18424
    pairs = log_density_matrix(z, mean, logvar)
    mws = np.diag(pairs) - (logsumexp(pairs, axis=1) - math.log(dataset_size * batch))
    mss = np.diag(pairs) - logsumexp(pairs, axis=1, b=stratified_weights(batch, dataset_size))
    np.testing.assert_allclose(mutual_information(z, mean, logvar, dataset_size), mws, rtol=1e-5, atol=1e-5)
    value = mutual_information(z, mean, logvar, dataset_size, estimator="mss")
    np.testing.assert_allclose(value, mss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("batch", "dataset_size"), [(2, 2), (2, 10), (7, 7), (32, 18424)])
def test_stratified_weights_are_a_distribution_with_oneself_at_one_in_n(batch, dataset_size):
    weights = np.exp(information._stratified_log_weights(batch, batch, dataset_size, 0))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.diag(weights), 1 / dataset_size, rtol=1e-5)


def test_stratified_estimate_of_the_aggregated_posterior_is_unbiased():
    """Over all ordered batches that hold example 0, the mean of its estimate of q(z) is the exact q(z)."""
    z, mean, logvar = posteriors(3, 6, 2)
    exact = np.exp(log_density_matrix(z, mean, logvar)[0]).mean()
    estimates = []
    for others in itertools.permutations(range(1, 6), 3):
        batch = np.array([0, *others])
        value = mutual_information(z[batch], mean[batch], logvar[batch], 6, estimator="mss")[0]
        estimates.append(np.exp(log_density_matrix(z, mean, logvar)[0, 0] - float(value)))
    assert np.mean(estimates) == pytest.approx(exact, rel=1e-5)


def test_weighted_estimate_runs_from_log_n_to_log_nb():
    """The range in the paper's setting: 9.82 to 13.29 nats at N = 18,424 and B = 32."""
    batch, dims, dataset_size = 32, 4, 18424
    z = np.random.default_rng(0).normal(size=(batch, dims)).astype(np.float32)
    zeros = np.zeros_like(z)
    none = mutual_information(z, zeros, zeros, dataset_size)
    np.testing.assert_allclose(none, math.log(dataset_size), atol=1e-5)
    apart = np.arange(batch * dims, dtype=np.float32).reshape(batch, dims) * 10
    full = mutual_information(apart, apart, zeros - 2, dataset_size)
    np.testing.assert_allclose(full, math.log(dataset_size * batch), atol=1e-5)
    offset = mutual_information_offset(dataset_size)
    assert (round(offset, 2), round(float(full[0]), 2)) == (9.82, 13.29)
    np.testing.assert_allclose(full - offset, math.log(batch), atol=1e-5)


def test_stratified_estimate_runs_from_zero_to_log_n():
    batch, dataset_size = 16, 500
    zeros = np.zeros([batch, 2], np.float32)
    none = mutual_information(zeros, zeros, zeros, dataset_size, estimator="mss")
    np.testing.assert_allclose(none, mutual_information_offset(dataset_size, estimator="mss"), atol=1e-5)
    apart = np.arange(batch * 2, dtype=np.float32).reshape(batch, 2) * 100
    full = mutual_information(apart, apart, zeros, dataset_size, estimator="mss")
    np.testing.assert_allclose(full, math.log(dataset_size), atol=1e-5)


@pytest.mark.parametrize("clusters", [1, 2, 5])
def test_aggregate_of_separated_clusters_is_the_logarithm_of_their_number(clusters):
    rng = np.random.default_rng(0)
    mean = np.repeat(np.arange(clusters) * 50.0, 12)[:, None] * np.ones(3)
    z = (mean + rng.normal(size=mean.shape)).astype(np.float32)
    value = aggregate_mutual_information(z, mean.astype(np.float32), np.zeros_like(z))
    np.testing.assert_allclose(value, math.log(clusters), atol=1e-5)


def test_aggregate_of_a_gaussian_channel_is_shannons():
    """Means drawn from N(0, s) with noise 1 make q(z) = N(0, 1 + s) and I = log(1 + s) / 2 per dimension."""
    rng = np.random.default_rng(0)
    mean = rng.normal(scale=math.sqrt(3), size=(4000, 1)).astype(np.float32)
    z = mean + rng.normal(size=mean.shape).astype(np.float32)
    value = aggregate_mutual_information(z, mean, np.zeros_like(mean))
    assert float(value.mean()) == pytest.approx(0.5 * math.log(4), abs=0.03)


def test_aggregate_is_exact_whatever_the_chunk():
    z, mean, logvar = posteriors(0, 37, 4)
    pairs = log_density_matrix(z, mean, logvar)
    expected = np.diag(pairs) - (logsumexp(pairs, axis=1) - math.log(37))
    for chunk in (1, 8, 37, 500):
        value = aggregate_mutual_information(z, mean, logvar, chunk)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31))
def test_order_of_the_batch_does_not_matter(seed):
    z, mean, logvar = posteriors(seed, 9, 3)
    order = np.random.default_rng(seed).permutation(9)
    for function in (lambda *p: mutual_information(*p, 100), aggregate_mutual_information):
        value = function(z, mean, logvar)
        np.testing.assert_allclose(function(z[order], mean[order], logvar[order]), value[order], atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.floats(0.2, 5), st.floats(-3, 3))
def test_scale_and_shift_of_the_codes_do_not_matter(seed, scale, shift):
    z, mean, logvar = posteriors(seed, 8, 3)
    value = mutual_information(z, mean, logvar, 100)
    moved = mutual_information(
        np.float32(scale) * z + np.float32(shift),
        np.float32(scale) * mean + np.float32(shift),
        logvar + np.float32(2 * math.log(scale)),
        100,
    )
    np.testing.assert_allclose(moved, value, atol=3e-4)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_a_batch_in_shares_gives_the_values_and_gradients_of_the_whole(estimator):
    z, mean, logvar = (jnp.asarray(x) for x in posteriors(0, 12, 4))

    def whole(z, mean, logvar):
        return mutual_information(z, mean, logvar, 1000, estimator=estimator)

    def shares(z, mean, logvar):
        def one(i):
            part = [jax.lax.dynamic_slice_in_dim(x, 3 * i, 3) for x in (z, mean, logvar)]
            whole = losses.WholeBatch(mean, logvar, 3 * i)
            return mutual_information(*part, 1000, estimator=estimator, whole_batch=whole)

        return jax.vmap(one)(jnp.arange(4)).reshape(-1)

    np.testing.assert_allclose(shares(z, mean, logvar), whole(z, mean, logvar), atol=1e-5)
    gradients = [jax.grad(lambda *p, f=f: f(*p).mean(), argnums=(0, 1, 2))(z, mean, logvar) for f in (whole, shares)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *gradients)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_gradient_is_that_of_finite_differences_in_float64(estimator):
    z, mean, logvar = posteriors(1, 5, 2)
    weights = {"mws": np.full([5, 5], 1 / 500), "mss": stratified_weights(5, 100)}[estimator]

    def exact(mean):
        pairs = log_density_matrix(z, mean, logvar)
        return np.mean(np.diag(pairs) - logsumexp(pairs, axis=1, b=weights))

    def estimate(mean):
        return mutual_information(z, mean, logvar, 100, estimator=estimator).mean()

    gradient = jax.grad(estimate)(jnp.asarray(mean))
    step = 1e-5
    for index in np.ndindex(5, 2):
        change = np.zeros([5, 2])
        change[index] = step
        difference = (exact(mean + change) - exact(mean - change)) / (2 * step)
        assert gradient[index] == pytest.approx(difference, abs=1e-4)


def test_neutral_faces_are_exempt_and_still_seen_by_the_others():
    z, mean, logvar = (jnp.asarray(x) for x in posteriors(0, 6, 3))
    mask = jnp.array([0, 1, 0, 0, 1, 0])
    value = mutual_information(z, mean, logvar, 100)
    masked = mutual_information(z, mean, logvar, 100, neutral_mask=mask)
    np.testing.assert_array_equal(masked, np.where(mask, 0, value))
    gradient = jax.grad(lambda z: mutual_information(z, mean, logvar, 100, neutral_mask=mask).sum())(z)
    assert (np.abs(gradient).sum(axis=1) > 0).tolist() == (mask == 0).tolist()


def test_codes_far_apart_stay_finite():
    mean = jnp.array([[0.0], [1e4], [-1e4]])
    value, gradient = jax.value_and_grad(lambda m: mutual_information(m, m, jnp.full([3, 1], -8.0), 100).mean())(mean)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_bad_arguments_are_named():
    z = jnp.zeros([4, 2])
    with pytest.raises(ValueError, match="mws"):
        mutual_information(z, z, z, 100, estimator="nwj")
    with pytest.raises(ValueError, match="mws"):
        mutual_information_offset(100, estimator="nwj")
    with pytest.raises(ValueError, match="2 to 3"):
        mutual_information(z, z, z, 3, estimator="mss")
    with pytest.raises(ValueError, match="got 1"):
        mutual_information(z[:1], z[:1], z[:1], 3, estimator="mss")
