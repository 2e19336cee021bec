import numpy as np
import pytest

from facedis_jax.metrics import view_covariance

ANGLES = np.float32([-30, -15, 0, 15, 30])


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_it_is_equation_21_in_float64():
    latents = draw(0, 5, 64)
    theta = ANGLES.astype(np.float64) / np.sqrt(np.sum(ANGLES.astype(np.float64) ** 2))
    expected = [abs(sum(z * t for z, t in zip(latents[:, i], theta, strict=True))) for i in range(64)]
    np.testing.assert_allclose(view_covariance(latents, ANGLES), expected, rtol=1e-4, atol=1e-6)


def test_unit_and_direction_of_the_angles_do_not_matter():
    latents = draw(0, 5, 8)
    value = view_covariance(latents, ANGLES)
    np.testing.assert_allclose(view_covariance(latents, -np.deg2rad(ANGLES)), value, rtol=1e-5)
    np.testing.assert_allclose(view_covariance(-latents[::-1], ANGLES), value, rtol=1e-5)


def test_the_response_is_largest_along_the_angles():
    theta = ANGLES / np.linalg.norm(ANGLES)
    constant, aligned, even = np.ones(5), 3 * theta, ANGLES**2
    responses = view_covariance(np.stack([constant, aligned, even], axis=1).astype(np.float32), ANGLES)
    np.testing.assert_allclose(responses, [0, 3, 0], atol=1e-4)


def test_shapes_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match=r"\(4, 8\).*\(5,\)"):
        view_covariance(draw(0, 4, 8), ANGLES)
