"""Levels of expressions in sequences of faces, and the neutral face of each subject."""

from collections.abc import Sequence

import numpy as np

from facedis_jax.errors import InputError

NEUTRAL_LEVEL = 0.01
"""Frames at or below this level make up their subject's neutral face."""


def sequence_levels(
    vertices: np.ndarray, sequence: np.ndarray | None = None, neutral: np.ndarray | None = None
) -> np.ndarray:
    """The expression level of each frame, 0 to 1.

    It is the frame's mean vertex distance to the first frame of its sequence, divided by the largest such distance in
    the sequence; 0 where nothing moves in a sequence.

    Args:
      vertices: [frames, vertices, 3], any unit, the frames of a sequence in their order.
      sequence: [frames] integers that tell sequences apart; all frames are of one if None.
      neutral: [vertices, 3], the person's neutral face in the same unit, in place of first frames; None without.

    Returns:
      [frames] float32.
    """
    levels = np.zeros(len(vertices), np.float32)
    sequence = np.zeros(len(vertices), np.int32) if sequence is None else sequence
    for name in np.unique(sequence):
        frames = np.flatnonzero(sequence == name)
        first = (vertices[frames[0]] if neutral is None else neutral).astype(np.float64)
        distances = np.array([np.linalg.norm(vertices[i] - first, axis=-1).mean() for i in frames])
        if distances.max() > 0:
            levels[frames] = distances / distances.max()
    return levels


class NeutralMeans:
    """Means of the neutral frames of subjects, accumulated a few frames at a time.

    Args:
      subjects: the names of the subjects, for errors.
    """

    def __init__(self, subjects: Sequence[str]):
        self._subjects = subjects
        self._sums: dict[int, np.ndarray] = {}
        self._counts = np.zeros(len(subjects), np.int64)

    def add(self, subject: int, vertices: np.ndarray, levels: np.ndarray) -> None:
        """Adds frames [frames, vertices, 3] of a subject, given by its index, with their levels [frames]."""
        neutral = vertices[levels <= NEUTRAL_LEVEL]
        if len(neutral):
            self._sums[subject] = self._sums.get(subject, 0.0) + neutral.sum(axis=0, dtype=np.float64)
            self._counts[subject] += len(neutral)

    def result(self) -> np.ndarray:
        """The neutral faces [subjects, vertices, 3] float32.

        Raises:
          InputError: where a subject had no neutral frame.
        """
        for subject, count in zip(self._subjects, self._counts, strict=True):
            if not count:
                raise InputError(f"subject {subject}", f"a frame of level {NEUTRAL_LEVEL:g} or less", "none")
        means = [self._sums[i] / count for i, count in enumerate(self._counts)]
        return np.stack(means).astype(np.float32)


def subject_neutrals(
    vertices: np.ndarray, subject: np.ndarray, levels: np.ndarray, subjects: Sequence[str]
) -> np.ndarray:
    """The mean of each subject's frames whose level is at most 0.01.

    Args:
      vertices: [frames, vertices, 3].
      subject: [frames] integers that index `subjects`.
      levels: [frames].
      subjects: the subjects' names.

    Returns:
      [subjects, vertices, 3] float32.

    Raises:
      InputError: where a subject has no neutral frame.
    """
    means = NeutralMeans(subjects)
    for i in range(len(subjects)):
        means.add(i, vertices[subject == i], levels[subject == i])
    return means.result()
