import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.losses import (
    IbVaeCodes,
    IbVaeFaces,
    IbVaeLossOptions,
    IbVaeWeights,
    gaussian_kl,
    ib_vae_loss,
    lambda_2_schedule,
    mutual_information,
    reconstruction_loss,
)


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    batch, vertices = 5, 20
    faces = [0.1 * rng.normal(size=(batch, vertices, 3)) for _ in IbVaeFaces._fields]
    codes = [rng.normal(size=(batch, 3 if "identity" in name else 2)) for name in IbVaeCodes._fields]
    return jax.tree.map(jnp.float32, (IbVaeFaces(*faces), IbVaeCodes(*codes)))


def test_total_is_equation_12_in_float64(inputs):
    weights = IbVaeWeights(lambda_1=0.7, lambda_2=0.2, beta_id=3.0, beta_mi=5.0)
    total, parts = ib_vae_loss(*inputs, weights, IbVaeLossOptions(300), lambda_2_factor=0.5)
    x = {name: np.asarray(value, np.float64) for each in inputs for name, value in each._asdict().items()}
    reconstruction = np.sum((x["prediction"] - x["target"]) ** 2, axis=(1, 2))
    identity = np.sum((x["neutral_prediction"] - x["neutral_target"]) ** 2, axis=(1, 2))
    mean = np.concatenate([x["identity_mean"], x["expression_mean"]], axis=1)
    logvar = np.concatenate([x["identity_logvar"], x["expression_logvar"]], axis=1)
    kl = 0.5 * np.sum(np.exp(logvar) + mean**2 - 1 - logvar, axis=1)
    z, m, v = (x[f"identity_{name}"] for name in ("sample", "mean", "logvar"))
    q = np.exp(-0.5 * np.sum((z[:, None] - m) ** 2 / np.exp(v) + v + np.log(2 * np.pi), axis=2))
    information = np.log(np.diag(q)) - np.log(q.sum(axis=1) / (300 * 5))
    expected = 0.7 * (reconstruction + 3 * identity) + 0.5 * 0.2 * (kl + 5 * information)
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-5)
    for name, part in {
        "reconstruction": reconstruction,
        "identity": identity,
        "kl": kl,
        "mutual_information": information,
    }.items():
        np.testing.assert_allclose(parts[name], part, rtol=1e-5, atol=1e-5, err_msg=name)


def test_options_reach_their_terms(inputs):
    mask = jnp.array([1, 0, 0, 1, 0])
    faces, codes = inputs
    options = IbVaeLossOptions(300, reduction="mean_mm2", scale=156.0, estimator="mss")
    _, parts = ib_vae_loss(faces, codes, IbVaeWeights(), options, neutral_mask=mask)
    np.testing.assert_allclose(
        parts["identity"], reconstruction_loss(*faces[2:], reduction="mean_mm2", scale=156.0), rtol=1e-6
    )
    information = mutual_information(*codes[:3], 300, estimator="mss", neutral_mask=mask)
    np.testing.assert_allclose(parts["mutual_information"], information, rtol=1e-6)


def test_expression_codes_pay_no_mutual_information(inputs):
    faces, codes = inputs

    def loss(expression_mean):
        changed = codes._replace(expression_mean=expression_mean)
        return ib_vae_loss(faces, changed, IbVaeWeights(lambda_1=0.0), IbVaeLossOptions(300))[0].sum()

    gradient = jax.grad(loss)(codes.expression_mean)
    kl = jax.grad(lambda mean: gaussian_kl(mean, codes.expression_logvar).sum())(codes.expression_mean)
    np.testing.assert_allclose(gradient, 3e-3 * kl, rtol=1e-5)


def test_defaults_are_the_papers():
    assert dataclasses.astuple(IbVaeWeights()) == (6.6e-2, 3e-3, 10.0, 50.0)


def test_many_weights_at_once_are_the_same_as_one_by_one(inputs):
    settings = [IbVaeWeights(beta_id=b, beta_mi=m) for b in (0.0, 10.0) for m in (0.0, 50.0)]
    stacked = jax.tree.map(lambda *leaves: jnp.array(leaves), *settings)
    together = jax.jit(jax.vmap(lambda weights: ib_vae_loss(*inputs, weights, IbVaeLossOptions(300))[0]))(stacked)
    one_by_one = [ib_vae_loss(*inputs, weights, IbVaeLossOptions(300))[0] for weights in settings]
    np.testing.assert_allclose(together, jnp.stack(one_by_one), rtol=1e-5)


def test_schedule_reaches_zero_after_the_training_ends():
    assert lambda_2_schedule(0) == 1
    assert lambda_2_schedule(300) == pytest.approx(0.1429, abs=1e-4)
    assert lambda_2_schedule(350) == lambda_2_schedule(400) == 0
    np.testing.assert_allclose(jax.jit(lambda_2_schedule)(jnp.array([87.5, 175.0])), [0.75, 0.5])
    assert lambda_2_schedule(5, decay_epochs=10) == 0.5


def test_schedule_may_begin_at_zero():
    factors = [lambda_2_schedule(epoch, decay_epochs=10, rise_epochs=4) for epoch in (0, 1, 4, 6, 10)]
    np.testing.assert_allclose(factors, [0, 0.25 * 0.9, 0.6, 0.4, 0], rtol=1e-6)
