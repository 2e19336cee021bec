"""Codes of the frames of one person: one identity for all of them, and expressions that go from frame to frame.

An encoder gives each frame x_t alone a normal posterior q_t(z) = p(z | x_t) under the prior p(z) = N(0, I). What the
frame says beyond the prior is the likelihood q_t(z) / p(z): of precision 1 / std^2 - 1 and information mean / std^2 in
each latent, and nothing where the posterior is no narrower than the prior.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facedis_jax.inference.face_codes import Array, Code

# Frames of which each is compared with each, evenly spaced in a longer sequence.
_MOST_COMPARED = 256
# Of a person's faces, those within which codes must lie that tell people apart.
_MOST_OF_A_PERSON = 0.99


def shared_code(codes: Code, count: float | Array | None = None) -> Code:
    """The posterior of one code that all frames share, such as the identity of one person.

    p(z | x_1 ... x_T) is proportional to q_1(z) ... q_T(z) / p(z)^(T - 1): in each latent

        precision = 1 + sum_t (1 / std_t^2 - 1),    mean = sum_t (mean_t / std_t^2) / precision.

    That holds for frames that err independently. Neighbours in time err alike, so that T of them say as much as fewer
    would; with `count` both sums are multiplied by count / T.

    Args:
      codes: [frames, latents].
      count: how many independent frames they are worth, see `effective_count`; all of them if None.

    Returns:
      [latents].

    Example:
      >>> one = shared_code(Code(jnp.array([[0.8], [0.4]]), jnp.array([[0.5], [0.5]])))
      >>> print(f"{one.mean[0]:.3f} {one.std[0]:.3f}")  # precision 1 + 3 + 3, information 3.2 + 1.6
      0.686 0.378
    """
    precision, information = _likelihood(codes)
    share = 1.0 if count is None else count / len(precision)
    variance = 1 / (1 + share * precision.sum(0))
    return Code(variance * share * information.sum(0), jnp.sqrt(variance))


def effective_count(codes: Code) -> jax.Array:
    """How many independent frames a sequence of frames is worth, 1 to their number.

    It is T / (1 + 2 sum_k r_k), with the autocorrelation r_k of the means at a distance of k frames, over all latents
    in units of their deviations, summed as long as two neighbours of it are positive together (Geyer, 1992). Errors
    that all frames have in common cannot be seen in them and are not counted.

    Args:
      codes: [frames, latents] in the order of time.

    Returns:
      A number.
    """
    scaled = jnp.asarray(codes.mean) / jnp.asarray(codes.std)
    number = len(scaled)
    centred = scaled - scaled.mean(0)
    spectrum = jnp.abs(jnp.fft.rfft(centred, 2 * number, axis=0)) ** 2
    covariance = jnp.fft.irfft(spectrum, axis=0)[:number].sum(-1)
    total = covariance[0]
    correlation = covariance / jnp.where(total > 0, total, 1)
    pairs = jnp.pad(correlation, (0, number % 2)).reshape(-1, 2).sum(1)
    kept = jnp.cumprod(pairs > 0)
    # Frames without any difference are one frame.
    return jnp.where(total > 0, jnp.clip(number / (2 * (pairs * kept).sum() - 1), 1, number), 1.0)


def smoothed(codes: Code, correlation: float | Array) -> Code:
    """The posterior of each frame's code given all frames, where codes go from frame to frame as they please.

    The codes are a stationary random walk, z_t+1 = a z_t + sqrt(1 - a^2) N(0, I): each has the prior N(0, I), as the
    encoder was trained with, and neighbours have the correlation a. With a = 0 each frame has its own posterior (the
    prior where that is no narrower); with a = 1 all have the `shared_code`. A Kalman filter forward, a
    Rauch-Tung-Striebel smoother back.

    Args:
      codes: [frames, latents] in the order of time, evenly spaced.
      correlation: a, 0 to 1; a number or [latents].

    Returns:
      [frames, latents].

    Example:
      >>> jump = Code(jnp.array([[0.0], [0.0], [1.0], [1.0]]), jnp.full([4, 1], 0.3))
      >>> [round(float(smoothed(jump, a).mean[2, 0]), 2) for a in (0.0, 0.9, 1.0)]
      [1.0, 0.86, 0.54]
    """
    likelihood = _likelihood(codes)
    a = jnp.broadcast_to(jnp.asarray(correlation, likelihood[0].dtype), likelihood[0].shape[1:])
    (ahead_mean, ahead_variance), (means, variances) = _filtered(likelihood, a)

    def back(later, frame):
        mean, variance, next_mean, next_variance = frame
        gain = a * variance / next_variance
        mean = mean + gain * (later[0] - next_mean)
        variance = variance + gain**2 * (later[1] - next_variance)
        return (mean, variance), (mean, variance)

    last = means[-1], variances[-1]
    frames = means[:-1], variances[:-1], ahead_mean[1:], ahead_variance[1:]
    _, earlier = jax.lax.scan(back, last, frames, reverse=True)
    mean, variance = (jnp.concatenate([x, y[None]]) for x, y in zip(earlier, last, strict=True))
    return Code(mean, jnp.sqrt(variance))


def likeliest_correlation(codes: Code) -> jax.Array:
    """The correlation [latents] of neighbouring codes under which the frames are likeliest, see `smoothed`.

    Of 0, 1/2, 3/4 and so on up to 1 - 2^-12, for each latent by itself.

    Args:
      codes: [frames, latents] in the order of time.
    """
    precision, information = _likelihood(codes)
    candidates = 1 - 0.5 ** jnp.arange(13)

    def log_density(a):
        (mean, variance), _ = _filtered((precision, information), jnp.full(precision.shape[1:], a))
        says = precision > 0
        total = variance + 1 / jnp.where(says, precision, 1)
        off = information / jnp.where(says, precision, 1) - mean
        return jnp.where(says, -0.5 * (jnp.log(total) + off**2 / total), 0).sum(0)

    return candidates[jnp.argmax(jax.vmap(log_density)(candidates), axis=0)]


def _likelihood(codes: Code) -> tuple[jax.Array, jax.Array]:
    """Precision and information [frames, latents] of what each frame says beyond the prior."""
    inverse = 1 / jnp.square(jnp.asarray(codes.std))
    says = inverse > 1
    return jnp.where(says, inverse - 1, 0), jnp.where(says, inverse * codes.mean, 0)


def _filtered(likelihood, a):
    """Mean and variance [frames, latents] of each frame's code, given those before it; and given its own frame too."""

    def forward(before, frame):
        precision, information = frame
        mean, variance = a * before[0], a**2 * before[1] + 1 - a**2
        updated = 1 / (1 / variance + precision)
        after = updated * (mean / variance + information), updated
        return after, ((mean, variance), after)

    latents = likelihood[0].shape[1:]
    return jax.lax.scan(forward, (jnp.zeros(latents), jnp.ones(latents)), likelihood)[1]


class PeopleSpread(NamedTuple):
    """How the identity codes of known people lie: what tells whether frames are of one person.

    Attributes:
      whitening: [latents, latents]; codes times it have the unit covariance within people.
      limit: distance of whitened codes beyond which two are clearly of two people; infinite where the known people's
        codes do not lie apart.
    """

    whitening: np.ndarray
    limit: float


def people_spread(codes: np.ndarray, subject: np.ndarray) -> PeopleSpread:
    """The spread of people's codes.

    The limit is the distance at which the mean of one person has that of the nearest other, the median over people.
    People whom the encoder has not seen vary more than those whom it has, so that a limit nearer to these would refuse
    one person's extreme expressions.

    Args:
      codes: [faces, latents] identity codes.
      subject: [faces] integers that tell people apart.
    """
    people, person = np.unique(subject, return_inverse=True)
    means = np.stack([codes[person == i].mean(0, dtype=np.float64) for i in range(len(people))])
    within = codes - means[person]
    covariance = within.T @ within / max(len(codes) - len(people), 1)
    variances, directions = np.linalg.eigh(covariance)
    floor = max(variances.max(initial=0.0) * 1e-6, np.finfo(np.float32).tiny)
    whitening = directions / np.sqrt(np.maximum(variances, floor))
    if len(people) < 2:
        return PeopleSpread(whitening, np.inf)
    white = means @ whitening
    apart = np.linalg.norm(white[:, None] - white, axis=-1)
    limit = float(np.median(apart[~np.eye(len(people), dtype=bool)].reshape(len(people), -1).min(1)))
    around = float(np.quantile(np.linalg.norm(within @ whitening, axis=1), _MOST_OF_A_PERSON))
    return PeopleSpread(whitening, limit if limit > 2 * around else np.inf)


def strangers(means: np.ndarray, spread: PeopleSpread) -> tuple[np.ndarray, np.ndarray]:
    """Which frames are clearly of another person than most.

    Args:
      means: [frames, latents] of identity codes.
      spread: of the people that the encoder was trained on.

    Returns:
      Of each frame whether it is, [frames] bool, and its distance, 1 at the limit, from the frame that is nearest to
      most.
    """
    white = np.asarray(means, np.float64) @ spread.whitening
    few = white[np.linspace(0, len(white) - 1, min(len(white), _MOST_COMPARED)).round().astype(int)]
    typical = few[np.median(np.linalg.norm(few[:, None] - few, axis=-1), axis=1).argmin()]
    distance = np.linalg.norm(white - typical, axis=1) / spread.limit
    return distance > 1, distance
