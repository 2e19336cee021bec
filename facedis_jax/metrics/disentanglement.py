"""How much of the expression leaks into the predicted neutral faces."""

from typing import Literal, get_args

import numpy as np

Variant = Literal["pooled", "per_vertex"]


def disentanglement_error(neutrals: np.ndarray, subjects: np.ndarray, *, variant: Variant = "pooled") -> np.ndarray:
    """How much each subject's predicted neutral faces vary, Eq. 14 of the information-bottlenecked VAE.

    - "pooled": the standard deviation, over all frames and vertices of the subject at once, of the distances
      to the subject's mean predicted neutral (this paper, and Zhang et al.).
    - "per_vertex": at each vertex the root of the summed variances of its coordinates, then the mean over the
      vertices (Jiang et al.).

    Both are 0 for a subject with one frame. Tables give the mean and the median over the subjects. Its twin of Jiang et
    al. is the same of faces that one identity is given the expressions of many people in: there `subjects` names the
    expressions, and each varies by what its performers leave in it.

    Args:
      neutrals: predicted neutral faces, [frames, vertices, 3].
      subjects: [frames] integers that name each frame's subject.
      variant: one of the above.

    Returns:
      One float64 per distinct subject in ascending order of its number, in the unit of `neutrals`.

    Raises:
      ValueError: for an unknown variant, or where the shapes do not fit.

    References:
      Jiang et al., "Disentangled Representation Learning for 3D Face Shape", 2019.
      Zhang et al., "Learning Distribution Independent Latent Representation for 3D Face Disentanglement",
      2020.

    Example:
      >>> rest, moved = np.zeros([2, 3]), np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
      >>> neutrals = np.stack([rest, rest, rest, moved])
      >>> disentanglement_error(neutrals, np.array([7, 7, 8, 8])).tolist()
      [0.0, 1.25]
      >>> disentanglement_error(neutrals, np.array([7, 7, 8, 8]), variant="per_vertex").tolist()
      [0.0, 1.25]
    """
    neutrals, subjects = np.asarray(neutrals), np.asarray(subjects)
    if neutrals.ndim != 3 or neutrals.shape[2] != 3 or subjects.shape != neutrals.shape[:1]:
        raise ValueError(
            f"neutrals must be [frames, vertices, 3] and subjects [frames], got {neutrals.shape} and {subjects.shape}"
        )
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {get_args(Variant)}, got {variant!r}")
    errors = []
    for subject in np.unique(subjects):
        faces = neutrals[subjects == subject].astype(np.float64)
        squared = np.square(faces - faces.mean(axis=0)).sum(axis=2)
        if variant == "pooled":
            errors.append(np.sqrt(squared).std())
        else:
            errors.append(np.sqrt(squared.mean(axis=0)).mean())
    return np.array(errors)
