"""The methods that the deformable generator's paper compares with, and later ones, as learners of the same contract."""

from facedis_jax.learners.image_rivals.deforming import (
    DeformingAutoencoderConfig,
    DeformingTraining,
    deforming_autoencoder_functions,
    deforming_autoencoder_learner,
)
from facedis_jax.learners.image_rivals.embedding import (
    EmbeddingConfig,
    WarpConfig,
    embedding_features,
    embedding_learner,
)
from facedis_jax.learners.image_rivals.masked import (
    MaskedAutoencoderConfig,
    masked_autoencoder_learner,
    masked_features,
)
from facedis_jax.learners.image_rivals.rival import ImageRivalState, unit_range
from facedis_jax.models.rivals.deforming import DeformingConfig, DeformingNetworks
from facedis_jax.models.rivals.features import EmbeddingNetworks, MaskedNetworks

__all__ = [
    "DeformingAutoencoderConfig",
    "DeformingConfig",
    "DeformingNetworks",
    "DeformingTraining",
    "EmbeddingConfig",
    "EmbeddingNetworks",
    "ImageRivalState",
    "MaskedAutoencoderConfig",
    "MaskedNetworks",
    "WarpConfig",
    "deforming_autoencoder_functions",
    "deforming_autoencoder_learner",
    "embedding_features",
    "embedding_learner",
    "masked_autoencoder_learner",
    "masked_features",
    "unit_range",
]
