"""Rank-1 recognition of people by what a model says of who they are."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.true_faces import CodedFaces, TrueFaces
from facedis_jax.metrics import nearest

_FACES_AT_A_TIME = 64
_MOST_COMPARISONS = 50_000
_FEWEST_PROBES = 512


def rank_1(model: CodedFaces, true: TrueFaces) -> dict[str, Any] | None:
    """The share of test faces whose nearest in a gallery, one face of each test person, is of the same person.

    In the gallery are the faces of the lowest levels; all others are probes (of very many, some, evenly spaced).
    Identity codes are compared by their Euclidean distance, in which a latent weighs as much as the prior gives it:
    scaled to equal deviations, latents that have collapsed would weigh as much as the others. Predicted neutrals are
    compared by their mean vertex distance.

    Returns:
      "identity_codes" and "neutrals", shares from 0 to 1, with "people", "probes" and "chance"; None for a single
      person, or no probes.
    """
    order = np.argsort(true.level, kind="stable")
    subjects, first = np.unique(true.subject[order], return_index=True)
    gallery = order[first]
    probes = np.setdiff1d(np.arange(len(true.subject)), gallery)
    if len(gallery) < 2 or not len(probes):
        return None
    probes = probes[evenly_spaced(len(probes), max(_FEWEST_PROBES, _MOST_COMPARISONS // len(gallery)))]
    known = {"identity_codes": model.identity[gallery, None], "neutrals": model.decode(gallery, gallery)[1]}
    hits: dict[str, list[np.ndarray]] = {name: [] for name in known}
    for rows in np.array_split(probes, -(-len(probes) // _FACES_AT_A_TIME)):
        found = {"identity_codes": model.identity[rows, None], "neutrals": model.decode(rows, rows)[1]}
        for name, examples in found.items():
            places = np.asarray(nearest(jnp.asarray(examples), jnp.asarray(known[name])))
            hits[name].append(subjects[places] == true.subject[rows])
    shares = {name: float(np.concatenate(each).mean()) for name, each in hits.items()}
    return {**shares, "people": len(gallery), "probes": len(probes), "chance": 1 / len(gallery)}
