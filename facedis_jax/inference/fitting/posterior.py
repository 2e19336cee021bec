"""The codes and the pose of a face given a scan, or a part of one: samples by Langevin dynamics."""

import jax
import jax.numpy as jnp

from facedis_jax.geometry import rotation_matrix
from facedis_jax.inference.fitting.refinement import (
    WEAK_PULLS,
    Estimate,
    Face,
    Pairs,
    Prior,
    Template,
    moved_pose,
)
from facedis_jax.sampling import langevin

_PRECISE = jax.lax.Precision.HIGHEST
# In units of the posterior's deviations. Steps of 0.4 widen a normal distribution by 2 %, and after 30 of them a chain
# has left where it began: 0.92^30 = 0.08 of it is left.
_STEP, _STEPS = 0.4, 30
# Chains that run together.
_TOGETHER = 16


def sample_posterior(
    key: jax.Array,
    face: Face,
    template: Template,
    prior: Prior,
    pairs: Pairs,
    deviation: jax.Array,
    estimate: Estimate,
    covariance: jax.Array,
    count: int,
) -> Estimate:
    """Samples [samples] of codes and poses given what of the scan and the face belongs together.

    The density is that of the codes' prior, times that of normally distributed distances along the normals of the
    pairs, each of which counts as it did in the fit. Chains run in the coordinates in which the covariance is 1, where
    one step size suits all directions, and begin at independent draws with that covariance.

    Args:
      pairs: what of the scan and of the estimate belongs together.
      deviation: of their distances, mm.
      covariance: of the estimate, as from `refine`.
      count: how many; rounded up to whole batches.
    """
    root = jnp.linalg.cholesky(covariance + 1e-9 * jnp.eye(len(covariance)))
    pivot = face(estimate.codes).mean(0)
    corners = jnp.asarray(template.triangles)[pairs.triangle]
    weak = jnp.array(WEAK_PULLS)

    def log_density(z: jax.Array) -> jax.Array:
        move = jnp.matmul(root, z, precision=_PRECISE)
        codes = estimate.codes + move[6:]
        place = jnp.sum(pairs.weights[..., None] * face(codes)[corners], 1)
        turned = jnp.matmul(pairs.points - pivot, rotation_matrix(move[:3]).T, precision=_PRECISE) + pivot + move[3:6]
        gap = jnp.sum(pairs.normals * (turned - place), 1)
        away = codes - prior.mean
        of_codes = away @ jnp.matmul(jnp.asarray(prior.precision), away, precision=_PRECISE)
        return -0.5 * (jnp.sum(pairs.counted * gap**2) / deviation**2 + of_codes + jnp.sum(weak * move[:6] ** 2))

    def chain(key: jax.Array) -> Estimate:
        first, second = jax.random.split(key)
        start = jax.random.normal(first, (len(covariance),))
        move = jnp.matmul(
            root, langevin(log_density, start, second, num_steps=_STEPS, step_size=_STEP), precision=_PRECISE
        )
        return Estimate(estimate.codes + move[6:], moved_pose(estimate.pose, move[:3], move[3:6], pivot))

    return jax.lax.map(chain, jax.random.split(key, -(-count // _TOGETHER) * _TOGETHER), batch_size=_TOGETHER)


def vertex_moments(face: Face, estimate: Estimate, samples: Estimate) -> tuple[jax.Array, jax.Array]:
    """Mean [vertices, 3], in the model's place of the estimate, and variance [vertices] along each axis, of samples."""

    def shown(sample: Estimate) -> jax.Array:
        return estimate.pose.to_model(sample.pose.to_scan(face(sample.codes)))

    faces = jax.lax.map(shown, samples, batch_size=_TOGETHER)
    mean = faces.mean(0)
    return mean, jnp.square(faces - mean).sum(0).mean(-1) / (len(faces) - 1)
