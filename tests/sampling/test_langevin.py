from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, stats

from facedis_jax.losses import log_joint
from facedis_jax.sampling import (
    alternating_langevin,
    alternating_langevin_with_statistics,
    langevin,
    langevin_with_statistics,
)

# A linear Gaussian model, x = A z_a + B z_g + noise: the posterior of z = (z_a, z_g) is N(MEAN, inverse of PRECISION).
SIGMA = 0.8
rng = np.random.default_rng(0)
A, B, IMAGE = rng.normal(size=(6, 2)), rng.normal(size=(6, 3)), 2 * rng.normal(size=6)
JOINT = np.concatenate([A, B], axis=1)
PRECISION = np.eye(5) + JOINT.T @ JOINT / SIGMA**2
MEAN = np.linalg.solve(PRECISION, JOINT.T @ IMAGE / SIGMA**2)


def log_density(z):
    appearance, geometry = z
    a, b, image = (jnp.asarray(x, jnp.float32) for x in (A, B, IMAGE))
    return log_joint(image, a @ appearance + b @ geometry, z, sigma=SIGMA)


def linear_chain(update, noise):
    """Stationary covariance S = U S U^T + N of the chain z - MEAN <- U (z - MEAN) + noise of covariance N."""
    return linalg.solve_discrete_lyapunov(update, noise)


def block_step(rows, step_size):
    """One step of the coordinates in `rows`, the others fixed, as matrices: update, and covariance of the noise."""
    moved = np.isin(np.arange(5), rows).astype(float)
    return np.eye(5) - step_size**2 / 2 * moved[:, None] * PRECISION, step_size**2 * np.diag(moved)


def compose(steps):
    update, noise = np.eye(5), np.zeros([5, 5])
    for u, n in steps:
        update, noise = u @ update, u @ noise @ u.T + n
    return update, noise


def joint_truth(step_size):
    return linear_chain(*block_step(range(5), step_size))


def unequal_truth(sizes):
    squares = np.repeat(np.square(sizes), [2, 3])
    return linear_chain(np.eye(5) - squares[:, None] / 2 * PRECISION, np.diag(squares))


def alternating_truth(sizes, block):
    return linear_chain(*compose([block_step([0, 1], sizes[0])] * block + [block_step([2, 3, 4], sizes[1])] * block))


START = (jnp.zeros(2), jnp.zeros(3))
SAMPLERS = {
    "joint": (lambda z, key: langevin(log_density, z, key, num_steps=300, step_size=0.25), joint_truth(0.25)),
    "joint in unequal steps": (
        lambda z, key: langevin(log_density, z, key, num_steps=300, step_size=(0.3, 0.2)),
        unequal_truth((0.3, 0.2)),
    ),
    "alternating": (
        lambda z, key: alternating_langevin(log_density, z, key, num_steps=400, step_size=0.25),
        alternating_truth((0.25, 0.25), 1),
    ),
    "alternating in blocks": (
        lambda z, key: alternating_langevin(log_density, z, key, num_steps=150, step_size=(0.3, 0.2), block=4),
        alternating_truth((0.3, 0.2), 4),
    ),
}


def sample(sampler, num_chains, seed=0):
    keys = jax.random.split(jax.random.key(seed), num_chains)
    appearance, geometry = jax.jit(jax.vmap(sampler, (None, 0)))(START, keys)
    return np.concatenate([appearance, geometry], axis=1).astype(np.float64)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_mean_and_covariance_of_the_posterior(name):
    """Independent chains against the chain's own stationary law, which is known exactly for a Gaussian.

    The mean is tested by Hotelling's statistic, n d^T S^-1 d ~ chi^2(5), and the covariance by the likelihood ratio
    of a Wishart matrix, n (tr R - log det R - 5) ~ chi^2(15) with R = S^-1 times the sample covariance. Each test
    would fail one correct sampler in 10,000 (the seed is fixed), and the chains are long enough for their start to be
    forgotten. The mean of the chain is that of the posterior; its covariance differs by the discretisation alone,
    which is bounded below.
    """
    sampler, covariance = SAMPLERS[name]
    count = 4000
    samples = sample(sampler, count)
    deviation = samples.mean(axis=0) - MEAN
    mean_statistic = count * deviation @ np.linalg.solve(covariance, deviation)
    assert mean_statistic < stats.chi2.ppf(1 - 1e-4, 5)
    ratio = np.linalg.solve(covariance, np.cov(samples.T))
    covariance_statistic = (count - 1) * (np.trace(ratio) - np.linalg.slogdet(ratio)[1] - 5)
    assert covariance_statistic < stats.chi2.ppf(1 - 1e-4, 15)


def test_the_stationary_covariance_is_the_posterior_up_to_the_step_size():
    posterior = np.linalg.inv(PRECISION)
    np.testing.assert_allclose(joint_truth(0.01), posterior, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(alternating_truth((0.01, 0.01), 1), posterior, rtol=2e-3, atol=1e-4)
    # The formula in the docstring.
    values, vectors = np.linalg.eigh(PRECISION)
    expected = vectors @ np.diag(1 / (values * (1 - 0.25**2 * values / 4))) @ vectors.T
    np.testing.assert_allclose(joint_truth(0.25), expected)


def test_the_test_above_tells_a_wrong_noise_apart():
    """Noise of 0.9 of its due size would fail it: the statistic's expectation lies far beyond the bound."""
    ratio = 0.9**2 * np.eye(5)
    statistic = 3999 * (np.trace(ratio) - np.linalg.slogdet(ratio)[1] - 5)
    assert statistic > 2 * stats.chi2.ppf(1 - 1e-4, 15)


@pytest.mark.parametrize("name", ["joint", "alternating"])
def test_a_chain_does_not_depend_on_its_batch(name):
    sampler = SAMPLERS[name][0]
    keys = jax.random.split(jax.random.key(3), 100)
    batched = jax.jit(jax.vmap(sampler, (None, 0)))
    hundred = jnp.concatenate(batched(START, keys), axis=1)
    ten = jnp.concatenate([jnp.concatenate(batched(START, keys[i : i + 10]), axis=1) for i in range(0, 100, 10)])
    one = jnp.concatenate([jnp.concatenate(batched(START, keys[i : i + 1]), axis=1) for i in range(0, 100, 25)])
    np.testing.assert_allclose(ten, hundred, atol=1e-4)
    np.testing.assert_allclose(one, hundred[::25], atol=1e-4)


def test_a_step_is_equation_7():
    key, z = jax.random.key(1), {"b": jnp.arange(3.0), "a": jnp.ones([2, 2])}
    moved = langevin(lambda z: -jnp.sum(z["a"] ** 3) - jnp.sum(z["b"] ** 2), z, key, num_steps=1, step_size=0.1)
    keys = jax.random.split(jax.random.fold_in(key, 0), 2)
    noise = {"a": jax.random.normal(keys[0], (2, 2)), "b": jax.random.normal(keys[1], (3,))}
    for name, gradient in {"a": -3.0 * np.ones([2, 2]), "b": -2.0 * np.arange(3)}.items():
        np.testing.assert_allclose(moved[name], z[name] + 0.005 * gradient + 0.1 * noise[name], rtol=1e-6)


def test_step_sizes_belong_to_the_branches_of_the_latents():
    """In one step, each leaf moves by its own step size; a number for a branch is that of all its leaves."""
    z = {"a": jnp.ones(2), "b": (jnp.ones(3), -jnp.ones(1))}

    def log_density(z):
        return -sum(jnp.sum(x**2) for x in jax.tree.leaves(z))

    def moved(step_size):
        return langevin(log_density, z, jax.random.key(0), num_steps=1, step_size=step_size)

    own, small, large = moved({"a": 0.1, "b": 0.3}), moved(0.1), moved(0.3)
    jax.tree.map(np.testing.assert_array_equal, own, {"a": small["a"], "b": large["b"]})


@pytest.mark.parametrize("block", [1, 3])
def test_alternating_is_langevin_on_each_conditional_in_turn(block):
    key, z = jax.random.key(2), (jnp.ones(2), -jnp.ones(3))
    found = alternating_langevin(log_density, z, key, num_steps=2, step_size=(0.1, 0.2), block=block)
    appearance, geometry = z
    for s in range(2):
        keys = [jax.random.fold_in(jax.random.fold_in(key, s), i) for i in range(2)]
        fixed = geometry
        appearance = langevin(
            lambda a, fixed=fixed: log_density((a, fixed)), appearance, keys[0], num_steps=block, step_size=0.1
        )
        fixed = appearance
        geometry = langevin(
            lambda g, fixed=fixed: log_density((fixed, g)), geometry, keys[1], num_steps=block, step_size=0.2
        )
    np.testing.assert_allclose(found[0], appearance, rtol=1e-5)
    np.testing.assert_allclose(found[1], geometry, rtol=1e-5)


@pytest.mark.parametrize("name", ["joint", "alternating"])
def test_the_mean_over_the_last_steps(name):
    sampler = {"joint": langevin, "alternating": alternating_langevin}[name]

    @partial(jax.jit, static_argnums=(0, 1))
    def run(num_steps, average_last):
        key = jax.random.key(4)
        return sampler(log_density, START, key, num_steps=num_steps, step_size=0.3, average_last=average_last)

    ends = [run(num_steps, 0) for num_steps in (4, 5, 6)]
    expected = jax.tree.map(lambda *z: np.mean(z, axis=0), *ends)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), run(6, 3), expected)


@pytest.mark.parametrize("block", [1, 3])
def test_statistics_are_those_of_the_steps_and_change_nothing(block):
    key, z = jax.random.key(5), (jnp.ones(2), -jnp.ones(3))
    joint = {"num_steps": 3, "step_size": 0.2}
    # One operation after the other: of two programs a compiler may make two roundings.
    with jax.disable_jit():
        plain = langevin(log_density, z, key, **joint)
        same, seen = langevin_with_statistics(log_density, z, key, **joint)
    jax.tree.map(np.testing.assert_array_equal, same, plain)
    assert all(value.shape == (3,) for value in seen)
    at, differentiate = z, jax.jit(jax.value_and_grad(log_density))
    for s in range(3):
        value, gradient = differentiate(at)
        norm = np.linalg.norm(np.concatenate(gradient))
        keys = jax.random.split(jax.random.fold_in(key, s), 2)
        noise = [np.asarray(jax.random.normal(k, leaf.shape)) for k, leaf in zip(keys, at, strict=True)]
        expected = [-value, norm, 0.2 * np.linalg.norm(np.concatenate(noise)), 0.02 * norm]
        np.testing.assert_allclose([value[s] for value in seen], expected, rtol=1e-4)
        at = tuple(x + 0.02 * g + 0.2 * n for x, g, n in zip(at, gradient, noise, strict=True))

    alternating = {**joint, "block": block}
    with jax.disable_jit():
        plain = alternating_langevin(log_density, z, key, **alternating)
        same, seen = alternating_langevin_with_statistics(log_density, z, key, **alternating)
    jax.tree.map(np.testing.assert_array_equal, same, plain)
    assert all(value.shape == (3, 2, block) for value in seen)
    np.testing.assert_allclose(seen.energy[0, 0, 0], -log_density(z), rtol=1e-6)
    _, gradient = differentiate(z)
    np.testing.assert_allclose(seen.gradient_norm[0, 0, 0], jnp.linalg.norm(gradient[0]), rtol=1e-5)
    np.testing.assert_allclose(seen.drift, 0.02 * seen.gradient_norm, rtol=1e-5)


def test_samples_can_be_differentiated():
    """Without curvature to speak of, each step shrinks z by 1 - step_size^2 / 2 and adds as much of the mean."""

    def final(mean):
        density = jax.checkpoint(lambda z: -0.5 * jnp.sum((z[0] - mean) ** 2) - 0.5 * jnp.sum((z[1] - mean) ** 2))
        z = (jnp.zeros(2), jnp.zeros(3))
        a, g = alternating_langevin(density, z, jax.random.key(0), num_steps=4, step_size=0.5, block=2)
        return jnp.concatenate([a, g])

    derivative = jax.jit(jax.jacrev(final))(1.5)
    np.testing.assert_allclose(derivative, 1 - (1 - 0.125) ** 8, rtol=1e-5)


def test_no_steps_change_nothing():
    z = (jnp.ones(2), -jnp.ones(3))
    for sampler in (langevin, alternating_langevin):
        moved = sampler(log_density, z, jax.random.key(0), num_steps=0, step_size=0.1)
        jax.tree.map(np.testing.assert_array_equal, moved, z)


def test_step_sizes_may_be_traced():
    def sample(size):
        return alternating_langevin(log_density, START, jax.random.key(0), num_steps=2, step_size=(size, size), block=2)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), jax.jit(sample)(0.1), sample(0.1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": -1, "step_size": 0.1}, "num_steps.*-1"),
        ({"num_steps": 1, "step_size": 0.0}, "step_size.*0"),
        ({"num_steps": 1, "step_size": float("nan")}, "step_size.*nan"),
        ({"num_steps": 1, "step_size": (0.1, -2.0)}, "step_size.*-2"),
        ({"num_steps": 1, "step_size": 0.1, "block": 0}, "block.*0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    by_parts = partial(alternating_langevin, parts=(jnp.sin, jnp.cos))
    samplers = [alternating_langevin, alternating_langevin_with_statistics, by_parts]
    if "block" not in arguments and not isinstance(arguments["step_size"], tuple):
        samplers += [langevin, langevin_with_statistics]
    for sampler in samplers:
        with pytest.raises(ValueError, match=message):
            sampler(log_density, START, jax.random.key(0), **arguments)
