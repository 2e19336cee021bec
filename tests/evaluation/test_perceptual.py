import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from facedis_jax.evaluation.perceptual import diversity, fit_patch_features, high_frequency_share, perceptual_distance

RNG = np.random.default_rng(0)


def sharp_images(count):
    """Discs with hard edges."""
    y, x = np.mgrid[:24, :24]
    places = RNG.uniform(6, 18, (count, 2, 1, 1))
    inside = np.hypot(x - places[:, 0], y - places[:, 1]) < RNG.uniform(3, 8, (count, 1, 1))
    colors = RNG.uniform(size=(count, 2, 1, 1, 3))
    return np.where(inside[..., None], colors[:, 0], colors[:, 1]).astype(np.float32)


IMAGES = sharp_images(60)
BLURRED = gaussian_filter(IMAGES, (0, 1.5, 1.5, 0))


@pytest.fixture(scope="module")
def features():
    return fit_patch_features(IMAGES)


def test_an_image_has_no_distance_from_itself_and_a_blurred_one_more_than_a_brighter_one(features):
    np.testing.assert_allclose(perceptual_distance(features, IMAGES, IMAGES), 0, atol=1e-6)
    blurred = perceptual_distance(features, IMAGES, BLURRED)
    squared = np.square(IMAGES - BLURRED).mean()
    brighter = perceptual_distance(features, IMAGES, IMAGES + np.float32(np.sqrt(squared)))
    assert blurred.mean() > 3 * brighter.mean()
    assert blurred.mean() > 2 * perceptual_distance(features, IMAGES, gaussian_filter(IMAGES, (0, 0.5, 0.5, 0))).mean()
    assert blurred.max() <= 1


def test_bytes_and_shares_are_the_same_images(features):
    pixels = np.round(255 * IMAGES).astype(np.uint8)
    assert perceptual_distance(features, pixels, pixels / np.float32(255)).max() < 1e-6


def test_blur_takes_power_at_high_frequencies():
    assert high_frequency_share(IMAGES, IMAGES) == pytest.approx(1)
    assert high_frequency_share(IMAGES, BLURRED) < 0.15


def test_diversity_is_the_mean_squared_difference_of_pairs():
    images = RNG.uniform(size=(5, 4, 4, 1)).astype(np.float32)
    pairs = [np.mean((a - b) ** 2) for i, a in enumerate(images) for b in images[:i]]
    assert diversity(images) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert diversity(np.repeat(images[:1], 5, axis=0)) == 0
