"""Training objectives as pure functions, each from a paper's equation; imports jax and numpy alone."""

from facedis_jax.losses.flows import equivariance_loss, flow_variation
from facedis_jax.losses.gaussian import gaussian_kl, gaussian_log_density
from facedis_jax.losses.ib_vae import (
    IbVaeCodes,
    IbVaeFaces,
    IbVaeLossOptions,
    IbVaeWeights,
    ib_vae_loss,
    lambda_2_schedule,
)
from facedis_jax.losses.information import (
    WholeBatch,
    aggregate_mutual_information,
    mutual_information,
    mutual_information_offset,
)
from facedis_jax.losses.log_joint import log_joint
from facedis_jax.losses.reconstruction import reconstruction_loss

__all__ = [
    "IbVaeCodes",
    "IbVaeFaces",
    "IbVaeLossOptions",
    "IbVaeWeights",
    "WholeBatch",
    "aggregate_mutual_information",
    "equivariance_loss",
    "flow_variation",
    "gaussian_kl",
    "gaussian_log_density",
    "ib_vae_loss",
    "lambda_2_schedule",
    "log_joint",
    "mutual_information",
    "mutual_information_offset",
    "reconstruction_loss",
]
