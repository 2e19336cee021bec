"""Points on the surface of a face: how an encoder reads them, and clouds of them to learn from."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.errors import InputError, check_least
from facedis_jax.geometry import sample_surface


@dataclass(frozen=True)
class SurfaceConfig:
    """How a linear model of the training faces is fitted to the points before the networks see it.

    Attributes:
      anchors: places on the fitted face, spread evenly, that the encoder's groups are of; 0 for the points themselves
        and no fit, as the paper.
      components: of identity and of expression that the linear model has at most. What they cannot show, the encoder
        does not see.
      steps: of the fit, see `models.surface_fit.fit_surface`.

    Raises:
      InputError: for fewer than no anchors, no components, or no steps.
    """

    anchors: int = 0
    components: tuple[int, int] = (80, 40)
    steps: int = 20

    def __post_init__(self) -> None:
        check_least(self, anchors=0, steps=1)
        if min(self.components) < 1:
            raise InputError("components", "one or more of each", f"{self.components}")


@dataclass(frozen=True)
class CloudConfig:
    """Clouds of points as scanners give them, drawn anew from a mesh's surface whenever it is learned from.

    Attributes:
      points: that are drawn; 0 to learn from the vertices, as the paper.
      least: of these, how many are left at least; how many are is drawn evenly in its logarithm.
      noise: largest standard deviation of scanning noise, mm; that of a cloud is drawn evenly, as the sizes below.
      hole: largest radius of a hole, mm.
      border: largest part of the points that a cut across the face takes away.
      uneven: largest ratio between how dense the points lie at one end of the face and at the other.
      tilt: standard deviation of a rotation about each axis, degrees, by which the pose is wrong.
      shift: that of a displacement along each axis, mm.

    Raises:
      InputError: for numbers out of their range.
    """

    points: int = 0
    least: int = 700
    noise: float = 0.4
    hole: float = 15.0
    border: float = 0.1
    uneven: float = 3.0
    tilt: float = 0.5
    shift: float = 0.3

    def __post_init__(self) -> None:
        check_least(self, points=0, least=1, noise=0, hole=0, border=0, uneven=1, tilt=0, shift=0)
        if self.points and self.points < self.least:
            raise InputError("least", f"at most the {self.points} points that are drawn", str(self.least))
        if self.border >= 1:
            raise InputError("border", "less than 1", str(self.border))


class Cloud(NamedTuple):
    """Points on a surface.

    Attributes:
      points: [points, 3]; where one is missing stands another one.
      weights: [points], 0 where one is missing and 1 elsewhere.
    """

    points: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray


def draw_cloud(key: jax.Array, vertices: jax.Array, triangles: jax.Array, config: CloudConfig) -> Cloud:
    """A cloud from a mesh's surface.

    Args:
      key: typed PRNG key.
      vertices: [vertices, 3], mm.
      triangles: [triangles, 3].
      config: what the clouds are like, `points` not 0.

    Example:
      >>> square = jnp.array([[0.0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 0]])
      >>> triangles, draw = jnp.array([[0, 1, 2], [0, 2, 3]]), jax.jit(draw_cloud, static_argnums=3)
      >>> cloud = draw(jax.random.key(0), square, triangles, CloudConfig(points=1000))
      >>> cloud.points.shape, bool(cloud.weights.sum() < 1000)
      ((1000, 3), True)
    """
    keys = jax.random.split(key, 5)
    points = sample_surface(keys[0], vertices, triangles, config.points)
    size = jax.random.uniform(keys[1], (5,))
    order = jnp.arange(config.points)
    left = order < config.least * (config.points / config.least) ** size[0]
    left &= jnp.square(points - points[0]).sum(1) > (config.hole * size[1]) ** 2
    # Along two directions: where the points begin, as parts of the way over the face, and how dense they lie.
    directions = jax.random.normal(keys[2], (2, 3))
    along = jnp.matmul(points, directions.T, precision=_PRECISE)
    along = (along - along.min(0)) / jnp.maximum(along.max(0) - along.min(0), jnp.finfo(along.dtype).tiny)
    left &= along[:, 0] >= config.border * size[2]
    ratio = config.uneven ** size[3]
    left &= jax.random.uniform(keys[3], (config.points,)) * ratio < 1 + (ratio - 1) * along[:, 1]
    # Never none: the first points stay, whatever is cut.
    left |= order < _LEFT_ALWAYS
    moves = jax.random.normal(keys[4], (config.points + 2, 3))
    noise = config.noise * size[4] * moves[2:]
    turn, shift = jnp.deg2rad(config.tilt) * moves[0], config.shift * moves[1]
    points = points + noise + jnp.cross(turn, points) + shift
    return Cloud(jnp.where(left[:, None], points, points[order % _LEFT_ALWAYS]), left.astype(points.dtype))


_PRECISE = jax.lax.Precision.HIGHEST
# Of the points that are drawn, which are in random order.
_LEFT_ALWAYS = 32
