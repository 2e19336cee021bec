"""A linear model that is fitted to points, against faces whose codes are known and a posterior in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.geometry import sample_surface
from facedis_jax.models.surface_fit import codes_of, face_of, fit_surface, linear_surface
from facedis_jax.models.surfaces import Cloud

RNG = np.random.default_rng(0)


def hilly(steps=24):
    """A model of a curved sheet of 120 mm with three hills of any height and one that wanders, and its triangles."""
    x, y = np.meshgrid(np.linspace(-60, 60, steps), np.linspace(-60, 60, steps), indexing="ij")

    def hill(a, b, width):
        return np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width**2))

    z = 18 * hill(0, 0, 14) - (x**2 + y**2) / 150
    cell = np.arange(steps**2).reshape(steps, steps)
    corners = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 4)
    flat = np.zeros_like(x)
    basis = [(flat, flat, 2.5 * hill(*place)) for place in ((25, 20, 15), (-30, 10, 10), (5, -30, 12))]
    basis.append((2.5 * hill(0, 0, 20), flat, flat))
    mean = np.stack([x, y, z], -1).reshape(-1, 3)
    triangles = np.concatenate([corners[:, :3], corners[:, [0, 2, 3]]])
    return linear_surface(mean, np.stack([np.stack(part, -1).reshape(-1, 3) for part in basis]), triangles, 60)


MODEL = hilly()
CODES = np.float32([1.2, -0.7, 0.9, -1.1])
FACE = face_of(jnp.asarray(CODES), MODEL)


@partial(jax.jit, static_argnames="count")
def points_on(face, count, seed=0):
    return sample_surface(jax.random.key(seed), face, jnp.asarray(MODEL.triangles), count)


fit = partial(jax.jit, static_argnames="steps")(lambda cloud, **settings: fit_surface(cloud, MODEL, **settings))


def fitted(points, weights=None, **settings):
    weights = np.ones(len(points), np.float32) if weights is None else weights
    return fit(Cloud(jnp.asarray(points), jnp.asarray(weights)), **settings)


@pytest.mark.parametrize("count", [300, 1500, 5000])
def test_the_codes_of_a_face_are_found_by_any_points_of_it(count):
    found = fitted(points_on(FACE, count))
    np.testing.assert_allclose(found.codes, CODES, atol=0.08)
    assert float(found.spread) == pytest.approx(0.1, abs=0.01)


def test_a_displaced_face_keeps_its_codes():
    turn, shift = np.deg2rad([0.4, -0.5, 0.3]), np.array([0.3, -0.2, 0.4])
    points = np.asarray(points_on(FACE, 3000))
    found = fitted(points + np.cross(turn, points) + shift)
    np.testing.assert_allclose(found.codes, CODES, atol=0.12)
    np.testing.assert_allclose(found.pose[:3], turn, atol=2e-3)
    np.testing.assert_allclose(found.pose[3:], shift, atol=0.15)


def test_noise_is_measured_and_cancels():
    points = np.asarray(points_on(FACE, 4000))
    found = fitted(points + 0.4 * RNG.standard_normal(points.shape))
    np.testing.assert_allclose(found.codes, CODES, atol=0.15)
    assert float(found.spread) == pytest.approx(0.4, rel=0.1)


def test_neither_order_nor_absent_points_matter_nor_strays():
    points = np.asarray(points_on(FACE, 900))
    plain = fitted(points).codes
    np.testing.assert_allclose(fitted(RNG.permutation(points)).codes, plain, atol=5e-3)
    weights = np.concatenate([np.ones(900), np.zeros(60)]).astype(np.float32)
    absent = np.concatenate([points, RNG.uniform(-50, 50, (60, 3)).astype(np.float32)])
    np.testing.assert_allclose(fitted(absent, weights).codes, plain, atol=5e-3)
    np.testing.assert_allclose(fitted(absent + 0).codes, CODES, atol=0.15)
    # Beyond the sheet nothing is near.
    beside = np.concatenate([points, np.float32([[150, 0, 0]] * 200)])
    np.testing.assert_allclose(fitted(beside).codes, plain, atol=0.03)


def test_a_cloud_of_which_nothing_is_near_is_the_mean_face():
    found = fitted(np.full((200, 3), 1e4, np.float32))
    np.testing.assert_allclose(found.codes, 0, atol=1e-6)


def test_a_step_is_the_posterior_s_mode_in_float64():
    points = np.float64(points_on(FACE, 400)) + 0.2 * RNG.standard_normal((400, 3))
    start = CODES + 0.05
    found = fitted(np.float32(points), start=jnp.asarray(start), steps=1)
    mean, basis = MODEL.mean.astype(np.float64), MODEL.basis.astype(np.float64)
    face = mean + np.tensordot(start.astype(np.float64), basis, 1)
    corners = face[MODEL.triangles]
    nearest = np.linalg.norm(points[:, None] - corners.mean(1), axis=-1).argmin(1)
    first, second, third = np.moveaxis(corners[nearest], 1, 0)
    normal = np.cross(second - first, third - first)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    distance = ((points - first) * normal).sum(1)
    parts = [
        np.linalg.lstsq(np.stack([b - a, c - a], 1), p - a, rcond=None)[0]
        for a, b, c, p in zip(first, second, third, points - distance[:, None] * normal, strict=True)
    ]
    parts = np.clip(parts, 0, 1)
    parts = np.concatenate([1 - parts.sum(1, keepdims=True), parts], axis=1)
    there = np.einsum("pc,kpci->pki", parts, basis[:, MODEL.triangles[nearest]])
    scale = np.array([np.deg2rad(0.5)] * 3 + [0.5] * 3)
    slopes = np.concatenate(
        [np.einsum("pi,pki->pk", normal, there), np.cross(points, normal) * scale[:3], normal * scale[3:]], axis=1
    )
    spread = max(1.4826 * np.sort(np.abs(distance))[200], 0.1)
    root = 1 / (1 + (distance / (4 * spread)) ** 2) / spread
    # The prior, as rows of their own.
    rows = np.concatenate([slopes * root[:, None], np.eye(10)])
    right = np.concatenate([(distance + slopes[:, :4] @ start) * root, np.zeros(10)])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0]
    np.testing.assert_allclose(found.codes, expected[:4], atol=2e-3)
    np.testing.assert_allclose(found.pose, expected[4:] * scale, atol=2e-3)
    assert float(found.spread) == pytest.approx(spread, rel=1e-3)


def test_many_clouds_are_fitted_as_one():
    clouds = jnp.stack([points_on(FACE, 200, seed) for seed in range(3)])
    together = jax.vmap(lambda points: fit(Cloud(points, jnp.ones(200)), steps=6).codes)(clouds)
    for codes, points in zip(together, clouds, strict=True):
        np.testing.assert_allclose(codes, fitted(points, steps=6).codes, atol=1e-4)


def test_nothing_is_differentiated():
    gradient = jax.grad(lambda points: fitted(points, steps=2).codes.sum())(points_on(FACE, 100))
    assert not np.asarray(gradient).any()


def test_codes_of_registered_faces():
    noisy = FACE + 0.3 * RNG.standard_normal(FACE.shape).astype(np.float32)
    basis = MODEL.basis.reshape(4, -1).astype(np.float64)
    rows = np.concatenate([basis.T / 0.3, np.eye(4)])
    right = np.concatenate([(np.float64(noisy) - MODEL.mean).reshape(-1) / 0.3, np.zeros(4)])
    np.testing.assert_allclose(codes_of(noisy, MODEL), np.linalg.lstsq(rows, right, rcond=None)[0], atol=1e-3)
