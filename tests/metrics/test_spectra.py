import numpy as np
import pytest

from facedis_jax.metrics import power_spectrum


@pytest.mark.parametrize(("along_x", "along_y"), [(3, 0), (0, 5), (3, 4)])
def test_a_wave_has_its_power_at_its_own_frequency(along_x, along_y):
    y, x = np.mgrid[:16, :16] * 2 * np.pi / 16
    waves = np.tile(0.6 * np.cos(along_x * x + along_y * y)[None, ..., None], (2, 1, 1, 3))
    expected = np.zeros(8)
    expected[round(np.hypot(along_x, along_y)) - 1] = 3 * 0.6**2 / 2
    np.testing.assert_allclose(power_spectrum(waves), expected, atol=1e-6)


def test_the_powers_of_smooth_images_add_up_to_their_variance():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16] * 2 * np.pi / 16
    waves = [rng.normal() * np.cos(a * x + b * y + rng.uniform(0, 6)) for a in range(4) for b in range(4) if a or b]
    image = np.sum(waves, axis=0)[None, ..., None]
    np.testing.assert_allclose(power_spectrum(image).sum(), image.var(), rtol=1e-4)


@pytest.mark.parametrize("shape", [(2, 8, 6, 1), (8, 8, 1)])
def test_images_are_square_and_many(shape):
    with pytest.raises(ValueError, match="images must be"):
        power_spectrum(np.zeros(shape))
