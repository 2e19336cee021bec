"""Mutual information between a face and its code, estimated from the posteriors of a batch or a data set.

With z_i drawn from q(z|x_i), each estimator returns, per example and in nats,

  log q(z_i|x_i) - log q(z_i),

whose mean over the data is I(z; x) (Eq. 10 of the information-bottlenecked VAE). They differ in how they
estimate the aggregated posterior q(z) = E_x[q(z|x)] from a batch of B out of N examples.
"""

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from facedis_jax.losses.gaussian import gaussian_log_density

Estimator = Literal["mws", "mss"]


class WholeBatch(NamedTuple):
    """Posteriors of a batch that is spread over devices.

    Attributes:
      mean, logvar: gathered from all devices, [whole, dims].
      offset: index in them of this device's first example.

    Example:
      >>> mean, logvar = jnp.zeros([8, 4]), jnp.zeros([8, 4])
      >>> second = WholeBatch(mean, logvar, offset=4)
      >>> print(f"{mutual_information(mean[4:], mean[4:], logvar[4:], 1000, whole_batch=second).mean():.3f}")
      6.908
    """

    mean: jax.Array
    logvar: jax.Array
    offset: jax.Array | int


def mutual_information(
    z: jax.Array,
    mean: jax.Array,
    logvar: jax.Array,
    dataset_size: int,
    *,
    estimator: Estimator = "mws",
    whole_batch: WholeBatch | None = None,
    neutral_mask: jax.Array | None = None,
) -> jax.Array:
    """Mutual information of code and input, with q(z) estimated from the batch.

    Eq. 10 of the information-bottlenecked VAE, by either of two estimates of q(z):

    - "mws", minibatch weighted sampling (Eq. 11): q(z_i) ~ 1/(N B) sum_j q(z_i|x_j). It is biased: the value
      runs from log N (no information) to log(N B), a range of log B. Subtract `mutual_information_offset`
      before reading it.
    - "mss", minibatch stratified sampling: unbiased in q(z). In row i the example itself weighs 1/N, one
      other (here the next, cyclically) (N - B + 1) / (N (B - 1)), the rest 1/(B - 1); each row sums to one.
      The code published with beta-TCVAE strides by one too few and so puts these weights in the wrong
      columns.

    Where a batch is spread over devices, `z`, `mean` and `logvar` are one device's share, and `whole_batch` has the
    posteriors of all devices. Gradients flow through them all.

    Args:
      z: samples of the posteriors, [batch, dims].
      mean, logvar: parameters of the posteriors, [batch, dims].
      dataset_size: N, the number of training examples.
      estimator: "mws" or "mss".
      whole_batch: the batch over all devices; None where it is this one.
      neutral_mask: [batch], nonzero for the faces that are exempt (the authors exempt those of expression
        level <= 0.1); their value is 0, and they still count in q(z). None exempts no face.

    Returns:
      [batch] in nats.

    Raises:
      ValueError: for an unknown estimator, and for "mss" with a batch of one or one larger than the data set.

    References:
      Chen et al., "Isolating Sources of Disentanglement in VAEs", 2018, section 4.1 and appendix C.

    Example:
      >>> mean = 100.0 * jnp.arange(16.0)[:, None]  # posteriors far apart: each code names its example
      >>> value = mutual_information(mean, mean, jnp.zeros([16, 1]), 1000)
      >>> print(f"{value[0] - mutual_information_offset(1000):.3f} {math.log(16):.3f}")
      2.773 2.773
    """
    all_mean, all_logvar, offset = whole_batch or WholeBatch(mean, logvar, 0)
    whole = all_mean.shape[0]
    own = gaussian_log_density(z, mean, logvar)
    pairs = gaussian_log_density(z[:, None], all_mean[None], all_logvar[None])
    if estimator == "mws":
        log_weights = jnp.full(pairs.shape, -math.log(dataset_size) - math.log(whole), pairs.dtype)
    elif estimator == "mss":
        log_weights = _stratified_log_weights(z.shape[0], whole, dataset_size, offset).astype(pairs.dtype)
    else:
        raise ValueError(f"estimator must be one of {get_args(Estimator)}, got {estimator!r}")
    information = -logsumexp(pairs - own[:, None] + log_weights, axis=1)
    if neutral_mask is None:
        return information
    return jnp.where(neutral_mask != 0, jnp.zeros_like(information), information)


def _stratified_log_weights(rows: int, whole: int, dataset_size: int, offset: jax.Array | int) -> jax.Array:
    """Logarithms of the [rows, whole] weights of minibatch stratified sampling."""
    if not 2 <= whole <= dataset_size:
        raise ValueError(f'"mss" needs a batch of 2 to {dataset_size} examples (the data set), got {whole}')
    others = whole - 1
    own = (offset + jnp.arange(rows))[:, None]
    column = jnp.arange(whole)[None]
    is_next = column == (own + 1) % whole
    next_weight = (dataset_size - others) / (dataset_size * others)
    log_weights = jnp.where(is_next, math.log(next_weight), -math.log(others))
    return jnp.where(column == own, -math.log(dataset_size), log_weights)


def mutual_information_offset(dataset_size: int, *, estimator: Estimator = "mws") -> float:
    """The value of `mutual_information` for uninformative codes, in nats: log N for "mws", 0 for "mss".

    Ours; it follows from Eq. 11 of the information-bottlenecked VAE, whose paper does not subtract it.

    Example:
      >>> round(mutual_information_offset(18424), 2)
      9.82
    """
    if estimator not in get_args(Estimator):
        raise ValueError(f"estimator must be one of {get_args(Estimator)}, got {estimator!r}")
    return math.log(dataset_size) if estimator == "mws" else 0.0


def aggregate_mutual_information(z: jax.Array, mean: jax.Array, logvar: jax.Array, chunk: int = 256) -> jax.Array:
    """Mutual information of code and input, with q(z) the mean of all given posteriors: no batch, no offset.

    Eq. 10 of the information-bottlenecked VAE with its own q(z), which training cannot afford.

    Costs examples^2 x dims operations and chunk x examples x dims numbers of memory; meant for evaluation.

    Args:
      z: samples of the posteriors, [examples, dims].
      mean, logvar: parameters of the posteriors, [examples, dims].
      chunk: how many examples are compared with all others at a time.

    Returns:
      [examples] in nats, whose mean lies between 0 and log(examples) up to the noise of the samples.

    Example:
      >>> mean = jnp.repeat(jnp.array([-50.0, 50.0]), 8)[:, None]  # two clusters, which a code tells apart
      >>> value = aggregate_mutual_information(mean, mean, jnp.zeros([16, 1]))
      >>> print(f"{value.mean():.3f} {math.log(2):.3f}")
      0.693 0.693
    """
    examples = z.shape[0]

    def one(sample: jax.Array, own_mean: jax.Array, own_logvar: jax.Array) -> jax.Array:
        own = gaussian_log_density(sample, own_mean, own_logvar)
        pairs = gaussian_log_density(sample[None], mean, logvar)
        return math.log(examples) - logsumexp(pairs - own)

    return jax.lax.map(lambda row: one(*row), (z, mean, logvar), batch_size=min(chunk, examples))
