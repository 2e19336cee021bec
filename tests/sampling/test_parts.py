"""A density that names its parts is sampled as in the plain form, and no part is evaluated more often than needed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from facedis_jax.losses import log_joint
from facedis_jax.sampling import alternating_langevin, alternating_langevin_with_statistics

rng = np.random.default_rng(0)
WEIGHTS, MORE = (jnp.asarray(rng.normal(size=(4, 4)), jnp.float32) for _ in range(2))
IMAGE = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)


def network(z):
    return jnp.tanh(WEIGHTS @ jnp.tanh(MORE @ z))


def chunks_made_anew(z):
    """Three rows, each made by itself and made anew in the backward pass, as the frames of a long clip are."""

    def chunk(carry, row):
        return carry, jax.checkpoint(lambda row: jnp.sin(WEIGHTS @ (z * row)))(row)

    return jax.lax.scan(chunk, None, MORE[:3])[1]


def recurrent(z):
    return jax.lax.scan(lambda state, x: (jnp.tanh(WEIGHTS @ state + x), state), z["first"], z["noise"])[1]


@jax.custom_vjp
def straight_through(x):
    return jnp.round(4 * x) / 4


straight_through.defvjp(lambda x: (straight_through(x), None), lambda _, g: (g,))

VECTOR = jnp.array([0.5, -1.0, 0.2, 0.9])
# Each part with latents for it, that give three rows or one of them.
PARTS = {
    "a network": (network, VECTOR),
    "chunks": (chunks_made_anew, VECTOR),
    "a trajectory": (recurrent, {"first": VECTOR, "noise": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)}),
    "a trajectory at rest": (lambda z: network(z["first"]), {"first": VECTOR, "noise": None}),
    "a gradient of its own": (lambda z: straight_through(z), VECTOR),
    "nothing of its latents": (lambda z: jnp.ones(4), VECTOR),
    "the latents": (lambda z: z, VECTOR),
}


def product_density(z, made):
    return log_joint(IMAGE, jnp.broadcast_to(made[0] * made[1], IMAGE.shape), z, sigma=0.5)


def plain(density, parts):
    return lambda z: density(z, (parts[0](z[0]), parts[1](z[1])))


def close(found, expected, tolerance=1e-5):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), found, expected)


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize(
    "names",
    [
        ("a network", "chunks"),
        ("chunks", "a trajectory"),
        ("a trajectory", "a trajectory at rest"),
        ("a trajectory at rest", "a gradient of its own"),
        ("nothing of its latents", "a network"),
        ("the latents", "a trajectory"),
    ],
    ids=" and ".join,
)
def test_chains_are_those_of_the_plain_form(names, block):
    parts, z = zip(*(PARTS[name] for name in names), strict=True)
    arguments = {"num_steps": 4, "step_size": (0.1, 0.2), "block": block}
    sample = partial(alternating_langevin_with_statistics, z=z, key=jax.random.key(1), **arguments)
    found, statistics = jax.jit(lambda: sample(product_density, parts=parts))()
    expected, expected_statistics = jax.jit(lambda: sample(plain(product_density, parts)))()
    close(found, expected)
    close(statistics, expected_statistics, 1e-4)
    assert statistics.energy.shape == (4, 2, block)
    moved = jax.tree.map(lambda before, after: np.abs(before - after).max(), z, found)
    assert min(jax.tree.leaves(moved)) > 0.01


def test_chains_in_float64_are_those_of_the_plain_form_to_its_last_digits():
    with jax.enable_x64(True):
        parts, z = (network, chunks_made_anew), jax.tree.map(np.float64, (VECTOR, -VECTOR))
        sample = partial(alternating_langevin, z=z, key=jax.random.key(2), num_steps=20, step_size=0.1, block=2)
        found = jax.jit(lambda: sample(product_density, parts=parts))()
        close(found, jax.jit(lambda: sample(plain(product_density, parts)))(), 1e-12)
        assert all(x.dtype == np.float64 for x in found)


def test_a_part_may_make_several_arrays_and_the_density_read_the_latents_themselves():
    def both(z):
        return {"sine": jnp.sin(WEIGHTS @ z), "cosine": (jnp.cos(z), None)}

    def density(z, made):
        return jnp.sum(made[0]["sine"] * made[1]["cosine"][0] * z[0] * z[1]) - jnp.sum(made[0]["cosine"][0] ** 2)

    sample = partial(alternating_langevin, z=(VECTOR, -VECTOR), key=jax.random.key(3), num_steps=5, step_size=0.2)
    close(sample(density, parts=(both, both)), sample(plain(density, (both, both))))


def test_the_mean_over_the_last_sweeps_is_that_of_the_plain_form():
    parts = (network, network)
    arguments = {"z": (VECTOR, -VECTOR), "key": jax.random.key(4), "num_steps": 6, "step_size": 0.2}
    found = alternating_langevin(product_density, parts=parts, average_last=3, **arguments)
    close(found, alternating_langevin(plain(product_density, parts), average_last=3, **arguments))


def test_batches_of_latents_and_of_parameters_are_those_one_by_one():
    def sample(weights, z, key):
        parts = (lambda z: jnp.tanh(weights @ z), network)
        return alternating_langevin(product_density, (z, -z), key, num_steps=3, step_size=0.2, block=2, parts=parts)

    keys = jax.random.split(jax.random.key(5), 3)
    weights, z = jnp.stack([WEIGHTS, MORE, -MORE]), jnp.stack([VECTOR, 2 * VECTOR, -VECTOR])
    together = jax.jit(jax.vmap(sample))(weights, z, keys)
    one_by_one = [jax.jit(sample)(*arguments) for arguments in zip(weights, z, keys, strict=True)]
    close(together, jax.tree.map(lambda *x: jnp.stack(x), *one_by_one))
    shared = jax.jit(jax.vmap(sample, (None, 0, 0)))(weights[0], z, keys)
    close(jax.tree.map(lambda x: x[0], shared), one_by_one[0])


def test_it_works_on_shards():
    mesh = Mesh(jax.devices()[:2], ("data",))

    def sample(z, key):
        arguments = {"num_steps": 3, "step_size": 0.2, "block": 2, "parts": (network, chunks_made_anew)}
        return alternating_langevin(product_density, (z, -z), key, **arguments)

    z, keys = jnp.stack([VECTOR, 2 * VECTOR]), jax.random.split(jax.random.key(6), 2)
    spec = PartitionSpec("data")
    sharded = jax.shard_map(jax.vmap(sample), mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    close(jax.jit(sharded)(z, keys), jax.jit(jax.vmap(sample))(z, keys))


def test_samples_can_be_differentiated_with_respect_to_what_a_part_closes_over():
    def final(scale, *, by_parts):
        parts = (lambda z: jnp.tanh(scale * z), network)
        arguments = {"num_steps": 3, "step_size": 0.3, "block": 2}
        chosen = {"parts": parts} if by_parts else {}
        density = product_density if by_parts else plain(product_density, parts)
        return jnp.concatenate(
            alternating_langevin(density, (VECTOR, -VECTOR), jax.random.key(7), **arguments, **chosen)
        )

    found, expected = (jax.jit(jax.jacrev(partial(final, by_parts=by_parts)))(1.5) for by_parts in (True, False))
    close(found, expected, 1e-4)
    assert np.abs(found).max() > 0.01


def test_parts_are_traced_once_however_many_steps_there_are():
    traced = {"first": 0, "second": 0}

    def counted(name, function):
        def part(z):
            traced[name] += 1
            return function(z)

        return part

    parts = (counted("first", jnp.sin), counted("second", jnp.cos))

    def density(z, made):
        return -jnp.square(made[0] * made[1] - 0.5)

    # Python numbers at the start, arrays of a type of their own after a step.
    arguments = {"num_steps": 3, "step_size": 0.1, "block": 4, "parts": parts}
    jax.jit(lambda key: alternating_langevin(density, (1.0, 2.0), key, **arguments))(jax.random.key(0))
    assert traced == {"first": 1, "second": 1}


def counting(value, counts, name):
    """`value`, and one more in `counts[name]` each time that it is computed: an effect, which XLA leaves in place."""

    def called(_):
        counts[name] += 1

    jax.debug.callback(called, value)
    return value


@pytest.mark.parametrize("block", [1, 5])
def test_parts_are_evaluated_once_after_each_step_of_their_latents_and_not_while_the_others_move(block):
    counts = {"first": 0, "second": 0}

    def make(name, weights):
        @jax.custom_jvp
        def generate(z):
            return counting(jnp.tanh(weights @ z), counts, name)

        @generate.defjvp
        def _(primals, tangents):
            out = generate(*primals)
            return out, (1 - out**2) * (weights @ tangents[0])

        return generate

    parts = (make("first", WEIGHTS), make("second", MORE))
    arguments = {"num_steps": 3, "step_size": 0.1, "block": block, "parts": parts}
    run = jax.jit(lambda key: alternating_langevin(product_density, (VECTOR, -VECTOR), key, **arguments))
    run(jax.random.key(0))
    jax.effects_barrier()
    # At the start, and after each step of each sweep; the second's at the very end serves no other step.
    assert counts == {"first": 1 + 3 * block, "second": 3 * block}


def loops(jaxpr):
    """Bodies of the innermost scans, in order."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"].jaxpr
            yield from list(loops(body)) or [body]


def count(jaxpr, name):
    """How many equations of that name a jaxpr holds, those within calls included."""
    found = 0
    for equation in jaxpr.eqns:
        found += equation.primitive.name == name
        inner = [getattr(p, "jaxpr", p) for p in equation.params.values()]
        found += sum(count(p, name) for p in inner if hasattr(p, "eqns"))
    return found


@pytest.mark.parametrize(("block", "convolutions"), [(1, [6 + 4]), (3, [6, 4])])
def test_the_loops_hold_one_forward_and_one_backward_pass_of_each_step(block, convolutions):
    """Of generators of three and of two convolutions; steps that are alone in their block have no loop."""

    def generator(z, weights):
        image = jnp.tanh(z).reshape(1, 4, 4, 1)
        for kernel in weights:
            convolve = jax.lax.conv_general_dilated
            image = jax.nn.relu(convolve(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        return image[0]

    kernels = jnp.asarray(rng.normal(size=(3, 3, 3, 1, 1)), jnp.float32)
    parts = (lambda z: generator(z, kernels), lambda z: generator(z, kernels[:2]))

    def density(z, made):
        return log_joint(jnp.ones([4, 4, 1]), made[0] * made[1], z)

    arguments = {"num_steps": 2, "step_size": 0.1, "block": block, "parts": parts}
    traced = jax.make_jaxpr(lambda k: alternating_langevin(density, (jnp.ones(16), jnp.ones(16)), k, **arguments))
    bodies = list(loops(traced(jax.random.key(0)).jaxpr))
    assert [count(body, "conv_general_dilated") for body in bodies] == convolutions
