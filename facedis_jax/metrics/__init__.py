"""Measures of faces and codes as pure functions of arrays; imports jax and numpy alone."""

from facedis_jax.metrics.averages import Average
from facedis_jax.metrics.codes import (
    DciScores,
    collapsed_dimensions,
    dci_from_importance,
    discretise,
    mutual_information_gap,
    separated_attribute_predictability,
    squared_correlation,
)
from facedis_jax.metrics.disentanglement import disentanglement_error
from facedis_jax.metrics.distances import (
    DistanceStatistics,
    average_vertex_distance,
    distance_statistics,
    vertex_distance,
)
from facedis_jax.metrics.flows import bending_energy, canonical_error, fold_share
from facedis_jax.metrics.intersections import self_intersections
from facedis_jax.metrics.landmarks import landmark_error
from facedis_jax.metrics.recognition import nearest
from facedis_jax.metrics.shares import LeastSquares
from facedis_jax.metrics.spectra import power_spectrum
from facedis_jax.metrics.views import view_covariance

__all__ = [
    "Average",
    "DciScores",
    "DistanceStatistics",
    "LeastSquares",
    "average_vertex_distance",
    "bending_energy",
    "canonical_error",
    "collapsed_dimensions",
    "dci_from_importance",
    "discretise",
    "disentanglement_error",
    "distance_statistics",
    "fold_share",
    "landmark_error",
    "mutual_information_gap",
    "nearest",
    "power_spectrum",
    "self_intersections",
    "separated_attribute_predictability",
    "squared_correlation",
    "vertex_distance",
    "view_covariance",
]
