"""The methods that the deformable generator's paper compares with, and later ones, as learners of the same contract."""

from facedis_jax.learners.rivals.images.deforming import (
    DeformingAutoencoderConfig,
    DeformingTraining,
    deforming_autoencoder_functions,
    deforming_autoencoder_learner,
)
from facedis_jax.learners.rivals.images.embedding import (
    EmbeddingConfig,
    WarpConfig,
    embedding_features,
    embedding_learner,
)
from facedis_jax.learners.rivals.images.masked import (
    MaskedAutoencoderConfig,
    masked_autoencoder_learner,
    masked_features,
)
from facedis_jax.learners.rivals.images.rival import unit_range
from facedis_jax.models.rivals.images.deforming import DeformingConfig, DeformingNetworks
from facedis_jax.models.rivals.images.features import EmbeddingNetworks, MaskedNetworks

__all__ = [
    "DeformingAutoencoderConfig",
    "DeformingConfig",
    "DeformingNetworks",
    "DeformingTraining",
    "EmbeddingConfig",
    "EmbeddingNetworks",
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
