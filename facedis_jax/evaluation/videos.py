"""Measures of a dynamic generator: reconstruction errors, and whether recombined clips resemble their donors.

The level of an expression is read from pixels by a regression that is fitted to real clips only. Clips are told apart
by their mean colours in a few large cells, which small deformations hardly change. Both measures are also taken of
real clips, as the most that a generator's clips can be expected to reach.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.evaluation.images import parts_of, to_unit_range
from facedis_jax.inference.codecs import Decoded
from facedis_jax.progress import track

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline

CELLS = 4  # of mean colours, in either direction
_COMPONENTS = 40  # of frames, from which a classifier reads who is on them
_RIDGE = 1.0  # for differences of pixels in [0, 1]
# As many as a codec decodes at once.
_CLIPS_AT_A_TIME = 10


def frame_errors(clips: Pixels, predictions: np.ndarray | Decoded) -> np.ndarray:
    """Squared error of every frame, [clips, frames], summed over pixels and channels, for pixels in [0, 1].

    Args:
      clips, predictions: [clips, frames, size, size, channels], uint8 or in [0, 1].
    """

    def of_some(rows: slice) -> np.ndarray:
        difference = to_unit_range(clips[rows]) - to_unit_range(predictions[rows])
        return np.square(difference, dtype=np.float64).sum(axis=(2, 3, 4))

    parts = track(parts_of(len(clips), _CLIPS_AT_A_TIME), "measuring reconstructions")
    return np.concatenate([of_some(rows) for rows in parts])


@dataclass(frozen=True)
class LevelReader:
    """Regressions from the pixels of a clip to the level of its expression in every frame.

    Attributes:
      readers: by the number of the expression, a regression from the differences to the clip's first frame.
    """

    readers: Mapping[int, "Ridge"]

    def __call__(self, clips: Pixels | Decoded, expressions: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Levels [rows, frames] of the expression [rows] that each clip is said to show.

        Args:
          clips: [clips, frames, size, size, channels].
          expressions: [rows].
          rows: which of the clips; all if None.
        """
        rows = np.arange(len(clips)) if rows is None else rows
        return np.stack(
            [
                self.readers[int(expression)].predict(_differences(clip[None])[0])
                for part in parts_of(len(rows), _CLIPS_AT_A_TIME)
                for clip, expression in zip(clips[rows[part]], expressions[part], strict=True)
            ]
        )


def fit_level_reader(clips: np.ndarray, levels: np.ndarray, expressions: np.ndarray) -> LevelReader:
    """A `LevelReader` fitted to real clips.

    Args:
      clips: [clips, frames, size, size, channels].
      levels: [clips, frames], the truth from 0 to 1; clips that stay at 0 are examples of level 0 for all expressions.
      expressions: [clips], their numbers.
    """
    from sklearn.linear_model import Ridge

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
    """Pearson's r [rows] of each row of one array with that of the other, [rows, n]; 0 where either is constant.

    Example:
      >>> correlations(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), np.array([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]))
      array([1., 0.])
    """
    one, other = (x - x.mean(axis=1, keepdims=True, dtype=np.float64) for x in (one, other))
    scale = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
    return np.divide((one * other).sum(axis=1), scale, out=np.zeros(len(one)), where=scale > 0)


def mean_colours(clips: Pixels | Decoded, cells: int = CELLS, *, frames: slice = slice(None)) -> np.ndarray:
    """Mean colours of each clip over these frames in cells x cells parts, [clips, cells * cells * channels]."""
    parts = parts_of(len(clips), _CLIPS_AT_A_TIME)
    mean = np.concatenate([to_unit_range(clips[rows][:, frames]).mean(axis=1) for rows in parts])
    count, size, _, channels = mean.shape
    side = size // cells
    return mean.reshape(count, cells, side, cells, side, channels).mean(axis=(2, 4)).reshape(count, -1)


def nearest(points: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Index [points] of the candidate [candidates, dims] that is nearest to each point [points, dims]."""
    # |x - y|^2 without |x|^2, which is the same for all candidates.
    return np.argmin(np.square(candidates).sum(axis=1) - 2 * points @ candidates.T, axis=1)


@dataclass(frozen=True)
class Pairs:
    """Pairs of clips to be recombined, by their indices.

    Attributes:
      appearance: [pairs], whose appearance is used.
      geometry: [pairs], whose geometry is used.
    """

    appearance: np.ndarray
    geometry: np.ndarray


def draw_pairs(subjects: np.ndarray, expressions: np.ndarray | None, *, count: int, seed: int = 0) -> Pairs:
    """Random pairs of clips of different people, with different expressions where there are several.

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


def donor_scores(outputs: np.ndarray | Decoded, pairs: Pairs, clips: Pixels, subjects: np.ndarray) -> dict[str, float]:
    """Shares of recombined clips whose colours are nearest to those of their donors.

    Args:
      outputs: [pairs, frames, size, size, channels], recombined.
      pairs: what they are made of.
      clips: [clips, frames, size, size, channels], the real ones.
      subjects: [clips], who is on them.

    Returns:
      Shares of the outputs by the clip of nearest colours: "clip", it is the appearance donor; "person", it
      is of the same person as the appearance donor; "geometry_person", it is of the same person as the geometry donor.
      "chance_clip" and "chance_person" are what a guess would reach; "halves_clip" and "halves_person" are "clip" and
      "person" of the second halves of real clips among their first halves, which a generator can hardly exceed.
    """
    half = clips[:1].shape[1] // 2
    found = nearest(mean_colours(outputs), mean_colours(clips))
    first, second = slice(half), slice(half, None)
    halves = nearest(mean_colours(clips, frames=second), mean_colours(clips, frames=first))
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


def person_scores(
    outputs: np.ndarray | Decoded, pairs: Pairs, clips: Pixels, subjects: np.ndarray, *, seed: int = 0
) -> dict[str, float] | None:
    """Shares of recombined clips that a classifier of people, fitted to real frames alone, takes for their donors.

    The classifier is a logistic regression on principal components of frames; a clip is of the person of the largest
    mean probability over its frames.

    Args:
      outputs, pairs, clips, subjects: as of `donor_scores`.
      seed: of the components and of the split.

    Returns:
      "appearance" and "geometry", by the person of which donor; "real", the accuracy on real clips of which it has seen
      none of the frames; "chance". None for fewer than two clips of each person, on average, or one person.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    known = np.unique(subjects)
    if len(known) < 2 or len(subjects) < 2 * len(known):
        return None

    def frames(shown: Pixels | Decoded | np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = [to_unit_range(shown[rows[part]]) for part in parts_of(len(rows), _CLIPS_AT_A_TIME)]
        return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts])

    def fitted(rows: np.ndarray) -> "Pipeline":
        pixels = frames(clips, rows)
        count = min(_COMPONENTS, pixels.shape[0] * pixels.shape[1] - 1, pixels.shape[-1])
        model = make_pipeline(PCA(count, whiten=True, random_state=seed), LogisticRegression(max_iter=1000))
        return model.fit(pixels.reshape(-1, pixels.shape[-1]), np.repeat(subjects[rows], pixels.shape[1]))

    def person(model: "Pipeline", shown: Pixels | Decoded | np.ndarray, rows: np.ndarray) -> np.ndarray:
        pixels = frames(shown, rows)
        of_frames = model.predict_proba(pixels.reshape(-1, pixels.shape[-1])).reshape(*pixels.shape[:2], -1)
        return model.classes_[of_frames.mean(axis=1).argmax(axis=1)]

    every = np.arange(len(subjects))
    found = person(fitted(every), outputs, np.arange(len(outputs)))
    # One clip in three of each person, as far as there are so many.
    order = np.random.default_rng(seed).permutation(len(subjects))
    number = np.empty(len(subjects), int)
    for one in known:
        own = order[subjects[order] == one]
        number[own] = np.arange(len(own))
    held_out = every[number % 3 == 1]
    rest = np.setdiff1d(every, held_out)
    real = float("nan")
    if len(held_out) and len(np.unique(subjects[rest])) > 1:
        real = float(np.mean(person(fitted(rest), clips, held_out) == subjects[held_out]))
    return {
        "appearance": float(np.mean(found == subjects[pairs.appearance])),
        "geometry": float(np.mean(found == subjects[pairs.geometry])),
        "real": real,
        "chance": 1 / len(known),
    }


def level_scores(
    reader: LevelReader,
    outputs: np.ndarray | Decoded,
    pairs: Pairs,
    clips: Pixels,
    reconstructions: np.ndarray | Decoded,
    levels: np.ndarray,
    expressions: np.ndarray,
) -> dict[str, Any]:
    """Correlations of the levels that are read from clips with the true levels, over the frames of each clip.

    Args:
      reader: fitted to other people's real clips.
      outputs, pairs, clips: as of `donor_scores`.
      reconstructions: of the clips.
      levels: [clips, frames], the truth.
      expressions: [clips].

    Returns:
      "mean" and "median" of r, and the number of "clips", for each of: "recombined", recombined clips against the
      geometry donor's levels; "reconstructed"; "real", the real clips, which a generator can hardly exceed; and
      "donors", the true levels of both donors of a pair, which is what performances have in common. "closer" is the
      share of pairs whose recombined clip follows the geometry donor's levels more closely than the appearance donor's.
      "donors" and "closer" are of the pairs in which both clips show an expression, and missing if there are none.
    """
    moving = np.any(levels > 0, axis=1)

    def read(shown: Pixels | Decoded, rows: np.ndarray) -> dict[str, float]:
        use = np.flatnonzero(moving[rows])
        rows = rows[use]
        return _correlation_summary(reader(shown, expressions[rows], use), levels[rows])

    every = np.arange(len(clips))
    scores: dict[str, Any] = {
        "recombined": read(outputs, pairs.geometry),
        "reconstructed": read(reconstructions, every),
        "real": read(clips, every),
    }
    both = moving[pairs.appearance] & moving[pairs.geometry]
    if both.any():
        wrong, right = levels[pairs.appearance[both]], levels[pairs.geometry[both]]
        shown = reader(outputs, expressions[pairs.geometry[both]], np.flatnonzero(both))
        scores["donors"] = _correlation_summary(wrong, right)
        scores["closer"] = float(np.mean(correlations(shown, right) > correlations(shown, wrong)))
    return scores


def _correlation_summary(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    found = correlations(one, other)
    return {"mean": float(found.mean()), "median": float(np.median(found)), "clips": len(found)}


def _differences(clips: np.ndarray) -> np.ndarray:
    """What differs from each clip's first frame [clips, frames, pixels]."""
    clips = to_unit_range(clips)
    return (clips - clips[:, :1]).reshape(*clips.shape[:2], -1)
