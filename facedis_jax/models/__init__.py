"""Networks as Linen modules: the point cloud transformer, the decoders and the VAE made of them."""

from facedis_jax.models.face_vae import FaceVae, FaceVaeConfig, MlpDecoder, Posterior, Reconstruction
from facedis_jax.models.pct import OffsetAttention, PctConfig, PointCloudTransformer
from facedis_jax.models.point_features import (
    Grouping,
    PointFeatureConfig,
    PointFeatures,
    fourier_moments,
    group_points,
    point_features,
)

__all__ = [
    "FaceVae",
    "FaceVaeConfig",
    "Grouping",
    "MlpDecoder",
    "OffsetAttention",
    "PctConfig",
    "PointCloudTransformer",
    "PointFeatureConfig",
    "PointFeatures",
    "Posterior",
    "Reconstruction",
    "fourier_moments",
    "group_points",
    "point_features",
]
