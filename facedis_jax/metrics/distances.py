"""Distances between faces in correspondence, and how papers sum them up."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

Pooling = Literal["mesh", "vertex"]


def vertex_distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Euclidean distance of each vertex to its counterpart, a summand of Eq. 13 of the information-bottlenecked VAE.

    Args:
      prediction, target: [..., vertices, 3], of one unit.

    Returns:
      [..., vertices] in that unit.

    Example:
      >>> vertex_distance(jnp.zeros([2, 3]), jnp.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
      Array([5., 1.], dtype=float32)
    """
    return jnp.linalg.norm(prediction - target, axis=-1)


def average_vertex_distance(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Mean of `vertex_distance`, Eq. 13 of the information-bottlenecked VAE.

    Args:
      prediction, target: [..., vertices, 3], of one unit.

    Returns:
      [...] in that unit.

    Example:
      >>> average_vertex_distance(jnp.zeros([2, 3]), jnp.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
      Array(3., dtype=float32)
    """
    return jnp.mean(vertex_distance(prediction, target), axis=-1)


class DistanceStatistics(NamedTuple):
    """Mean, standard deviation (of the population) and median, in the unit of the distances.

    Example:
      >>> statistics = DistanceStatistics(mean=1.5, std=0.5, median=1.4)
      >>> f"{statistics.mean} +- {statistics.std}"
      '1.5 +- 0.5'
    """

    mean: float
    std: float
    median: float


def distance_statistics(distances: np.ndarray, *, pooling: Pooling = "mesh") -> DistanceStatistics:
    """Mean, deviation and median of a test set's distances, in one of the two ways that tables use.

    The means agree; the standard deviations and medians of the two do not compare.

    Args:
      distances: [meshes, vertices], from `vertex_distance`.
      pooling: "mesh" takes statistics over the meshes' mean distances (the information-bottlenecked VAE); "vertex" over
        all vertices of all meshes (CoMA, SpiralNet++).

    Raises:
      ValueError: for an unknown pooling, or for distances of another rank or none at all.

    Example:
      >>> distances = np.array([[1.0, 1.0], [1.0, 5.0]])
      >>> distance_statistics(distances)
      DistanceStatistics(mean=2.0, std=1.0, median=2.0)
      >>> distance_statistics(distances, pooling="vertex").median
      1.0
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or not distances.size:
        raise ValueError(f"distances must be [meshes, vertices] and not empty, got shape {distances.shape}")
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling must be one of {get_args(Pooling)}, got {pooling!r}")
    values = distances.mean(axis=1, dtype=np.float64) if pooling == "mesh" else distances
    return DistanceStatistics(
        mean=float(values.mean(dtype=np.float64)),
        std=float(values.std(dtype=np.float64)),
        median=float(np.median(values)),
    )
