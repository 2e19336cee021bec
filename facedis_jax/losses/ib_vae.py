"""The objective of the information-bottlenecked VAE (Sun, Pears and Gu), Eq. 12."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from facedis_jax.losses.gaussian import gaussian_kl
from facedis_jax.losses.information import Estimator, mutual_information
from facedis_jax.losses.reconstruction import Reduction, reconstruction_loss


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class IbVaeWeights:
    """Weights of Eq. 12; a pytree, so that `jax.vmap` runs over many settings at once.

    Attributes:
      lambda_1: weight of both reconstruction terms.
      lambda_2: weight of both information terms at the start of the training; see `lambda_2_schedule`.
      beta_id: weight of the neutral face within the reconstruction terms.
      beta_mi: weight of the mutual information within the information terms.
    """

    lambda_1: float = 6.6e-2
    lambda_2: float = 3e-3
    beta_id: float = 10.0
    beta_mi: float = 50.0


def lambda_2_schedule(epoch: jax.Array | float, decay_epochs: float = 350.0, rise_epochs: float = 0.0) -> jax.Array:
    """The factor on lambda_2 at `epoch` (which may be a fraction): from 1 linearly to 0 over `decay_epochs`.

    The paper trains for 300 epochs, so 0.143 of lambda_2 is left at its end.

    Over the first `rise_epochs`, ours, it is brought up from 0 in proportion to the epoch. Charged in full from the
    start, information about faces that the decoders cannot draw yet is not worth its price: people who look like the
    mean face are given one code, and in a short run they keep it.
    """
    fall = jnp.maximum(0.0, (decay_epochs - epoch) / decay_epochs)
    return fall * jnp.minimum(1.0, epoch / rise_epochs) if rise_epochs else fall


def ib_vae_loss(
    *,
    prediction: jax.Array,
    target: jax.Array,
    neutral_prediction: jax.Array,
    neutral_target: jax.Array,
    identity_code: jax.Array,
    identity_mean: jax.Array,
    identity_logvar: jax.Array,
    expression_mean: jax.Array,
    expression_logvar: jax.Array,
    dataset_size: int,
    weights: IbVaeWeights,
    lambda_2_factor: jax.Array | float = 1.0,
    reduction: Reduction = "sum",
    scale: float = 260.0,
    estimator: Estimator = "mws",
    all_identity_mean: jax.Array | None = None,
    all_identity_logvar: jax.Array | None = None,
    offset: jax.Array | int = 0,
    neutral_mask: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Per-example loss, whose mean over the batch is Eq. 12, and the four terms it is made of:

      lambda_1 (reconstruction + beta_id identity) + lambda_2 (kl + beta_mi mutual_information)

    Args:
      prediction, target: full faces in normalised units, [batch, vertices, 3].
      neutral_prediction, neutral_target: neutral faces in normalised units, [batch, vertices, 3].
      identity_code: the sampled identity codes, [batch, identity dims].
      identity_mean, identity_logvar: posteriors of the identity codes, [batch, identity dims].
      expression_mean, expression_logvar: posteriors of the expression codes, [batch, expression dims].
      dataset_size: the number of training examples.
      weights: the weights above; no control flow depends on them, so they may be traced.
      lambda_2_factor: `lambda_2_schedule` at the present epoch.
      reduction, scale: of both reconstruction terms, see `reconstruction_loss`.
      estimator: of the mutual information, see `mutual_information`.
      all_identity_mean, all_identity_logvar, offset: the batch over all devices, see `mutual_information`.
      neutral_mask: faces exempt from the mutual information, see `mutual_information`.

    Returns:
      The loss [batch] and its terms by name, [batch] each and without weights: `reconstruction` and
      `identity` in the unit of the reduction, `kl` (of both codes together, Eq. 3) and `mutual_information`
      in nats. The latter is as in Eq. 11; subtract `mutual_information_offset` before reading it.
    """
    parts = {
        "reconstruction": reconstruction_loss(prediction, target, reduction=reduction, scale=scale),
        "identity": reconstruction_loss(neutral_prediction, neutral_target, reduction=reduction, scale=scale),
        "kl": gaussian_kl(identity_mean, identity_logvar) + gaussian_kl(expression_mean, expression_logvar),
        "mutual_information": mutual_information(
            identity_code,
            identity_mean,
            identity_logvar,
            dataset_size,
            estimator=estimator,
            all_mean=all_identity_mean,
            all_logvar=all_identity_logvar,
            offset=offset,
            neutral_mask=neutral_mask,
        ),
    }
    faces = parts["reconstruction"] + weights.beta_id * parts["identity"]
    codes = parts["kl"] + weights.beta_mi * parts["mutual_information"]
    return weights.lambda_1 * faces + lambda_2_factor * weights.lambda_2 * codes, parts
