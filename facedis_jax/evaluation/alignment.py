"""Faces moved rigidly onto others, as some evaluations do before they measure."""

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import rigid_registration

_FACES_AT_A_TIME = 256


def aligned(faces: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Each of `faces` [faces, vertices, 3] moved rigidly onto its target, as near as least squares come.

    Args:
      faces: any unit.
      targets: [faces, vertices, 3], in the same unit.
    """
    rows = range(0, len(faces), _FACES_AT_A_TIME)
    parts = [_moved(faces[i : i + _FACES_AT_A_TIME], targets[i : i + _FACES_AT_A_TIME]) for i in rows]
    return np.concatenate([np.asarray(part) for part in parts])


@jax.jit
@jax.vmap
def _moved(source: jax.Array, target: jax.Array) -> jax.Array:
    # Relative to the target's centre, where float32 has more digits for the differences.
    centre = jnp.mean(target, axis=0)
    rotation, translation = rigid_registration(source - centre, target - centre)
    turned = jnp.matmul(source - centre, rotation.T, precision=jax.lax.Precision.HIGHEST)
    return turned + translation + centre
