"""Surfaces seen from anchors, against weighted least squares in float64, and clouds drawn from meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.models.surfaces import (
    CloudConfig,
    SurfaceConfig,
    anchors_of,
    anchors_on,
    draw_cloud,
    rig_of,
    see_surface,
)


def bumpy_sheet(height=8.0):
    """A sheet of 120 mm with a bump: vertices [900, 3] and triangles."""
    x, y = np.meshgrid(np.linspace(-60, 60, 30), np.linspace(-60, 60, 30), indexing="ij")
    z = height * np.exp(-(x**2 + y**2) / 800)
    cell = np.arange(900).reshape(30, 30)
    corners = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 4)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return vertices, np.concatenate([corners[:, :3], corners[:, [0, 2, 3]]])


VERTICES, TRIANGLES = bumpy_sheet()
ANCHORS = anchors_on(VERTICES, TRIANGLES, 20)
CONFIG = SurfaceConfig(anchors=20, widths=(6.0, 12.0), depth=15.0)
RNG = np.random.default_rng(0)
POINTS = np.float32(VERTICES[RNG.integers(len(VERTICES), size=900)] + RNG.normal(0, 0.3, (900, 3)))
WEIGHTS = np.float32(RNG.uniform(0.2, 2.0, 900))


def seen(points, weights=None, config=CONFIG):
    weights = np.ones(len(points), np.float32) if weights is None else weights
    return np.asarray(see_surface(jnp.asarray(points), jnp.asarray(weights), ANCHORS, config).relief, np.float64)


def test_relief_is_a_plane_fitted_by_weighted_least_squares():
    places, frames = (np.asarray(x, np.float64) for x in ANCHORS)
    expected = np.zeros((20, 7))
    weights = WEIGHTS.astype(np.float64) * len(WEIGHTS) / WEIGHTS.sum(dtype=np.float64)
    for a in range(20):
        u, v, h = frames[a] @ (POINTS.astype(np.float64) - places[a]).T
        for w, width in enumerate(CONFIG.widths):
            window = np.clip(1 - (u**2 + v**2) / (7 * width**2), 0, None) * np.clip(1 - h**2 / (7 * 15**2), 0, None)
            root = np.sqrt(weights) * window
            design = np.stack([np.ones_like(u), u / width, v / width], axis=1) * root[:, None]
            mass = (root**2).sum()
            # The weak pulls to nothing, as rows of their own.
            pulls = np.diag(np.sqrt([0.1, 0.1 + 0.05 * mass, 0.1 + 0.05 * mass]))
            rows, right = np.concatenate([design, pulls]), np.concatenate([root * h, np.zeros(3)])
            expected[a, 3 * w : 3 * w + 3] = np.linalg.lstsq(rows, right, rcond=None)[0]
        expected[a, 6] = mass / (mass + 1)
    np.testing.assert_allclose(seen(POINTS, WEIGHTS), expected, atol=2e-3)


def test_relief_depends_on_neither_order_nor_absent_points_nor_the_unit_of_weights():
    order = RNG.permutation(len(POINTS))
    np.testing.assert_allclose(seen(POINTS[order], WEIGHTS[order]), seen(POINTS, WEIGHTS), atol=1e-3)
    np.testing.assert_allclose(seen(POINTS, 7 * WEIGHTS), seen(POINTS, WEIGHTS), atol=1e-3)
    more, none = np.concatenate([POINTS, 3 * POINTS]), np.zeros_like(WEIGHTS)
    np.testing.assert_allclose(seen(more, np.concatenate([WEIGHTS, none])), seen(POINTS, WEIGHTS), atol=1e-3)


def test_heights_of_a_plane_do_not_follow_the_density_of_its_points():
    flat, corners = bumpy_sheet(height=0.0)
    anchors = anchors_on(flat, corners, 20)
    even = np.float32(RNG.uniform(-60, 60, (60_000, 3)) * (1, 1, 0) + (0, 0, 3))
    dense_on_one_side = even[RNG.uniform(size=len(even)) < (even[:, 0] + 62) / 124]
    inside = np.abs(anchors.places[:, :2]).max(axis=1) < 25
    for points in (even, dense_on_one_side):
        relief = see_surface(jnp.asarray(points), jnp.ones(len(points)), anchors, CONFIG).relief
        np.testing.assert_allclose(np.abs(relief[inside][:, [0, 3]]), 3, atol=0.02)


def test_many_clouds_are_seen_as_one():
    clouds = jnp.asarray(POINTS).reshape(3, 300, 3)
    weights = jnp.asarray(WEIGHTS).reshape(3, 300)
    together = jax.vmap(lambda p, w: see_surface(p, w, ANCHORS, CONFIG).relief)(clouds, weights)
    for one, points, weight in zip(together, clouds, weights, strict=True):
        np.testing.assert_allclose(one, seen(points, weight), atol=1e-4)


def test_nothing_is_differentiated():
    def total(points):
        return see_surface(points, jnp.ones(len(points)), ANCHORS, CONFIG).relief.sum()

    assert not np.asarray(jax.grad(total)(jnp.asarray(POINTS))).any()


def test_nothing_seen_shows_the_mean_face():
    far = see_surface(jnp.full((50, 3), 1e3), jnp.ones(50), ANCHORS, CONFIG)
    assert not np.asarray(far.relief).any()
    np.testing.assert_array_equal(far.points, ANCHORS.places)


def test_anchors_stand_on_the_mesh_along_its_normals():
    angle = np.linspace(0.3, np.pi - 0.3, 30)
    grid = np.stack(np.meshgrid(angle, 2 * angle, indexing="ij"), -1).reshape(-1, 2)
    sphere = np.stack([np.sin(grid[:, 0]) * np.cos(grid[:, 1]), np.sin(grid[:, 0]) * np.sin(grid[:, 1])], 1)
    sphere = 50 * np.concatenate([sphere, np.cos(grid[:, :1])], axis=1)
    cell = np.arange(900).reshape(30, 30)
    corners = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 4)
    places, frames = anchors_on(sphere, np.concatenate([corners[:, :3], corners[:, [0, 2, 3]]]), 40)
    assert np.abs((frames[:, 2] * places / 50).sum(1)).min() > 0.98
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.broadcast_to(np.eye(3), (40, 3, 3)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-5)


def test_clouds_without_faults_lie_on_the_surface():
    plain = CloudConfig(points=800, least=800, noise=0, hole=0, border=0, uneven=1, tilt=0, shift=0)
    flat, corners = bumpy_sheet(height=0.0)
    cloud = draw_cloud(jax.random.key(0), jnp.asarray(flat), jnp.asarray(corners), plain)
    assert np.abs(cloud.points[:, 2]).max() < 1e-5
    # The hole of no size takes the one point that is its middle.
    assert cloud.weights.sum() >= 799


@pytest.mark.parametrize(
    ("faults", "left"),
    [({"least": 100}, 700), ({"hole": 40.0}, 760), ({"border": 0.5}, 760), ({"uneven": 4.0}, 760)],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_clouds_have_the_faults_they_are_to_have(faults, left):
    config = CloudConfig(**({"points": 800, "least": 800, "hole": 0, "border": 0, "uneven": 1} | faults))
    keys = jax.random.split(jax.random.key(1), 40)
    clouds = jax.vmap(lambda key: draw_cloud(key, jnp.asarray(VERTICES), jnp.asarray(TRIANGLES), config))(keys)
    counts = np.asarray(clouds.weights.sum(1))
    assert 32 <= counts.min() < counts.mean() < left
    assert np.isfinite(np.asarray(clouds.points)).all()


def test_missing_points_stand_in_for_others():
    config = CloudConfig(points=400, least=100, noise=0, tilt=0, shift=0)
    cloud = draw_cloud(jax.random.key(3), jnp.asarray(VERTICES), jnp.asarray(TRIANGLES), config)
    there = {tuple(point) for point in np.asarray(cloud.points)[np.asarray(cloud.weights) > 0].tolist()}
    assert all(tuple(point) in there for point in np.asarray(cloud.points).tolist())


@pytest.mark.parametrize(
    "settings",
    [{"points": 10}, {"points": -1}, {"border": 1.0}, {"uneven": 0.5}],
    ids=["few", "negative", "all", "even"],
)
def test_clouds_that_cannot_be_drawn_are_refused(settings):
    with pytest.raises(InputError):
        CloudConfig(**settings)


@pytest.mark.parametrize(
    "settings", [{"anchors": -1}, {"widths": ()}, {"depth": 0.0}], ids=["anchors", "widths", "depth"]
)
def test_windows_of_no_size_are_refused(settings):
    with pytest.raises(InputError):
        SurfaceConfig(**settings)


def test_a_rig_s_anchors_are_the_mesh_s_and_move_with_the_codes():
    basis = np.stack([np.ones_like(VERTICES) * (0, 0, 2), VERTICES * (0.1, 0, 0)]).astype(np.float32)
    rig = rig_of(ANCHORS, VERTICES, basis)
    still = anchors_of(rig, jnp.zeros(2))
    np.testing.assert_allclose(still.places, ANCHORS.places, atol=1e-5)
    # Both are normals of a bump of 8 mm, one of the triangles at a vertex and one over 12 mm.
    assert np.min(np.sum(np.asarray(still.frames)[:, 2] * ANCHORS.frames[:, 2], axis=1)) > 0.97
    np.testing.assert_allclose(
        still.frames @ still.frames.swapaxes(1, 2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-5
    )
    moved = anchors_of(rig, jnp.array([1.5, 1.0]))
    expected = np.asarray(ANCHORS.places) * (1.1, 1, 1) + (0, 0, 3)
    np.testing.assert_allclose(moved.places, expected, atol=1e-4)
    # Stretched along x, slopes along x are less steep.
    assert (np.abs(moved.frames[:, 2, 0]) <= np.abs(still.frames[:, 2, 0]) + 1e-5).all()


def test_anchors_that_lie_on_a_face_see_it_at_no_height():
    flat, corners = bumpy_sheet(height=0.0)
    rig = rig_of(anchors_on(flat, corners, 20), flat, np.ones((1, 900, 3), np.float32) * (0, 0, 1))
    points = np.float32(RNG.uniform(-60, 60, (5000, 3)) * (1, 1, 0) + (0, 0, 7))
    relief = see_surface(points, np.ones(5000, np.float32), anchors_of(rig, jnp.array([7.0])), CONFIG).relief
    np.testing.assert_allclose(relief[:, :6], 0, atol=1e-4)
