"""Networks as Linen modules: the face VAE with its point cloud transformer, and the deformable generators."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "flax")

from facedis_jax.models.critic import Critic, critic_of
from facedis_jax.models.deformable import DeformableGenerator, GeneratorConfig, Latents, Refiner
from facedis_jax.models.dynamic import DynamicConfig, DynamicGenerator, DynamicLatents, Trajectory, Transition
from facedis_jax.models.face_vae import FaceVae, FaceVaeConfig, MlpDecoder, Posterior, Reconstruction
from facedis_jax.models.inference import InferenceNetwork, inference_network
from facedis_jax.models.mocogan import (
    ClipEncoder,
    MocoganCodes,
    MocoganConfig,
    MocoganGenerator,
    MocoganLatents,
    VideoCritic,
    mocogan_critics,
)
from facedis_jax.models.pct import OffsetAttention, PctConfig, PointCloudTransformer
from facedis_jax.models.point_features import (
    Grouping,
    PointFeatureConfig,
    PointFeatures,
    fourier_moments,
    group_points,
    point_features,
)
from facedis_jax.models.regressor import Regressor
from facedis_jax.models.sequence import SequenceClassifier
from facedis_jax.models.upsampling import UpsamplingNetwork

__all__ = [
    "ClipEncoder",
    "Critic",
    "DeformableGenerator",
    "DynamicConfig",
    "DynamicGenerator",
    "DynamicLatents",
    "FaceVae",
    "FaceVaeConfig",
    "GeneratorConfig",
    "Grouping",
    "InferenceNetwork",
    "Latents",
    "MlpDecoder",
    "MocoganCodes",
    "MocoganConfig",
    "MocoganGenerator",
    "MocoganLatents",
    "OffsetAttention",
    "PctConfig",
    "PointCloudTransformer",
    "PointFeatureConfig",
    "PointFeatures",
    "Posterior",
    "Reconstruction",
    "Refiner",
    "Regressor",
    "SequenceClassifier",
    "Trajectory",
    "Transition",
    "UpsamplingNetwork",
    "VideoCritic",
    "critic_of",
    "fourier_moments",
    "group_points",
    "inference_network",
    "mocogan_critics",
    "point_features",
]
