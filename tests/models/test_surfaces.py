"""Clouds of points that are drawn from meshes, and how surfaces are read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.models.surfaces import CloudConfig, SurfaceConfig, draw_cloud


def bumpy_sheet(height=8.0):
    """A sheet of 120 mm with a bump: vertices [900, 3] and triangles."""
    x, y = np.meshgrid(np.linspace(-60, 60, 30), np.linspace(-60, 60, 30), indexing="ij")
    z = height * np.exp(-(x**2 + y**2) / 800)
    cell = np.arange(900).reshape(30, 30)
    corners = np.stack([cell[:-1, :-1], cell[1:, :-1], cell[1:, 1:], cell[:-1, 1:]], -1).reshape(-1, 4)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    return vertices, np.concatenate([corners[:, :3], corners[:, [0, 2, 3]]])


VERTICES, TRIANGLES = bumpy_sheet()


draw = partial(jax.jit, static_argnums=3)(draw_cloud)


def test_clouds_without_faults_lie_on_the_surface():
    plain = CloudConfig(points=800, least=800, noise=0, hole=0, border=0, uneven=1, tilt=0, shift=0)
    flat, corners = bumpy_sheet(height=0.0)
    cloud = draw(jax.random.key(0), jnp.asarray(flat), jnp.asarray(corners), plain)
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
    clouds = jax.vmap(lambda key: draw(key, jnp.asarray(VERTICES), jnp.asarray(TRIANGLES), config))(keys)
    counts = np.asarray(clouds.weights.sum(1))
    assert 32 <= counts.min() < counts.mean() < left
    assert np.isfinite(np.asarray(clouds.points)).all()


def test_missing_points_stand_in_for_others():
    config = CloudConfig(points=400, least=100, noise=0, tilt=0, shift=0)
    cloud = draw(jax.random.key(3), jnp.asarray(VERTICES), jnp.asarray(TRIANGLES), config)
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
    "settings", [{"anchors": -1}, {"components": (0, 4)}, {"steps": 0}], ids=["anchors", "components", "steps"]
)
def test_surfaces_that_cannot_be_read_are_refused(settings):
    with pytest.raises(InputError):
        SurfaceConfig(**settings)
