import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from facedis_jax.losses import log_joint


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def normalised(image, prediction, latents, sigma):
    """Eq. 8 by SciPy's densities, in float64, constants included."""
    noise = stats.norm.logpdf(image.astype(np.float64), prediction, sigma).sum()
    return noise + sum(stats.norm.logpdf(z.astype(np.float64)).sum() for z in latents)


@pytest.mark.parametrize("sigma", [0.15, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(8, 8, 3), (4, 6, 5, 3)], ids=["image", "clip"])
def test_it_is_the_density_up_to_a_constant(sigma, shape):
    pixels, numbers = np.prod(shape), 5 + 4 * 3
    constant = -pixels * np.log(sigma) - (pixels + numbers) / 2 * np.log(2 * np.pi)
    for seed in range(3):
        image, prediction = draw(seed, *shape), draw(seed + 10, *shape)
        latents = [draw(seed + 20, 5), draw(seed + 30, 4, 3)]
        exact = normalised(image, prediction, latents, sigma)
        np.testing.assert_allclose(log_joint(image, prediction, latents, sigma=sigma), exact - constant, rtol=1e-6)


def test_holding_one_latent_fixed_gives_the_papers_conditionals():
    image, a, g = draw(0, 6), draw(1, 6), draw(2, 6)
    sigma = 0.5
    of_a, of_g = jax.grad(lambda a, g: log_joint(image, a * jnp.tanh(g), (a, g), sigma=sigma), (0, 1))(a, g)
    residual = image.astype(np.float64) - a * np.tanh(g)
    np.testing.assert_allclose(of_a, residual * np.tanh(g) / sigma**2 - a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_g, residual * a * (1 - np.tanh(g) ** 2) / sigma**2 - g, rtol=1e-4, atol=1e-5)


def test_latents_may_be_any_tree():
    image, prediction, z0, xi = draw(0, 4, 2, 2, 3), draw(1, 4, 2, 2, 3), draw(2, 5), draw(3, 3, 5)
    stacked = log_joint(image, prediction, np.concatenate([z0[None], xi]))
    np.testing.assert_allclose(log_joint(image, prediction, {"first": z0, "later": list(xi)}), stacked, rtol=1e-6)
    frames = sum(log_joint(x, p, ()) for x, p in zip(image, prediction, strict=True))
    np.testing.assert_allclose(stacked, frames - 0.5 * np.sum(z0**2) - 0.5 * np.sum(xi**2), rtol=1e-5)


def test_it_is_equation_17_for_clips():
    """Both lines as they are printed, sums over frames and innovations, in float64; sigma = 1."""
    clip, predictions = draw(0, 4, 3, 3, 1), [draw(seed, 4, 3, 3, 1) for seed in (1, 2)]
    appearance, geometry = ((draw(seed, 5), draw(seed + 1, 3, 2)) for seed in (3, 5))

    def line(predicted, latents):
        first, noise = (np.float64(z) for z in latents)
        total = sum(np.sum((np.float64(clip[t]) - predicted[t]) ** 2) for t in range(4))
        total += np.sum(first**2)
        for xi in noise:
            total += np.sum(xi**2)
        return -total / 2

    # The joint of both has one residual and either's prior; a line leaves the other's prior out, a constant to it.
    for predicted in predictions:
        residual = -np.sum((np.float64(clip) - predicted) ** 2) / 2
        expected = line(predicted, appearance) + line(predicted, geometry) - residual
        found = log_joint(clip, predicted, {"appearance": appearance, "geometry": geometry})
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    moved = tuple(2 * z for z in appearance)
    by_line = line(predictions[1], moved) - line(predictions[0], appearance)
    joints = [log_joint(clip, f, (z, geometry)) for f, z in zip(predictions, (appearance, moved), strict=True)]
    np.testing.assert_allclose(joints[1] - joints[0], by_line, rtol=1e-5)


def test_an_example_does_not_depend_on_its_batch():
    images, predictions, latents = draw(0, 7, 3, 3, 1), draw(1, 7, 3, 3, 1), draw(2, 7, 4)
    batched = jax.vmap(lambda *example: log_joint(*example, sigma=0.3))(images, predictions, latents)
    alone = [log_joint(*example, sigma=0.3) for example in zip(images, predictions, latents, strict=True)]
    np.testing.assert_allclose(batched, alone, rtol=1e-5)


def test_unequal_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"\(4, 4, 3\).*\(4, 4, 1\)"):
        log_joint(jnp.zeros([4, 4, 3]), jnp.zeros([4, 4, 1]), ())
