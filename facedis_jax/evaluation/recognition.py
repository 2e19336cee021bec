"""What expressions are recognised from, and how well (section 5.6, Table 3)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from sklearn.metrics import confusion_matrix

from facedis_jax.evaluation.images import summary
from facedis_jax.evaluation.videos import unit_pixels
from facedis_jax.inference.videos import VideoCodec
from facedis_jax.learners import FoldResults
from facedis_jax.models import DynamicLatents

Motion = Literal["relative", "absolute"]


def geometric_features(codec: VideoCodec, latents: DynamicLatents) -> dict[str, np.ndarray]:
    """The paper's features of clips: "dglf", Z^g_t, and "ddf", the fields that it makes; [clips, frames, features]."""
    geometry = np.asarray(codec.codes(latents).geometry)
    return {"ddf": as_sequences(codec.flow(geometry)), "dglf": geometry}


def as_sequences(features: np.ndarray) -> np.ndarray:
    """Fields or pictures of frames [clips, frames, ...] as [clips, frames, features]; pixels in [0, 1]."""
    return unit_pixels(features).reshape(*features.shape[:2], -1)


def motion_of(sequences: np.ndarray, motion: Motion) -> np.ndarray:
    """What changes from the first frame on, or the features as they are.

    Of the codes Z_t, "relative" leaves the hidden states s_t = Z_t - Z_0 (Eq. 10).

    Example:
      >>> motion_of(np.array([[[3.0], [5.0], [2.0]]]), "relative").ravel()
      array([ 0.,  2., -1.])
    """
    return sequences - sequences[:, :1] if motion == "relative" else sequences


def accuracy_of(results: FoldResults) -> dict[str, Any]:
    """Mean, standard deviation and median over folds, and the accuracy of each."""
    return {**summary(results.accuracy), "folds": results.accuracy.tolist()}


def margin(one: FoldResults, other: FoldResults) -> dict[str, float]:
    """By how much the first is more accurate, fold by fold: mean, standard deviation and median over folds."""
    return summary(one.accuracy - other.accuracy)


def confusions(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How many clips of each class [truth, prediction] were taken for which."""
    return confusion_matrix(labels, predictions, labels=np.arange(num_classes))


def chance(labels: np.ndarray) -> float:
    """The accuracy of always naming what is most frequent."""
    return float(np.bincount(labels).max() / len(labels))


def table_3(results: Mapping[str, Mapping[str, FoldResults]]) -> dict[str, dict[str, Any]]:
    """`accuracy_of` all features, by motion and name."""
    return {motion: {name: accuracy_of(each) for name, each in named.items()} for motion, named in results.items()}
