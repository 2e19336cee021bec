"""The objective of the information-bottlenecked VAE (Sun, Pears and Gu), Eq. 12."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from facedis_jax.losses.gaussian import gaussian_kl
from facedis_jax.losses.information import Estimator, WholeBatch, mutual_information
from facedis_jax.losses.reconstruction import Reduction, reconstruction_loss


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class IbVaeWeights:
    """Weights of Eq. 12 of the information-bottlenecked VAE; a pytree, so that `jax.vmap` runs over many settings.

    Attributes:
      lambda_1: weight of both reconstruction terms.
      lambda_2: weight of both information terms at the start of the training; see `lambda_2_schedule`.
      beta_id: weight of the neutral face within the reconstruction terms.
      beta_mi: weight of the mutual information within the information terms.

    Example:
      >>> settings = [IbVaeWeights(beta_mi=0.0), IbVaeWeights(beta_mi=50.0)]
      >>> jax.tree.map(lambda *values: jnp.array(values), *settings).beta_mi
      Array([ 0., 50.], dtype=float32)
    """

    lambda_1: float = 6.6e-2
    lambda_2: float = 3e-3
    beta_id: float = 10.0
    beta_mi: float = 50.0


class IbVaeFaces(NamedTuple):
    """Predictions of both decoders and their targets, [batch, vertices, 3] each, in normalised units.

    Attributes:
      prediction, target: the full faces.
      neutral_prediction, neutral_target: the neutral faces of the same people.

    Example:
      >>> faces = IbVaeFaces(*jnp.zeros([4, 2, 5023, 3]))
      >>> faces.neutral_target.shape
      (2, 5023, 3)
    """

    prediction: jax.Array
    target: jax.Array
    neutral_prediction: jax.Array
    neutral_target: jax.Array


class IbVaeCodes(NamedTuple):
    """Posteriors of a batch, and a sample of that of the identity.

    Attributes:
      identity_sample, identity_mean, identity_logvar: [batch, identity dims].
      expression_mean, expression_logvar: [batch, expression dims].

    Example:
      >>> mean, logvar, noise = jnp.zeros([3, 2, 8])
      >>> (mean_id, mean_exp), (logvar_id, logvar_exp) = jnp.split(mean, 2, axis=-1), jnp.split(logvar, 2, axis=-1)
      >>> sample = mean_id + jnp.exp(logvar_id / 2) * noise[:, :4]
      >>> IbVaeCodes(sample, mean_id, logvar_id, mean_exp, logvar_exp).expression_mean.shape
      (2, 4)
    """

    identity_sample: jax.Array
    identity_mean: jax.Array
    identity_logvar: jax.Array
    expression_mean: jax.Array
    expression_logvar: jax.Array


@dataclass(frozen=True)
class IbVaeLossOptions:
    """Choices that the loss is compiled for.

    Attributes:
      dataset_size: the number of training examples, N of Eq. 11 of the information-bottlenecked VAE.
      reduction, scale: of both reconstruction terms, see `reconstruction_loss`.
      estimator: of the mutual information, see `mutual_information`.

    Example:
      >>> IbVaeLossOptions(dataset_size=18_424).reduction
      'sum'
    """

    dataset_size: int
    reduction: Reduction = "sum"
    scale: float = 260.0
    estimator: Estimator = "mws"


def lambda_2_schedule(epoch: jax.Array | float, decay_epochs: float = 350.0, rise_epochs: float = 0.0) -> jax.Array:
    """The factor on lambda_2 at `epoch` (which may be a fraction): from 1 linearly to 0 over `decay_epochs`.

    As in section 3.5 of the information-bottlenecked VAE, which trains for 300 epochs, so that 0.143 of lambda_2 is
    left at its end.

    Over the first `rise_epochs`, which the paper does not have, the factor also rises from 0 in proportion to the
    epoch. With the full weight from the start, information that the decoders cannot use yet costs more than it gains:
    people who look like the mean face are given one code, and in a short run they keep it.

    Example:
      >>> print(lambda_2_schedule(jnp.array([0.0, 175.0, 350.0, 400.0])))
      [1.  0.5 0.  0. ]
      >>> [round(float(lambda_2_schedule(epoch, decay_epochs=10, rise_epochs=2)), 2) for epoch in (0, 1, 2)]
      [0.0, 0.45, 0.8]
    """
    fall = jnp.maximum(0.0, (decay_epochs - epoch) / decay_epochs)
    return fall * jnp.minimum(1.0, epoch / rise_epochs) if rise_epochs else fall


def ib_vae_loss(
    faces: IbVaeFaces,
    codes: IbVaeCodes,
    weights: IbVaeWeights,
    options: IbVaeLossOptions,
    *,
    lambda_2_factor: jax.Array | float = 1.0,
    whole_batch: WholeBatch | None = None,
    neutral_mask: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Per-example loss, whose mean is Eq. 12 of the information-bottlenecked VAE, and the four terms it is made of:

      lambda_1 (reconstruction + beta_id identity) + lambda_2 (kl + beta_mi mutual_information)

    Args:
      faces: predictions and targets, in normalised units.
      codes: posteriors and the sampled identity.
      weights: of the terms; no control flow depends on them, so they may be traced.
      options: size of the data set, reduction, estimator.
      lambda_2_factor: `lambda_2_schedule` at the present epoch.
      whole_batch: identity posteriors of the batch over all devices, see `mutual_information`.
      neutral_mask: [batch], faces exempt from the mutual information, see `mutual_information`.

    Returns:
      The loss [batch] and its terms by name, [batch] each and without weights: `reconstruction` and
      `identity` in the unit of the reduction, `kl` (of both codes together, Eq. 3) and `mutual_information`
      in nats. The latter is as in Eq. 11; subtract `mutual_information_offset` before reading it.

    Raises:
      ValueError: as `reconstruction_loss` and `mutual_information`.

    Example:
      >>> faces = IbVaeFaces(jnp.full([2, 100, 3], 0.1), *jnp.zeros([3, 2, 100, 3]))
      >>> codes = IbVaeCodes(*jnp.zeros([5, 2, 4]))
      >>> loss, terms = ib_vae_loss(faces, codes, IbVaeWeights(), IbVaeLossOptions(dataset_size=1000))
      >>> {name: f"{term.mean():.2f}" for name, term in terms.items()}
      {'reconstruction': '3.00', 'identity': '0.00', 'kl': '0.00', 'mutual_information': '6.91'}
      >>> print(f"{loss.mean():.4f} = {6.6e-2 * 3 + 3e-3 * 50 * 6.9078:.4f}")
      1.2342 = 1.2342
    """
    reduction, scale = options.reduction, options.scale
    parts = {
        "reconstruction": reconstruction_loss(faces.prediction, faces.target, reduction=reduction, scale=scale),
        "identity": reconstruction_loss(
            faces.neutral_prediction, faces.neutral_target, reduction=reduction, scale=scale
        ),
        "kl": gaussian_kl(codes.identity_mean, codes.identity_logvar)
        + gaussian_kl(codes.expression_mean, codes.expression_logvar),
        "mutual_information": mutual_information(
            codes.identity_sample,
            codes.identity_mean,
            codes.identity_logvar,
            options.dataset_size,
            estimator=options.estimator,
            whole_batch=whole_batch,
            neutral_mask=neutral_mask,
        ),
    }
    reconstruction = parts["reconstruction"] + weights.beta_id * parts["identity"]
    information = parts["kl"] + weights.beta_mi * parts["mutual_information"]
    return weights.lambda_1 * reconstruction + lambda_2_factor * weights.lambda_2 * information, parts
