"""Inference for unseen images by Langevin dynamics from the prior."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.learners import LangevinConfig
from facedis_jax.learners.generator_functions import image_functions, image_prior, video_functions
from facedis_jax.learners.langevin_inference import langevin_inference, sample_posterior
from facedis_jax.losses import log_joint
from facedis_jax.models import DynamicConfig, GeneratorConfig, Latents
from facedis_jax.sampling import alternating_langevin

MODEL = GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=2)
SIGMA = 0.3


def test_averaged_latents_are_the_mean_over_the_end_of_the_chain():
    config = LangevinConfig(inference_steps=5, average_last=3)
    params = jax.jit(image_functions(MODEL).init)(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    keys = jax.random.split(jax.random.key(2), 2)
    found = jax.jit(langevin_inference(image_functions(MODEL), config, SIGMA))(params, images, keys)

    @partial(jax.jit, static_argnums=3)
    def end(image, start, key, num_steps):
        functions = image_functions(MODEL)
        return sample_posterior(functions, config, params, image, start, key, sigma=SIGMA, num_steps=num_steps)

    for i, image in enumerate(images):
        start_key, key = jax.random.split(keys[i])
        ends = [end(image, image_prior(MODEL, start_key), key, num_steps) for num_steps in (3, 4, 5)]
        for name in found._fields:
            expected = np.mean([getattr(each, name) for each in ends], axis=0, dtype=np.float64)
            np.testing.assert_allclose(getattr(found, name)[i], expected, rtol=1e-4, atol=1e-5)


CLIP_MODEL = DynamicConfig(
    size=16, appearance_latents=3, geometry_latents=4, appearance_noise=2, geometry_noise=2,
    transition_hidden=4, appearance_filters=8, geometry_filters=8,
)  # fmt: skip
REFINED, STILL = replace(MODEL, refine=True), replace(CLIP_MODEL, appearance_noise=0)
GENERATORS = {
    "images": image_functions(MODEL),
    "refined images": image_functions(replace(MODEL, refine=True)),
    "clips": video_functions(CLIP_MODEL, 2.0),
    "clips in blocks of frames": video_functions(replace(CLIP_MODEL, frames_at_once=2)),
    "clips of one appearance": video_functions(replace(CLIP_MODEL, appearance_noise=0)),
}


@pytest.mark.parametrize(
    ("name", "block"),
    [
        # Clips take longest; a step of theirs is held against Equation 16 in the tests of their learner.
        pytest.param(name, block, marks=[pytest.mark.thorough] * ("clips" in name))
        for name, block in zip(GENERATORS, (1, 3, 1, 3, 1), strict=True)
    ],
)
def test_chains_are_those_of_the_whole_density_in_the_plain_form(name, block):
    model = GENERATORS[name]
    params = jax.jit(model.init)(jax.random.key(0))
    example = jax.random.uniform(jax.random.key(1), (5, 16, 16, 3) if "clips" in name else (8, 8, 3))
    start, config = model.prior(jax.random.key(2), example.shape), LangevinConfig(block=block, step_size=0.05)

    @jax.jit
    def moved():
        return sample_posterior(model, config, params, example, start, jax.random.key(3), sigma=SIGMA, num_steps=3)

    @jax.jit
    def expected():
        def log_density(z):
            latents = type(start)(*z)
            return log_joint(example, model.decode(params, latents), latents, sigma=SIGMA)

        sizes = jax.tree.map(lambda ratio: 0.05 * ratio, model.step_ratios)
        sizes = tuple(sizes) if isinstance(sizes, tuple) else sizes
        arguments = {"num_steps": 3, "step_size": sizes, "block": block}
        return type(start)(*alternating_langevin(log_density, tuple(start), jax.random.key(3), **arguments))

    found = moved()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, expected())
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(*map(jax.tree.leaves, (found, start)), strict=True))


def test_unseen_images_begin_as_far_from_zero_as_asked():
    params = jax.jit(image_functions(MODEL).init)(jax.random.key(0))
    images, keys = jnp.zeros((3, 8, 8, 3)), jax.random.split(jax.random.key(2), 3)

    def first(initial_std):
        config = LangevinConfig(inference_steps=0, initial_std=initial_std)
        return jax.jit(langevin_inference(image_functions(MODEL), config, SIGMA))(params, images, keys)

    for code, prior in zip(first(0.5), first(1.0), strict=True):
        assert np.abs(prior).min() > 0
        np.testing.assert_array_equal(code, prior / 2)
    assert all(not np.any(code) for code in first(0.0))


@pytest.mark.parametrize("initial_std", [-0.1, np.inf, np.nan])
def test_an_initial_deviation_is_a_number_from_zero_on(initial_std):
    with pytest.raises(InputError, match="initial_std: expected 0 or more"):
        LangevinConfig(initial_std=initial_std)


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


@pytest.mark.thorough
def test_in_bfloat16_chains_stay_distributed_as_the_posterior_of_float32():
    """From draws of the posterior, which sums over a grid give: if chains sampled another, they would leave it."""
    sizes, sigma, num_chains = replace(MODEL, appearance_latents=1, geometry_latents=1), 0.35, 300
    exact, narrow = (image_functions(replace(sizes, compute=compute)) for compute in ("float32", "bfloat16"))
    rng = np.random.default_rng(2)

    def fill(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(scale=fan_in**-0.5, size=leaf.shape).astype(np.float32)

    params = jax.tree.map(fill, jax.eval_shape(exact.init, jax.random.key(0)))
    decode = jax.jit(partial(exact.decode, params))
    image = decode(Latents(np.float32([0.7]), np.float32([-0.5])))
    image += sigma * rng.normal(size=image.shape).astype(np.float32)
    axis = np.linspace(-4, 4, 65, dtype=np.float32)
    grid = Latents(*(each.reshape(-1, 1) for each in np.meshgrid(axis, axis)))
    logarithms = jax.vmap(lambda f, z: log_joint(image, f, z, sigma=sigma))(decode(grid), grid)
    weights = np.exp(np.float64(logarithms - logarithms.max()))
    weights /= weights.sum()
    # Evenly spaced in the cumulative distribution.
    drawn = np.searchsorted(np.cumsum(weights), (np.arange(num_chains) + 0.5) / num_chains)
    start = jax.tree.map(lambda code: code[drawn], grid)

    move = partial(sample_posterior, narrow, LangevinConfig(step_size=0.13), params, image)
    keys = jax.random.split(jax.random.key(4), num_chains)
    found = jax.jit(jax.vmap(partial(move, sigma=sigma, num_steps=45)))(start, keys)
    for code, true, first in zip(found, grid, start, strict=True):
        assert code.dtype == np.float32
        assert np.corrcoef(code[:, 0], first[:, 0])[0, 1] < 0.9
        for power in (1, 2):
            values = np.float64(true[:, 0]) ** power
            mean = weights @ values
            error = np.sqrt(weights @ (values - mean) ** 2 / num_chains)
            assert abs(np.mean(np.float64(code) ** power) - mean) < 3 * error
