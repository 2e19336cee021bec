"""Latents of clips, made from those of other clips."""

import jax
import numpy as np

from facedis_jax.models import DynamicLatents


def match_distribution(draws: DynamicLatents, found: DynamicLatents) -> DynamicLatents:
    """Draws from N(0, I) as draws from the normal distributions that the latents of clips have.

    After training, the latents of clips are narrower than the prior, and the networks have seen nothing of what lies
    between; clips of the prior itself then hardly show a face.

    Args:
      draws: of new clips, from the prior, of any length.
      found: of clips, of which each kind's mean and covariance are taken; noise is alike in all frames.
    """

    def adapt(draw: np.ndarray, known: np.ndarray) -> np.ndarray:
        known = np.float64(known).reshape(-1, known.shape[-1])
        variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(known.T, bias=True)))
        root = directions * np.sqrt(np.maximum(variances, 0)) @ directions.T
        return (known.mean(axis=0) + draw @ root).astype(np.float32)

    return jax.tree.map(adapt, draws, found)


def recombine(appearance: DynamicLatents, geometry: DynamicLatents) -> DynamicLatents:
    """The appearance trajectory of one clip with the geometric trajectory of another (Figures 15 and 16)."""
    return DynamicLatents(appearance.appearance, geometry.geometry)


def select_clips(latents: DynamicLatents, rows: np.ndarray) -> DynamicLatents:
    """The latents of some clips of a batch, by their rows."""
    return jax.tree.map(lambda z: z[rows], latents)
