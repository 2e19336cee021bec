from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners import OptimiserConfig
from facedis_jax.learners.adversarial import (
    ADVERSARIAL_STATE_AXES,
    CRITIC_OPTIMISER,
    AdversarialConfig,
    adversarial_learner,
)
from facedis_jax.models import critic_of
from facedis_jax.training import data_parallel

INDEX = np.array([5, 2, 9, 11])
EPSILON = 1e-5


def make(config, **settings):
    return adversarial_learner(config, **{"num_images": 20, "steps_per_epoch": 5, "num_steps": 100, **settings})


@pytest.fixture(scope="module")
def config(small):
    """Weights under which every term of the losses is seen."""
    return AdversarialConfig(replace(small.config, early_sigma=0.3), likelihood_weight=0.1, penalty_weight=3.0)


@pytest.fixture(scope="module")
def first(small, config):
    state = small.make_state(make(config))
    # A critic that is in no doubt has steep slopes and a cross-entropy that is not linear.
    return state.replace(critic=jax.tree.map(lambda x: 3 * x, state.critic))


@pytest.fixture(scope="module")
def stepped(small, config, first):
    return jax.jit(make(config).step)(first, small.batch(INDEX))


@partial(jax.jit, static_argnums=0)
def criticise(model, critic, images):
    return critic_of(model).apply({"params": critic}, images)


def logits(config, critic, images):
    with jax.enable_x64(True):
        values = criticise(config.abp.model, *jax.tree.map(np.float64, (jax.device_get(critic), images)))
        assert values.dtype == np.float64
        return np.asarray(values)


def penalties(config, critic, images):
    """The squared gradient of the critic at each image, by central differences over all pixels."""
    pixels = images[0].size
    steps = EPSILON * np.eye(pixels).reshape(pixels, *images.shape[1:])
    gradients = [
        (logits(config, critic, x + steps) - logits(config, critic, x - steps)) / (2 * EPSILON) for x in images
    ]
    return np.square(gradients).sum(axis=1)


def softplus(x):
    return np.logaddexp(0, x)


def sampled(small, config, state, params):
    """Images from the prior, with the noise that belongs to the examples' indices."""
    step_key = jax.random.fold_in(state.key, 0)
    keys = [jax.random.split(jax.random.split(jax.random.fold_in(step_key, i))[1]) for i in INDEX]
    latents = (
        np.stack([jax.random.normal(appearance, (3,)) for appearance, _ in keys]),
        np.stack([jax.random.normal(geometry, (4,)) for _, geometry in keys]),
    )
    return small.decode(config.abp.model, params, latents)


def energies(small, config, state, params):
    codes = [np.float64(z)[INDEX] for z in state.chains]
    residual = small.images(INDEX) / 255 - small.decode(config.abp.model, params, codes)
    prior = np.square(np.concatenate(codes, axis=1)).sum(axis=1) / 2
    return np.square(residual).sum(axis=(1, 2, 3)) / (2 * 0.3**2) + prior


def test_metrics_are_the_terms_of_the_two_losses(small, config, first, stepped):
    after, metrics = stepped
    images = small.images(INDEX) / 255
    fakes = sampled(small, config, first, first.params)
    real, fake = (logits(config, first.critic, x) for x in (images, fakes))
    expected = {
        "energy_nats": energies(small, config, after, first.params),
        "generator_nats": softplus(-fake),
        "critic_nats": softplus(-real) + softplus(fake),
        "penalty": penalties(config, first.critic, images),
    }
    assert set(metrics) == {*expected, "squared_error", "latent_norm", "redrawn_chains"}
    for name, values in expected.items():
        assert metrics[name].count == 4
        np.testing.assert_allclose(metrics[name].compute(), values.mean(), rtol=1e-4, err_msg=name)


def derivatives_agree(small, loss, params, state, beta_1):
    """Adam's first moment, 1 - beta_1 times the gradient, against central differences in float64."""
    mu = optax.tree_utils.tree_get(state, "mu")
    params = jax.tree.map(np.float64, jax.device_get(params))
    directions = small.directions(params)
    for direction, expected in zip(directions, small.derivatives(loss, params, directions), strict=True):
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), mu, direction))) / (1 - beta_1)
        assert abs(expected) > 1e-3
        np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_the_generators_follow_the_likelihood_and_the_critics_opinion_of_their_samples(small, config, first, stepped):
    after, _ = stepped

    def loss(params):
        fake = logits(config, first.critic, sampled(small, config, first, params))
        return (config.likelihood_weight * energies(small, config, after, params) + softplus(-fake)).mean()

    derivatives_agree(small, loss, first.params, after.opt_state, 0.9)


def test_the_critic_follows_its_cross_entropy_and_r1s_penalty(small, config, first, stepped):
    after, _ = stepped
    images, fakes = small.images(INDEX) / 255, sampled(small, config, first, first.params)

    def loss(critic):
        cross_entropy = softplus(-logits(config, critic, images)) + softplus(logits(config, critic, fakes))
        return (cross_entropy + config.penalty_weight / 2 * penalties(config, critic, images)).mean()

    derivatives_agree(small, loss, first.critic, after.critic_opt_state, CRITIC_OPTIMISER.beta_1)


def test_only_the_batchs_chains_move(small, first, stepped):
    after, _ = stepped
    for z, before in zip(after.chains, first.chains, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(np.any(z != before, axis=1)), np.sort(INDEX))


def test_a_chain_that_diverged_is_drawn_anew_and_counted(small, config, first):
    index = np.arange(4)
    chains = first.chains._replace(appearance=jnp.asarray(first.chains.appearance).at[2].set(np.nan))
    state, metrics = jax.jit(make(config).step)(first.replace(chains=chains), small.batch(index))
    assert metrics["redrawn_chains"].compute() == pytest.approx(1 / 4)
    for leaf in jax.tree.leaves((state.chains, state.params, state.critic)):
        assert np.isfinite(leaf).all()


def test_devices_change_nothing_and_frozen_networks_keep_their_weights(small, config, first, stepped):
    abp = replace(config.abp, frozen=("geometry",), optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.0))
    learner = make(replace(config, abp=abp), axis_name="devices")
    on_four = data_parallel(learner.step, devices=jax.devices()[:4], state_axes=ADVERSARIAL_STATE_AXES)
    found, _ = on_four(on_four.place_state(first), small.batch(INDEX))
    expected, _ = stepped
    np.testing.assert_array_equal(found.chains.appearance[20:], first.chains.appearance[20:])
    for name in ("chains", "critic"):
        close(getattr(found, name), getattr(expected, name))
    close(found.params["appearance_network"], expected.params["appearance_network"])
    jax.tree.map(np.testing.assert_array_equal, found.params["geometry_network"], first.params["geometry_network"])
    assert all(
        jnp.any(one != other)
        for one, other in zip(*(jax.tree.leaves(s.params["geometry_network"]) for s in (expected, first)), strict=True)
    )


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


def test_weights_are_the_papers():
    assert (AdversarialConfig().likelihood_weight, AdversarialConfig().penalty_weight) == (0.001, 10.0)


def test_a_critic_of_reconstructions_sees_the_images_of_the_chains(small, config, first):
    """Its generators' cross-entropy is that of the reconstructions, which are those of the plain learner's step."""
    state, metrics = jax.jit(make(replace(config, critic_sees="posterior")).step)(first, small.batch(INDEX))
    codes = [np.float64(z)[INDEX] for z in state.chains]
    images = small.decode(config.abp.model, first.params, codes)
    expected = softplus(-logits(config, first.critic, images)).mean()
    np.testing.assert_allclose(metrics["generator_nats"].compute(), expected, rtol=1e-4)


def test_a_critic_of_anything_else_is_refused():
    with pytest.raises(InputError, match="critic_sees: expected prior or posterior"):
        AdversarialConfig(critic_sees="both")
