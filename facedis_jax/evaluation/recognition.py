"""Features that expressions are recognised from, and the accuracies (section 5.6, Table 3)."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from facedis_jax.evaluation.images import summary, to_unit_range
from facedis_jax.geometry import optical_flow
from facedis_jax.inference.codecs import VideoCodec
from facedis_jax.learners import FoldResults
from facedis_jax.models import DynamicLatents

Motion = Literal["relative", "absolute"]


def geometric_features(codec: VideoCodec, latents: DynamicLatents) -> dict[str, np.ndarray]:
    """The paper's features of clips, [clips, frames, features]: "dglf", the codes Z^g_t, and "ddf", their flows."""
    geometry = np.asarray(codec.codes(latents).geometry)
    return {"ddf": as_sequences(codec.flow(geometry)), "dglf": geometry}


def optical_flow_features(pixels: np.ndarray) -> np.ndarray:
    """Optical flow from each clip's first frame to its others, [clips, frames, 2 size^2] pixels; learned of nothing.

    Args:
      pixels: [clips, frames, size, size, channels], uint8 or in [0, 1].
    """
    from_first = jax.jit(lambda frames: jax.lax.map(lambda frame: optical_flow(frames[0], frame), frames))
    return as_sequences(np.stack([np.asarray(from_first(to_unit_range(clip))) for clip in pixels]))


def as_sequences(features: np.ndarray) -> np.ndarray:
    """Flows or images of frames [clips, frames, ...] as [clips, frames, features]; pixels in [0, 1]."""
    return to_unit_range(features).reshape(*features.shape[:2], -1)


def motion_of(sequences: np.ndarray, motion: Motion) -> np.ndarray:
    """Sequences [clips, frames, features] relative to their first frame, or unchanged ("absolute").

    Codes Z_t become the hidden states s_t = Z_t - Z_0 (Eq. 10).

    Example:
      >>> motion_of(np.array([[[3.0], [5.0], [2.0]]]), "relative").ravel()
      array([ 0.,  2., -1.])
    """
    return sequences - sequences[:, :1] if motion == "relative" else sequences


def accuracy_of(results: FoldResults) -> dict[str, Any]:
    """Mean, standard deviation and median of the accuracy over folds, and "folds", the accuracy of each."""
    return {**summary(results.accuracy), "folds": results.accuracy.tolist()}


def margin(one: FoldResults, other: FoldResults) -> dict[str, float]:
    """Mean, standard deviation and median over folds of the first accuracy minus the other."""
    return summary(one.accuracy - other.accuracy)


def confusions(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion matrix of counts, [truth, prediction]."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(labels, predictions, labels=np.arange(num_classes))


def chance(labels: np.ndarray) -> float:
    """Accuracy, from 0 to 1, of always predicting the most frequent label."""
    return float(np.bincount(labels).max() / len(labels))


def table_3(results: Mapping[str, Mapping[str, FoldResults]]) -> dict[str, dict[str, Any]]:
    """`accuracy_of` the results of all features, by motion and by name of the features."""
    return {motion: {name: accuracy_of(each) for name, each in named.items()} for motion, named in results.items()}
