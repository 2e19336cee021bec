"""Which points a point cloud transformer looks at: farthest-point centres and their nearest neighbours, twice."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.geometry import farthest_point_sample, k_nearest


@dataclass(frozen=True)
class GroupingConfig:
    """Sizes of the two rounds of sampling and grouping; the defaults are PCT's.

    Attributes:
      centres: points kept by the first and by the second round.
      neighbours: points gathered around each centre.
    """

    centres: tuple[int, int] = (512, 256)
    neighbours: int = 32


class Grouping(NamedTuple):
    """Indices of two rounds; the second round's point into the first round's centres.

    Attributes:
      centres: [centres_1] into the points.
      neighbours: [centres_1, neighbours] into the points, nearest first.
      coarse_centres: [centres_2] into `centres`.
      coarse_neighbours: [centres_2, neighbours] into `centres`.
    """

    centres: jax.Array
    neighbours: jax.Array
    coarse_centres: jax.Array
    coarse_neighbours: jax.Array


def group_points(points: jax.Array, config: GroupingConfig, *, start: int | jax.Array = 0) -> Grouping:
    """Groups one point cloud.

    The indices depend on the coordinates alone: for meshes that are not augmented they can be computed once and travel
    with the mesh.

    Args:
      points: [points, 3].
      config: sizes.
      start: index of the first centre. Two orders of the same points give the same groups when it names the same point.

    Returns:
      A `Grouping`.
    """
    fine, coarse = config.centres
    centres = farthest_point_sample(points, fine, start=start)
    sampled = points[centres]
    coarse_centres = farthest_point_sample(sampled, coarse)
    return Grouping(
        centres=centres,
        neighbours=k_nearest(sampled, points, config.neighbours),
        coarse_centres=coarse_centres,
        coarse_neighbours=k_nearest(sampled[coarse_centres], sampled, config.neighbours),
    )


def grouped_linear(
    features: jax.Array, centres: jax.Array, neighbours: jax.Array, kernel: jax.Array
) -> jax.Array:
    """`concat(neighbour - centre, centre) @ kernel` for all neighbours of all centres.

    A linear layer commutes with the gather: `n @ A + c @ (B - A)` with the kernel's halves A and B. So it is applied
    once per point, not once per neighbour.

    Args:
      features: [points, channels].
      centres: [centres] indices.
      neighbours: [centres, neighbours] indices.
      kernel: [2 * channels, outputs].

    Returns:
      [centres, neighbours, outputs], equal to `grouped_linear_plain` up to rounding.
    """
    near, centre = jnp.split(kernel, 2)
    return (features @ near)[neighbours] + (features[centres] @ (centre - near))[:, None]


def grouped_linear_plain(
    features: jax.Array, centres: jax.Array, neighbours: jax.Array, kernel: jax.Array
) -> jax.Array:
    """`grouped_linear` as the PCT paper writes it: the reference for tests."""
    centre = jnp.broadcast_to(features[centres][:, None], (*neighbours.shape, features.shape[-1]))
    return jnp.concatenate([features[neighbours] - centre, centre], axis=-1) @ kernel
