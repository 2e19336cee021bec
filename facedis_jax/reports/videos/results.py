"""What was found out about a dynamic generator, and which of its clips are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facedis_jax.data.splits import evenly_spaced
from facedis_jax.inference.videos import VideoCodec
from facedis_jax.models import DynamicLatents


@dataclass(frozen=True)
class VideoResults:
    """What was found out about a dynamic generator.

    Attributes:
      numbers: as in results.json.
      codec: of the generator.
      clips: [clips, frames, size, size, channels] uint8, unseen ones.
      latents, predictions: of those.
      frame_predictions: what the generator of single frames makes of them, or None.
      rows: of metrics.jsonl, by model.
      labels: of the clips, "subject" at least.
      expressions: their names, which the label "expression" indexes.
    """

    numbers: Mapping[str, Any]
    codec: VideoCodec
    clips: np.ndarray
    latents: DynamicLatents
    predictions: np.ndarray
    frame_predictions: np.ndarray | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: Mapping[str, np.ndarray]
    expressions: Sequence[str]

    @property
    def moving(self) -> np.ndarray:
        """Which clips show an expression [clips]; all of them where levels are not known."""
        if "level" not in self.labels:
            return np.ones(len(self.clips), bool)
        return np.any(self.labels["level"] > 0, axis=1)

    def clip_name(self, row: int) -> str:
        """What a clip is called on the page."""
        if "expression" not in self.labels:
            return f"clip {row}"
        return str(self.expressions[self.labels["expression"][row]])


def clips_of_many(results: VideoResults, count: int) -> np.ndarray:
    """Places of clips of several people and expressions, as many as asked for or as there are."""
    people = np.unique(results.labels["subject"])
    chosen: list[int] = []
    for i in range(min(count, len(people))):
        own = np.flatnonzero((results.labels["subject"] == people[i]) & results.moving)
        chosen.extend(own[i % len(own) :][:1] if len(own) else ())
    rest = np.setdiff1d(evenly_spaced(len(results.clips), count), chosen)
    return np.array([*chosen, *rest][:count])


def one_of_each(results: VideoResults, count: int) -> np.ndarray:
    """One person's clips, one of each expression; of other people for what this one does not show.

    Where expressions are not known, `count` clips.
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
