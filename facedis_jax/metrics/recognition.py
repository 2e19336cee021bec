"""Recognition of people by the nearest of known examples."""

import jax
import jax.numpy as jnp

from facedis_jax.metrics.distances import average_vertex_distance


@jax.jit
def nearest(probes: jax.Array, gallery: jax.Array) -> jax.Array:
    """Which example of a gallery is nearest to each probe, by `average_vertex_distance`; of equals, the first.

    Codes are given as faces of one point. One probe is compared at a time, so that memory is that of the gallery.

    Args:
      probes: [probes, points, dims].
      gallery: [examples, points, dims], of the same unit.

    Returns:
      [probes] int32, indices into the gallery.

    Example:
      >>> print(nearest(jnp.array([[[0.9, 0.0]], [[0.2, 0.0]]]), jnp.array([[[0.0, 0.0]], [[1.0, 0.0]]])))
      [1 0]
    """

    def nearest_to(probe: jax.Array) -> jax.Array:
        return jnp.argmin(average_vertex_distance(gallery, probe)).astype(jnp.int32)

    return jax.lax.map(nearest_to, probes)
