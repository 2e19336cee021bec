"""What is measured of a dynamic generator: reconstruction, and whether recombined clips take after their donors.

Levels of an expression are read off pixels by a regression that never saw a generator's output, and what tells one
clip's appearance from another's are its mean colours in a few large cells, which small bends hardly change. Both are
tried on real clips too: no output can be expected to be read better than those.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

CELLS = 4  # in either direction, of the mean colours
_RIDGE = 1.0  # for differences of pixels in [0, 1]


def unit_pixels(clips: np.ndarray) -> np.ndarray:
    """Clips, uint8 or in [0, 1], as float32 in [0, 1]."""
    return clips / np.float32(255) if clips.dtype == np.uint8 else np.asarray(clips, np.float32)


def frame_errors(clips: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared error of every frame [clips, frames], summed over pixels and channels, for pixels in [0, 1]."""
    difference = unit_pixels(clips) - unit_pixels(predictions)
    return np.square(difference, dtype=np.float64).sum(axis=(2, 3, 4))


@dataclass(frozen=True)
class LevelReader:
    """Reads how strongly an expression shows in the frames of a clip, whoever shows it.

    Attributes:
      readers: of each expression, by its number: a linear regression on what differs from the clip's first frame.
    """

    readers: Mapping[int, Ridge]

    def __call__(self, clips: np.ndarray, expressions: np.ndarray) -> np.ndarray:
        """Levels [clips, frames] of the expression that each clip is said to show."""
        return np.stack(
            [
                self.readers[int(expression)].predict(_differences(clip[None])[0])
                for clip, expression in zip(clips, expressions, strict=True)
            ]
        )


def fit_level_reader(clips: np.ndarray, levels: np.ndarray, expressions: np.ndarray) -> LevelReader:
    """Fits the reader to real clips.

    Args:
      clips: [clips, frames, size, size, channels].
      levels: [clips, frames], the truth; clips that stay at 0 are rest, which is no level of any expression.
      expressions: [clips], their numbers.
    """
    resting = ~np.any(levels > 0, axis=1)
    readers = {}
    for expression in np.unique(expressions[~resting]):
        rows = np.flatnonzero((expressions == expression) | resting)
        differences = _differences(clips[rows])
        readers[int(expression)] = Ridge(alpha=_RIDGE).fit(
            differences.reshape(-1, differences.shape[-1]), levels[rows].ravel()
        )
    return LevelReader(readers)


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson's r of each pair of rows [rows]; 0 where one of them does not change."""
    one, other = (x - x.mean(axis=1, keepdims=True, dtype=np.float64) for x in (one, other))
    scale = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
    return np.divide((one * other).sum(axis=1), scale, out=np.zeros(len(one)), where=scale > 0)


def mean_colours(clips: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Of each clip, the mean colours of its parts over time: [clips, cells * cells * channels]."""
    mean = unit_pixels(clips).mean(axis=1)
    count, size, _, channels = mean.shape
    side = size // cells
    return mean.reshape(count, cells, side, cells, side, channels).mean(axis=(2, 4)).reshape(count, -1)


def nearest(points: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Which candidate [candidates, dims] each point [points, dims] is nearest to."""
    # |x - y|^2 without |x|^2, which is the same for all candidates.
    return np.argmin(np.square(candidates).sum(axis=1) - 2 * points @ candidates.T, axis=1)


@dataclass(frozen=True)
class Pairs:
    """Clips to be recombined: the appearance of one with the geometry of another, by their places."""

    appearance: np.ndarray
    geometry: np.ndarray


def draw_pairs(subjects: np.ndarray, expressions: np.ndarray | None, *, count: int, seed: int = 0) -> Pairs:
    """Pairs of clips of different people who show different expressions, or whatever they show if that is but one.

    Args:
      subjects: [clips].
      expressions: [clips], or None where they are not known.
      count: of pairs, drawn without repetition; fewer where there are no more.
      seed: of the draw.
    """
    apart = subjects[:, None] != subjects
    if expressions is not None and len(np.unique(expressions)) > 1:
        apart &= expressions[:, None] != expressions
    first, second = np.nonzero(apart)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(first))[:count])
    return Pairs(first[chosen], second[chosen])


def donor_scores(outputs: np.ndarray, pairs: Pairs, clips: np.ndarray, subjects: np.ndarray) -> dict[str, float]:
    """Whose colours recombined clips have.

    Args:
      outputs: [pairs, frames, size, size, channels], recombined.
      pairs: what they are made of.
      clips: [clips, frames, size, size, channels], the real ones.
      subjects: [clips], who is on them.

    Returns:
      Shares of the outputs: "clip", of which the nearest of all clips is the appearance's donor; "person", of which it
      shows the same person as that; "geometry_person", of which it shows the geometry's donor; "chance_clip" and
      "chance_person", what a guess would reach; and the ceilings "halves_clip" and "halves_person", "clip" and "person"
      of the real clips' second halves among their first halves.
    """
    half = clips.shape[1] // 2
    found = nearest(mean_colours(outputs), mean_colours(clips))
    halves = nearest(mean_colours(clips[:, half:]), mean_colours(clips[:, :half]))
    _, frequencies = np.unique(subjects, return_counts=True)
    return {
        "clip": float(np.mean(found == pairs.appearance)),
        "person": float(np.mean(subjects[found] == subjects[pairs.appearance])),
        "geometry_person": float(np.mean(subjects[found] == subjects[pairs.geometry])),
        "chance_clip": 1 / len(clips),
        "chance_person": float(np.mean(frequencies / len(clips))),
        "halves_clip": float(np.mean(halves == np.arange(len(clips)))),
        "halves_person": float(np.mean(subjects[halves] == subjects)),
    }


def level_scores(
    reader: LevelReader,
    outputs: np.ndarray,
    pairs: Pairs,
    clips: np.ndarray,
    reconstructions: np.ndarray,
    levels: np.ndarray,
    expressions: np.ndarray,
) -> dict[str, Any]:
    """How well the levels read off clips follow the truth, r over the frames of each clip that has levels.

    Args:
      reader: fitted to other people's real clips.
      outputs, pairs, clips: as of `donor_scores`.
      reconstructions: of the clips.
      levels: [clips, frames], the truth.
      expressions: [clips].

    Returns:
      Mean, median and number of clips of "recombined", against the geometry's donor; of "reconstructed"; of "real", the
      reader's own ceiling; and of "donors", the true levels of both donors of each pair, the floor: performances are
      alike in that they go up and down. "closer" is the share of the pairs of two performances in which the level read
      off the recombined clip follows the geometry donor's more closely than the appearance donor's. Where no two
      clips of a pair both have levels, the last two are left out.
    """
    moving = np.any(levels > 0, axis=1)

    def read(shown: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        use = np.flatnonzero(moving[rows])
        rows = rows[use]
        return _correlation_summary(reader(shown[use], expressions[rows]), levels[rows])

    every = np.arange(len(clips))
    scores: dict[str, Any] = {
        "recombined": read(outputs, pairs.geometry),
        "reconstructed": read(reconstructions, every),
        "real": read(clips, every),
    }
    both = moving[pairs.appearance] & moving[pairs.geometry]
    if both.any():
        wrong, right = levels[pairs.appearance[both]], levels[pairs.geometry[both]]
        shown = reader(outputs[both], expressions[pairs.geometry[both]])
        scores["donors"] = _correlation_summary(wrong, right)
        scores["closer"] = float(np.mean(correlations(shown, right) > correlations(shown, wrong)))
    return scores


def _correlation_summary(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    found = correlations(one, other)
    return {"mean": float(found.mean()), "median": float(np.median(found)), "clips": len(found)}


def _differences(clips: np.ndarray) -> np.ndarray:
    """What differs from each clip's first frame [clips, frames, pixels]."""
    clips = unit_pixels(clips)
    return (clips - clips[:, :1]).reshape(*clips.shape[:2], -1)
