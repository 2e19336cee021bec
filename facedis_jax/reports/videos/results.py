"""Results of a dynamic generator, and the choice of its clips that are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.inference.codecs import Decoded, VideoCodec
from facedis_jax.models import DynamicLatents


@dataclass(frozen=True)
class VideoResults:
    """Results of a dynamic generator, and of the generator of single frames where it was trained.

    Attributes:
      numbers: as in results.json.
      codec: of the dynamic generator.
      clips: [clips, frames, size, size, channels] uint8, unseen ones.
      latents, predictions: the latents and the reconstructions of those clips.
      frame_predictions: reconstructions by the generator of single frames, or None.
      rows: of metrics.jsonl, by model.
      labels: of the clips, "subject" at least.
      expressions: their names, by the label "expression".
    """

    numbers: Mapping[str, Any]
    codec: VideoCodec
    clips: Pixels
    latents: DynamicLatents
    predictions: np.ndarray | Decoded
    frame_predictions: np.ndarray | Decoded | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]
    expressions: Sequence[str]

    @property
    def frames(self) -> int:
        """How many each clip has."""
        return self.clips[:1].shape[1]

    @property
    def moving(self) -> np.ndarray:
        """[clips], whether a clip shows an expression; True for all where levels are not known."""
        if "level" not in self.labels:
            return np.ones(len(self.clips), bool)
        return np.any(self.labels["level"] > 0, axis=1)

    def clip_name(self, row: int) -> str:
        """The name of a clip on the page: its expression, or its number where expressions are not known."""
        if "expression" not in self.labels:
            return f"clip {row}"
        return str(self.expressions[self.labels["expression"][row]])


def varied_clips(results: VideoResults, count: int) -> np.ndarray:
    """Indices of at most `count` clips, of as many people and expressions as there are."""
    people = np.unique(results.labels["subject"])
    chosen: list[int] = []
    for i in range(min(count, len(people))):
        own = np.flatnonzero((results.labels["subject"] == people[i]) & results.moving)
        chosen.extend(own[i % len(own) :][:1] if len(own) else ())
    rest = np.setdiff1d(evenly_spaced(len(results.clips), count), chosen)
    return np.array([*chosen, *rest][:count])


def clip_of_each_expression(results: VideoResults, count: int) -> np.ndarray:
    """Indices of one clip of each expression, of one person as far as that person shows them.

    Where expressions are not known, `count` clips, evenly spaced.
    """
    if "expression" not in results.labels:
        return evenly_spaced(len(results.clips), count)
    expressions, subjects = results.labels["expression"], results.labels["subject"]
    people, counts = np.unique(subjects, return_counts=True)
    person = people[np.argmax(counts)]
    return np.array(
        [
            rows[np.argmax(subjects[rows] == person)]
            for rows in (np.flatnonzero(expressions == e) for e in np.unique(expressions))
        ]
    )
