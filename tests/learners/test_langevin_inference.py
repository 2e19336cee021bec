"""Inference for unseen images by Langevin dynamics from the prior."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners import LangevinConfig
from facedis_jax.learners.abp import initial_generators
from facedis_jax.learners.image_functions import image_model, prior_sample
from facedis_jax.learners.langevin_inference import langevin_inference, sample_posterior
from facedis_jax.models import GeneratorConfig

pytestmark = pytest.mark.usefixtures("quick_compilation")

MODEL = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=2)
SIGMA = 0.3


def test_averaged_latents_are_the_mean_over_the_end_of_the_chain():
    config = LangevinConfig(inference_steps=6, average_last=4)
    params = initial_generators(MODEL, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    keys = jax.random.split(jax.random.key(2), 2)
    found = jax.jit(langevin_inference(image_model(MODEL), config, SIGMA))(params, images, keys)

    @partial(jax.jit, static_argnums=3)
    def end(image, start, key, num_steps):
        model = image_model(MODEL)
        return sample_posterior(model, config, params, image, start, key, sigma=SIGMA, num_steps=num_steps)

    for i, image in enumerate(images):
        start_key, key = jax.random.split(keys[i])
        ends = [end(image, prior_sample(MODEL, start_key), key, num_steps) for num_steps in (3, 4, 5, 6)]
        for name in found._fields:
            expected = np.mean([getattr(each, name) for each in ends], axis=0, dtype=np.float64)
            np.testing.assert_allclose(getattr(found, name)[i], expected, rtol=1e-4, atol=1e-5)


def test_unseen_images_begin_as_far_from_zero_as_asked():
    params = initial_generators(MODEL, jax.random.key(0))
    images, keys = jnp.zeros((3, 8, 8, 3)), jax.random.split(jax.random.key(2), 3)

    def first(spread):
        config = LangevinConfig(inference_steps=0, spread=spread)
        return jax.jit(langevin_inference(image_model(MODEL), config, SIGMA))(params, images, keys)

    for code, prior in zip(first(0.5), first(1.0), strict=True):
        assert np.abs(prior).min() > 0
        np.testing.assert_array_equal(code, prior / 2)
    assert all(not np.any(code) for code in first(0.0))


@pytest.mark.parametrize("spread", [-0.1, np.inf, np.nan])
def test_a_spread_is_a_number_from_zero_on(spread):
    with pytest.raises(InputError, match="spread: expected 0 or more"):
        LangevinConfig(spread=spread)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step_size", 0.0),
        ("step_size", float("nan")),
        ("block", 0),
        ("num_steps", -1),
        ("inference_steps", -1),
        ("restarts", 0),
    ],
)
def test_a_sampler_that_cannot_move_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name}: expected"):
        LangevinConfig(**{name: value})


@pytest.mark.parametrize("average_last", [-1, 7])
def test_no_more_latents_are_averaged_than_there_are(average_last):
    with pytest.raises(InputError, match="0 to 6"):
        replace(LangevinConfig(inference_steps=6), average_last=average_last)
