"""Learners: pure `(init, step, evaluate)` triples that never see a file, a clock or a device list."""

from facedis_jax.extras import require_extra

require_extra(__name__, "run", "flax", "optax")

from facedis_jax.learners.abp import ABP_STATE_AXES, AbpConfig, AbpState, abp_functions, abp_learner
from facedis_jax.learners.abp_video import (
    ABP_VIDEO_STATE_AXES,
    AbpVideoConfig,
    abp_video_functions,
    abp_video_learner,
)
from facedis_jax.learners.adversarial import (
    ADVERSARIAL_STATE_AXES,
    AdversarialConfig,
    AdversarialState,
    adversarial_learner,
)
from facedis_jax.learners.ensemble import ensemble_learner, members
from facedis_jax.learners.face_functions import (
    FaceConstants,
    FaceFunctions,
    IbVaeConfig,
    IbVaeState,
    face_functions,
    feature_shapes,
)
from facedis_jax.learners.generator_functions import GeneratorFunctions, ImageFunctions, VideoFunctions
from facedis_jax.learners.ib_vae import FaceStart, LinearFaces, ib_vae_learner
from facedis_jax.learners.image_vae import (
    ImageVaeConfig,
    image_vae_functions,
    image_vae_learner,
)
from facedis_jax.learners.langevin_inference import LangevinConfig
from facedis_jax.learners.learner import Batch, GradientState, Learner, Metrics, State
from facedis_jax.learners.mocogan import (
    MocoganFunctions,
    MocoganLearnerConfig,
    MocoganState,
    mocogan_functions,
    mocogan_learner,
)
from facedis_jax.learners.optimiser import OptimiserConfig, make_optimiser
from facedis_jax.learners.recognition import FoldResults, RecognitionConfig, classify_folds, recognition_learner
from facedis_jax.learners.regression import FittedRegressor, RegressionConfig, fit_regressor

__all__ = [
    "ABP_STATE_AXES",
    "ABP_VIDEO_STATE_AXES",
    "ADVERSARIAL_STATE_AXES",
    "AbpConfig",
    "AbpState",
    "AbpVideoConfig",
    "AdversarialConfig",
    "AdversarialState",
    "Batch",
    "FaceConstants",
    "FaceFunctions",
    "FaceStart",
    "FittedRegressor",
    "FoldResults",
    "GeneratorFunctions",
    "GradientState",
    "IbVaeConfig",
    "IbVaeState",
    "ImageFunctions",
    "ImageVaeConfig",
    "LangevinConfig",
    "Learner",
    "LinearFaces",
    "Metrics",
    "MocoganFunctions",
    "MocoganLearnerConfig",
    "MocoganState",
    "OptimiserConfig",
    "RecognitionConfig",
    "RegressionConfig",
    "State",
    "VideoFunctions",
    "abp_functions",
    "abp_learner",
    "abp_video_functions",
    "abp_video_learner",
    "adversarial_learner",
    "classify_folds",
    "ensemble_learner",
    "face_functions",
    "feature_shapes",
    "fit_regressor",
    "ib_vae_learner",
    "image_vae_functions",
    "image_vae_learner",
    "make_optimiser",
    "members",
    "mocogan_functions",
    "mocogan_learner",
    "recognition_learner",
]
