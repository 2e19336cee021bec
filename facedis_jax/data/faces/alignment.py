"""The two-step rigid registration of BU-3DFE (section 4): neutrals to their mean, expressions to their neutral."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.geometry import rigid_registration

# Each round of generalised Procrustes makes the remaining motion several times smaller.
_MEAN_ROUNDS = 10
# The steady vertices depend on the alignment, and the alignment on the steady vertices.
_STEADY_ROUNDS = 3
_FEWEST_STEADY = 13


def align(source: np.ndarray, target: np.ndarray, landmarks: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Faces after each is moved rigidly onto a target in the same unit.

    Args:
      source: [faces, vertices, 3].
      target: [vertices, 3].
      landmarks: [landmarks] indices of the vertices that are fitted; all if None.

    Returns:
      [faces, vertices, 3] float32.
    """
    landmarks = np.arange(source.shape[1]) if landmarks is None else np.asarray(landmarks)
    # Centred on the target: float32 keeps its digits for the differences that matter.
    centre = target.mean(axis=0, dtype=np.float64)
    centred = source - centre
    rotation, translation = _register(
        jnp.asarray(centred[:, landmarks], jnp.float32),
        jnp.asarray((target - centre)[landmarks], jnp.float32),
    )
    turned = np.einsum("fvj,fij->fvi", centred, np.asarray(rotation, np.float64))
    return (turned + np.asarray(translation, np.float64)[:, None] + centre).astype(np.float32)


_register = jax.jit(jax.vmap(rigid_registration, in_axes=(0, None)))


def align_to_mean(neutrals: np.ndarray, landmarks: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Neutrals after each is registered rigidly to their mean (generalised Procrustes without scale).

    All take the pose of the first, which is the first estimate of the mean.

    Args:
      neutrals: [subjects, vertices, 3].
      landmarks: [landmarks] indices of the vertices that are fitted; all if None.

    Returns:
      [subjects, vertices, 3] float32, in the same unit.
    """
    aligned = align(neutrals, neutrals[0], landmarks)
    for _ in range(_MEAN_ROUNDS):
        aligned = align(aligned, aligned.mean(axis=0, dtype=np.float64), landmarks)
    return aligned


def steady_vertices(faces: np.ndarray, neutrals: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """The quarter of the vertices, 13 at least, that expressions move least: landmarks where none are given.

    Alternates between registering each face to its neutral by the vertices found so far, all at first, and finding the
    vertices that then lie nearest to the neutral on the mean over the faces.

    Args:
      faces: [faces, vertices, 3].
      neutrals: [subjects, vertices, 3], same unit.
      subject: [faces] integers that index the neutrals.

    Returns:
      [steady] int64, ascending.
    """
    num_vertices = faces.shape[1]
    count = min(max(num_vertices // 4, _FEWEST_STEADY), num_vertices)
    steady = np.arange(num_vertices)
    for _ in range(_STEADY_ROUNDS):
        moved = np.zeros(num_vertices)
        for i, neutral in enumerate(neutrals):
            residual = align(faces[subject == i], neutral, steady) - neutral
            moved += np.linalg.norm(residual, axis=-1).sum(axis=0)
        steady = np.sort(np.argsort(moved, kind="stable")[:count])
    return steady
