"""The deforming autoencoder on images of 8 x 8."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import map_coordinates

import facedis_jax
from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_image_model
from facedis_jax.inference.generator_models import TrainedImageModel
from facedis_jax.learners import OptimiserConfig
from facedis_jax.learners.rivals.images import (
    DeformingAutoencoderConfig,
    DeformingConfig,
    DeformingNetworks,
    DeformingTraining,
    deforming_autoencoder_functions,
    deforming_autoencoder_learner,
)
from facedis_jax.metrics import fold_share
from facedis_jax.training import data_parallel

CONFIG = DeformingAutoencoderConfig(
    DeformingConfig(8, 3, 3, 4, DeformingNetworks(filters=8, growth=4)),
    DeformingTraining(
        smoothness=0.02,
        mean_warp=0.5,
        optimiser=OptimiserConfig(learning_rate=3e-3, weight_decay=0.0, schedule="cosine"),
    ),
)
INDEX = np.array([5, 2, 9, 11])
FUNCTIONS = deforming_autoencoder_functions(CONFIG)


def make(config=CONFIG, **settings):
    return deforming_autoencoder_learner(config, **{"steps_per_epoch": 5, "num_steps": 60, **settings})


@pytest.fixture(scope="module")
def step():
    return jax.jit(make().step)


@pytest.fixture(scope="module")
def state(small):
    """A first state, whose warps are no longer those of zero weights."""
    state = small.make_state(make())
    noise = np.random.default_rng(0)
    geometry = jax.tree.map(
        lambda x: x + noise.normal(scale=0.1, size=x.shape).astype(np.float32), state.params["geometry_network"]
    )
    return state.replace(params={**state.params, "geometry_network": geometry})


@pytest.fixture(scope="module")
def seen(small, state):
    """Images, and what the model makes of them: canonical images, flows and reconstructions."""

    @jax.jit
    def see(params, images):
        latents = FUNCTIONS.infer(params, images, None)
        canonical, flow = FUNCTIONS.canonical(params, latents.appearance), FUNCTIONS.flow(params, latents.geometry)
        return canonical, flow, FUNCTIONS.decode(params, latents)

    images = (small.images(INDEX) / 255).astype(np.float32)
    return images, *map(np.asarray, see(state.params, images))


def test_an_image_is_its_texture_read_in_order(seen):
    _, canonical, flow, predictions = seen
    assert 0 <= canonical.min() < canonical.max() <= 1
    assert np.abs(flow).max() > 0.3
    y, x = np.mgrid[:8, :8].astype(np.float64)
    for texture, moved, found in zip(canonical, flow, predictions, strict=True):
        at = [y + moved[..., 1], x + moved[..., 0]]
        channels = [map_coordinates(c, at, order=1, mode="nearest") for c in np.moveaxis(texture, 2, 0)]
        np.testing.assert_allclose(found, np.stack(channels, 2), atol=1e-5)
    assert np.all(np.asarray(fold_share(flow)) == 0)


def test_the_step_follows_the_papers_losses(small, state, step, seen):
    images, _, flow, predictions = seen
    after, metrics = step(state, small.batch(INDEX))
    absolute = np.abs(images - predictions).mean(axis=(1, 2, 3))
    variation = sum(np.abs(np.diff(flow, axis=axis)).sum(axis=(1, 2, 3)) for axis in (1, 2)) / 64
    expected = {
        "absolute_error": absolute,
        "squared_error": np.square(images - predictions).sum(axis=(1, 2, 3)),
        "flow_variation": variation,
    }
    assert set(metrics) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name].compute(), values.mean(), rtol=1e-4)
    # The gradient of the whole, along itself, is what the loss changes by.
    gradient = jax.tree.map(lambda m: m / 0.1, optax.tree_utils.tree_get(after.opt_state, "mu"))
    length = np.sqrt(sum(np.square(g).sum() for g in jax.tree.leaves(gradient)))

    @jax.jit
    def whole(params):
        latents = FUNCTIONS.infer(params, images, None)
        flows = FUNCTIONS.flow(params, latents.geometry)
        mean = jnp.square(flows.mean(axis=0) / 4).mean()
        errors = jnp.abs(images - FUNCTIONS.decode(params, latents)).mean()
        bends = sum(jnp.abs(jnp.diff(flows, axis=axis)).sum() for axis in (1, 2)) / 64 / 4
        return errors + 0.02 * bends + 0.5 * mean

    ends = [
        whole(jax.tree.map(lambda x, g, side=side: x + side * 1e-3 * g / length, state.params, gradient))
        for side in (1, -1)
    ]
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-3, length, rtol=2e-2)


def test_devices_change_nothing_and_a_frozen_warp_stays(small, state, step):
    """On four devices, where the batch's mean warp is collective; with the warp frozen, all else moves as without."""
    config = replace(CONFIG, frozen=("geometry",))
    on_four = data_parallel(make(config, axis_name="devices").step, devices=jax.devices()[:4])
    found, _ = on_four(on_four.place_state(state), small.batch(INDEX))
    after, _ = step(state, small.batch(INDEX))
    free, held = (optax.tree_utils.tree_get(each.opt_state, "mu") for each in (after, found))
    jax.tree.map(np.testing.assert_array_equal, found.params["geometry_network"], state.params["geometry_network"])
    for name in ("appearance_network", "encoder"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), held[name], free[name])


def test_a_few_images_are_learned(small, step):
    state, errors = small.make_state(make()), []
    for i in range(60):
        state, metrics = step(state, small.batch((np.arange(4) + 4 * i) % 20))
        errors.append(metrics["squared_error"].compute())
    assert np.mean(errors[-10:]) < 0.8 * np.mean(errors[:5])


def test_its_file_is_a_model_that_decodes_alike(tmp_path, state, seen):
    model = TrainedImageModel.of(CONFIG, jax.device_get(state.params), example_image_model().origin)
    model.save(tmp_path / "model.safetensors")
    again = facedis_jax.load(tmp_path / "model.safetensors")
    assert again.config == CONFIG
    np.testing.assert_allclose(again.decode(again.infer(seen[0])), seen[3], atol=1e-5)
    with pytest.raises(ValueError, match="no known appearance"):
        FUNCTIONS.infer(state.params, seen[0], None, seen[0])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DeformingConfig(size=12), "model.size"),
        (lambda: DeformingConfig(size=16, networks=DeformingNetworks(flow_scale=4)), "networks.flow_scale"),
        (lambda: DeformingNetworks(growth=-1), "growth"),
        (lambda: DeformingTraining(reconstruction="l3"), "training.reconstruction"),
    ],
)
def test_settings_of_no_sense_are_refused(make, named):
    with pytest.raises(InputError, match=f"^{named}: expected") as refused:
        make()
    assert "\n" not in str(refused.value)
