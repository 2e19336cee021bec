import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from facedis_jax import losses
from facedis_jax.losses import gaussian_log_density

gaussian_kl = jax.jit(losses.gaussian_kl)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from([(1, 1), (6, 4), (2, 8)]))
def test_kl_is_the_formula_in_float64(seed, shape):
    mean, logvar = draw(seed, *shape), draw(seed + 1, *shape)
    m, v = mean.astype(np.float64), logvar.astype(np.float64)
    expected = 0.5 * np.sum(np.exp(v) + m**2 - 1 - v, axis=-1)
    np.testing.assert_allclose(gaussian_kl(mean, logvar), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mean", "logvar"), [(0.0, 0.0), (0.7, -1.3), (-2.0, 0.8)])
def test_kl_is_the_integral_that_defines_it(mean, logvar):
    q = norm(mean, np.exp(0.5 * logvar))
    integral, _ = quad(lambda z: q.pdf(z) * (q.logpdf(z) - norm.logpdf(z)), -15, 15, points=[mean])
    np.testing.assert_allclose(gaussian_kl(jnp.array([mean]), jnp.array([logvar])), integral, atol=1e-6)


def test_kl_stays_accurate_next_to_the_prior():
    """exp(v) - 1 - v is about v^2 / 2 there, which float32 would round away."""
    for v in (1e-2, -1e-3, 2e-3):
        np.testing.assert_allclose(gaussian_kl(jnp.zeros(1), jnp.full(1, v)), (np.expm1(v) - v) / 2, rtol=1e-3)


def test_kl_keeps_leading_axes_and_does_not_go_below_zero():
    mean, logvar = 1e-4 * draw(0, 3, 5, 4), 1e-4 * draw(1, 3, 5, 4)
    values = gaussian_kl(mean, logvar)
    assert values.shape == (3, 5)
    assert (values > -1e-7).all()


def test_log_density_is_scipys():
    z, mean, logvar = draw(0, 7, 3), draw(1, 7, 3), draw(2, 7, 3)
    expected = norm.logpdf(z.astype(np.float64), mean, np.exp(0.5 * logvar.astype(np.float64))).sum(axis=-1)
    np.testing.assert_allclose(gaussian_log_density(z, mean, logvar), expected, rtol=1e-5, atol=1e-5)


def test_kl_gradient_vanishes_at_the_prior_alone():
    gradient = jax.grad(lambda p: gaussian_kl(p[0], p[1]))
    np.testing.assert_allclose(gradient(jnp.zeros([2, 3])), np.zeros([2, 3]), atol=1e-7)
    np.testing.assert_allclose(gradient(jnp.array([[1.0], [0.0]])), [[1.0], [0.0]], atol=1e-6)
