from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facedis_jax.learners import ImageVaeConfig, OptimiserConfig, image_vae_functions, image_vae_learner
from facedis_jax.models import GeneratorConfig, Latents, inference_network
from facedis_jax.training import data_parallel

# Deformable, so that both codes are seen to come from the one inference network.
CONFIG = ImageVaeConfig(
    model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4),
    sigma=0.3,
    optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.0),
)
INDEX = np.array([5, 2, 9, 11])


def make(config=CONFIG, **settings):
    return image_vae_learner(config, **{"steps_per_epoch": 5, "num_steps": 100, **settings})


@pytest.fixture(scope="module")
def state(small):
    return small.make_state(make())


@pytest.fixture(scope="module")
def step():
    return jax.jit(make().step)


@jax.jit
def infer(params, images):
    return inference_network(CONFIG.model).apply({"params": params}, images)


def posterior(params, images):
    with jax.enable_x64(True):
        mean, logvar = infer(*jax.tree.map(np.float64, (jax.device_get(params["inference"]), images)))
        assert mean.dtype == np.float64
        return np.asarray(mean), np.asarray(logvar)


def parts(small, state, params, index):
    """The bound's parts in float64 with the noise of the images' indices: [images] residual and KL."""
    images = small.images(index) / 255
    mean, logvar = posterior(params, images)
    step_key = jax.random.fold_in(state.key, state.step)
    noise = np.stack([jax.random.normal(jax.random.fold_in(step_key, i), (7,)) for i in index])
    z = mean + np.exp(logvar / 2) * noise
    generators = {name: tree for name, tree in params.items() if name != "inference"}
    residual = images - small.decode(CONFIG.model, generators, (z[:, :3], z[:, 3:]))
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(axis=1)
    return np.square(residual).sum(axis=(1, 2, 3)), kl


def test_metrics_are_the_parts_of_the_bound(small, state, step):
    _, metrics = step(state, small.batch(INDEX))
    errors, kl = parts(small, state, state.params, INDEX)
    expected = {"squared_error": errors, "kl_nats": kl, "energy_nats": errors / (2 * 0.3**2) + kl}
    assert set(metrics) == set(expected)
    for name, values in expected.items():
        assert metrics[name].count == 4
        np.testing.assert_allclose(metrics[name].compute(), values.mean(), rtol=1e-4)


def test_the_gradient_is_the_bounds_mean_over_the_batch(small, state, step):
    after, _ = step(state, small.batch(INDEX))
    gradient = jax.tree.map(lambda x: np.float64(x) / 0.1, optax.tree_utils.tree_get(after.opt_state, "mu"))

    def loss(params):
        errors, kl = parts(small, state, params, INDEX)
        return (errors / (2 * 0.3**2) + kl).mean()

    params = jax.tree.map(np.float64, jax.device_get(state.params))
    directions = small.directions(params)
    assert len(directions) == 3
    for direction, expected in zip(directions, small.derivatives(loss, params, directions), strict=True):
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
        assert abs(expected) > 1e-2
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_noise_is_drawn_by_the_images_index_and_the_step(small, state, step):
    def energy(state, *index):
        batch = small.batch([0] * 4)
        batch["index"] = np.array(index, np.int32)
        return step(state, batch)[1]["energy_nats"].compute()

    same, other = energy(state, 5, 5, 5, 5), energy(state, 6, 6, 6, 6)
    assert abs(same - other) > 1e-3
    np.testing.assert_allclose(energy(state, 6, 5, 5, 6), (same + other) / 2, rtol=1e-5)
    assert abs(same - energy(state.replace(step=jnp.int32(1)), 5, 5, 5, 5)) > 1e-3


def test_evaluation_and_inference_are_of_posterior_means(small, state):
    batch = small.batch(INDEX)
    batch["mask"][3] = 0
    error = jax.jit(make().evaluate)(state, batch)["squared_error"]
    images = small.images(INDEX) / 255
    mean, _ = posterior(state.params, images)
    predictions = small.decode(
        CONFIG.model, {k: v for k, v in state.params.items() if k != "inference"}, (mean[:, :3], mean[:, 3:])
    )
    assert error.count == 3
    np.testing.assert_allclose(error.sum, np.square(images - predictions)[:3].sum(), rtol=1e-4)

    functions = image_vae_functions(CONFIG)
    latents = jax.jit(functions.infer)(state.params, np.float32(images), jax.random.split(jax.random.key(0), 4))
    np.testing.assert_allclose(np.concatenate(latents, axis=1), mean, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="no known appearance"):
        functions.infer(state.params, np.float32(images), None, latents.appearance)


def test_the_plain_vae_has_one_code(small):
    config = replace(CONFIG, model=replace(CONFIG.model, appearance_latents=7, geometry_latents=0))
    state = jax.eval_shape(make(config).init, jax.random.key(0), small.batch([0]))
    assert set(state.params) == {"appearance_network", "inference"}
    batch = np.zeros((2, 8, 8, 3), np.float32)
    latents = jax.eval_shape(image_vae_functions(config).infer, state.params, batch, None)
    assert latents == Latents(jax.ShapeDtypeStruct((2, 7), np.float32), None)


def test_a_few_images_are_learned(small, state, step):
    errors = []
    for i in range(80):
        state, metrics = step(state, small.batch((np.arange(4) + 4 * i) % 20))
        errors.append(metrics["squared_error"].compute())
    assert np.mean(errors[-10:]) < 0.6 * np.mean(errors[:5])


def test_frozen_generators_keep_their_weights_and_devices_change_nothing(small, state, step):
    """On four devices, with the geometric generator frozen: all else moves as on one device without."""
    config = replace(CONFIG, frozen=("geometry",), optimiser=replace(CONFIG.optimiser, weight_decay=0.1))
    learner = make(config, axis_name="devices")
    on_four = data_parallel(learner.step, devices=jax.devices()[:4])
    start = state.replace(opt_state=small.make_state(learner).opt_state)
    found, metrics = on_four(on_four.place_state(start), small.batch(INDEX))
    after, expected = step(state, small.batch(INDEX))
    mu, expected_mu = (optax.tree_utils.tree_get(s.opt_state, "mu") for s in (found, after))
    for name in ("appearance_network", "inference"):
        decay = jax.tree.map(lambda m, x: m + 0.1 * 0.1 * x, expected_mu[name], state.params[name])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mu[name], decay)
        for one, other in zip(*(jax.tree.leaves(s.params[name]) for s in (found, state)), strict=True):
            assert np.any(one != other)
    jax.tree.map(np.testing.assert_array_equal, found.params["geometry_network"], state.params["geometry_network"])
    np.testing.assert_allclose(metrics["energy_nats"].compute(), expected["energy_nats"].compute(), rtol=1e-5)
