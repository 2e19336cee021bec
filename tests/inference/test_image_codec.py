import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.inference.codecs import image_codec, squared_errors
from facedis_jax.learners import (
    AbpConfig,
    ImageVaeConfig,
    LangevinConfig,
    abp_functions,
    image_vae_functions,
    image_vae_learner,
)
from facedis_jax.models import GeneratorConfig, Latents

MODEL = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=4, output="tanh")
COUNT = 53  # more than are computed at once


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


IMAGES = np.random.default_rng(0).integers(256, size=(COUNT, 8, 8, 3), dtype=np.uint8)
CODES = Latents(draw(1, COUNT, 3), draw(2, COUNT, 4))


@pytest.fixture(scope="module")
def params():
    """Of the generators and of an inference network."""
    learner = image_vae_learner(ImageVaeConfig(MODEL), steps_per_epoch=1, num_steps=1)
    batch = {"image": IMAGES[:1], "index": np.zeros(1, np.int32)}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).params
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda x: rng.normal(scale=0.2, size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def vae(params):
    return image_codec(image_vae_functions(ImageVaeConfig(MODEL)), params)


def test_many_images_are_decoded_as_by_the_generator_in_one_call_and_shown_in_0_to_1(params, vae):
    functions = image_vae_functions(ImageVaeConfig(MODEL))
    images, canonical, flow = vae.decode(CODES), vae.canonical(CODES.appearance), vae.flow(CODES.geometry)
    assert (images.shape, flow.shape) == ((COUNT, 8, 8, 3), (COUNT, 8, 8, 2))
    assert 0 <= images.min() < 0.5 < images.max() <= 1
    # The generator's own images are in [-1, 1].
    np.testing.assert_allclose(2 * images - 1, jax.jit(functions.decode)(params, CODES), atol=1e-5)
    signed = jax.jit(functions.canonical)(params, CODES.appearance)
    np.testing.assert_allclose(2 * canonical - 1, signed, atol=1e-5)
    np.testing.assert_allclose(flow, jax.jit(functions.flow)(params, CODES.geometry), atol=1e-5)
    assert np.abs(images - canonical).max() > 0.01
    assert (vae.appearance_latents, vae.geometry_latents) == (3, 4)


def test_codes_are_those_of_the_inference_network_from_bytes_as_from_real_numbers(params, vae):
    found = vae.infer(IMAGES)
    functions = image_vae_functions(ImageVaeConfig(MODEL))
    expected = jax.jit(functions.infer)(params, 2 * jnp.float32(IMAGES / 255) - 1, None)
    for one, other, again in zip(found, expected, vae.infer(IMAGES / np.float32(255)), strict=True):
        assert len(one) == COUNT
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(one, again, atol=1e-5)


def test_sampled_codes_depend_on_the_seed_and_the_place_and_known_appearance_is_kept(params):
    config = AbpConfig(model=MODEL, langevin=LangevinConfig(inference_steps=2))
    generators = {name: tree for name, tree in params.items() if name != "inference"}
    same = np.repeat(IMAGES[:1], COUNT, axis=0)

    def infer(seed):
        codec = image_codec(abp_functions(config), generators, seed=seed)
        return codec, codec.infer(same, appearance=CODES.appearance)

    codec, codes = infer(0)
    np.testing.assert_array_equal(codes.appearance, CODES.appearance)
    assert len(np.unique(codes.geometry.round(4), axis=0)) == COUNT
    np.testing.assert_array_equal(codec.infer(same, appearance=CODES.appearance).geometry, codes.geometry)
    assert np.abs(infer(1)[1].geometry - codes.geometry).max(axis=1).min() > 1e-3


def test_codes_do_not_depend_on_how_many_devices_share_the_images(params):
    config = AbpConfig(model=MODEL, langevin=LangevinConfig(inference_steps=2))
    generators = {name: tree for name, tree in params.items() if name != "inference"}
    alone, shared = (
        image_codec(abp_functions(config), generators, devices=devices) for devices in (None, jax.devices()[:2])
    )
    for known in ({}, {"appearance": CODES.appearance}):
        for one, other in zip(alone.infer(IMAGES, **known), shared.infer(IMAGES, **known), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_errors_are_sums_over_pixels_and_channels_in_0_to_1():
    predictions = np.random.default_rng(4).uniform(size=IMAGES.shape).astype(np.float32)
    expected = [np.sum((image / 255 - np.float64(p)) ** 2) for image, p in zip(IMAGES, predictions, strict=True)]
    np.testing.assert_allclose(squared_errors(IMAGES, predictions), expected, rtol=1e-5)
    np.testing.assert_allclose(squared_errors(np.float32(IMAGES / 255), predictions), expected, rtol=1e-5)
