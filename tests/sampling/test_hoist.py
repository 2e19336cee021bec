import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from facedis_jax.sampling import hoist, separate


def primitives(jaxpr, name):
    """How many equations of that name a jaxpr holds, those within other equations included."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == name
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            count += primitives(inner, name) if hasattr(inner, "eqns") else 0
    return count


def count(function, argument, name):
    return primitives(jax.make_jaxpr(function)(argument).jaxpr, name)


def hoisted(function, argument):
    """The function with its hoisted part left out of the jaxpr: that is evaluated when the closure is made."""
    return hoist(function, jax.tree.map(jnp.zeros_like, argument))


def agree(function, *arguments):
    """One hoisted function has the values of `function` at all arguments."""
    found = jax.jit(hoisted(function, arguments[0]))
    for argument in arguments:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found(argument), function(argument)
        )


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


WEIGHTS, FIXED, MOVING = draw(0, 4, 4), draw(1, 4), draw(2, 4)


def test_what_does_not_depend_on_the_argument_is_gone_from_the_function():
    def function(x):
        return jnp.sin(FIXED) + jnp.cos(WEIGHTS @ jnp.exp(FIXED)) * jnp.cos(x)

    agree(function, MOVING)
    assert count(function, MOVING, "cos") == 2
    assert count(hoisted(function, MOVING), MOVING, "cos") == 1
    assert all(count(hoisted(function, MOVING), MOVING, name) == 0 for name in ("sin", "exp", "dot_general"))


def test_calls_are_opened():
    @jax.jit
    def inner(x, y):
        return jnp.sin(y) * x

    @jax.jit
    def outer(x, y):
        return inner(x, y) + jax.checkpoint(lambda x: jnp.exp(y) * x)(x)

    def function(x):
        return outer(x, FIXED)

    agree(function, MOVING)
    for name in ("sin", "exp"):
        assert count(function, MOVING, name) == 1
        assert count(hoisted(function, MOVING), MOVING, name) == 0


def test_derivatives_hold_no_more_than_the_moving_part():
    """A network of the constant, then a product: neither its forward pass nor its derivatives are left."""

    def function(x):
        return jnp.sum(jnp.tanh(WEIGHTS @ jnp.tanh(WEIGHTS @ FIXED)) * jnp.tanh(WEIGHTS @ x))

    gradient = jax.value_and_grad(function)
    agree(gradient, MOVING)
    assert count(gradient, MOVING, "dot_general") == 4
    assert count(hoisted(gradient, MOVING), MOVING, "dot_general") == 2
    assert count(hoisted(gradient, MOVING), MOVING, "tanh") == 1


@jax.custom_vjp
def straight_through(x, scale):
    return jnp.round(x) * scale


straight_through.defvjp(lambda x, scale: (straight_through(x, scale), scale), lambda scale, g: (g * scale, None))


def convolution(x):
    image, kernel = jnp.outer(x, x)[None, :, :, None], jnp.sin(WEIGHTS)[:3, :3, None, None]
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


FUNCTIONS = {
    "custom_jvp": lambda x: jax.nn.relu(FIXED) * jax.nn.relu(x) + jax.nn.relu(x * FIXED),
    "custom_vjp": lambda x: straight_through(x, jnp.sin(FIXED)) * straight_through(FIXED, FIXED),
    "stopped gradient": lambda x: jax.nn.relu(jax.lax.stop_gradient(x) + FIXED) * x,
    "convolution": convolution,
    "scan": lambda x: jax.lax.scan(lambda c, w: (jnp.tanh(c + w), c * w), x, WEIGHTS),
    "fixed scan": lambda x: x * jax.lax.scan(lambda c, w: (jnp.tanh(c + w), c * w), FIXED, WEIGHTS)[1],
    "while": lambda x: jax.lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * FIXED, c[1] + 1), (x, 0))[0],
    "cond": lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x * jnp.sin(FIXED)),
    "random": lambda x: x * jax.random.normal(jax.random.fold_in(jax.random.key(0), 1), x.shape),
    "constants alone": lambda x: jnp.sum(FIXED),
    "the argument itself": lambda x: x,
    "literal results": lambda x: (x, 1.0, jax.jit(lambda: 2.0)()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_the_function(name):
    function = FUNCTIONS[name]
    agree(function, MOVING, -MOVING)

    def loss(x):
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(function(x)))

    if name != "while":
        agree(jax.jit(jax.value_and_grad(loss)), MOVING, -MOVING)


def frames(carry, x):
    """One frame of a clip in which a moving and a fixed chain meet, as appearance and geometry do."""
    (moving, fixed, number), (moving_x, fixed_x) = carry, x
    moving = jnp.tanh(jnp.cos(WEIGHTS) @ moving + moving_x)
    fixed = jnp.exp(-jnp.square(WEIGHTS @ fixed)) + fixed_x
    return (moving, fixed, number + 1), (moving * fixed * number, jnp.sin(fixed))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_that_mixes_both_is_split(reverse):
    fixed_xs = draw(3, 6, 4)

    def function(x):
        start, xs = x
        return jax.lax.scan(frames, (start, FIXED, 1.0), (xs, fixed_xs), reverse=reverse)

    argument = (MOVING, draw(4, 6, 4))
    agree(function, argument)
    assert count(hoisted(function, argument), argument, "dot_general") == 1
    assert count(hoisted(function, argument), argument, "tanh") == 1
    assert all(count(hoisted(function, argument), argument, name) == 0 for name in ("exp", "sin", "cos"))

    gradient = jax.grad(lambda x: jnp.sum(function(x)[1][0]))
    agree(gradient, argument)
    # Forward and backward through the moving chain.
    assert count(hoisted(gradient, argument), argument, "dot_general") == 2


def test_a_carry_that_comes_to_depend_on_the_argument_moves():
    def function(x):
        def body(carry, _):
            a, b, c = carry
            return (x, jnp.sin(a), b + c), jnp.cos(FIXED)

        return jax.lax.scan(body, (FIXED, FIXED, FIXED), length=4)

    agree(function, MOVING)
    assert count(hoisted(function, MOVING), MOVING, "cos") == 0
    assert count(hoisted(function, MOVING), MOVING, "sin") == 1


def test_scans_within_scans_are_split():
    def function(x):
        def outer(carry, row):
            def inner(pair, w):
                moving, fixed = pair
                return (jnp.tanh(moving * row), jnp.exp(-fixed * w)), moving * jnp.sin(fixed)

            (moving, fixed), ys = jax.lax.scan(inner, carry, WEIGHTS)
            return (moving, fixed), jnp.sum(ys)

        return jax.lax.scan(outer, (x, FIXED), WEIGHTS + 1)

    agree(function, MOVING)
    assert count(hoisted(function, MOVING), MOVING, "tanh") == 1
    assert all(count(hoisted(function, MOVING), MOVING, name) == 0 for name in ("exp", "sin"))


def test_values_alike_in_all_iterations_are_not_stacked():
    def function(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(WEIGHTS) @ c, None), x, length=50)[0]

    shapes = [value.shape for value in jax.make_jaxpr(hoisted(function, MOVING))(MOVING).consts]
    assert (4, 4) in shapes
    assert not [shape for shape in shapes if 50 in shape]


def test_it_works_within_other_transformations():
    def loop(x, fixed):
        function = hoist(lambda x: jnp.sin(x * jnp.exp(fixed)), x)
        return jax.lax.fori_loop(0, 3, lambda _, x: function(x), x)

    def plain(x, fixed):
        for _ in range(3):
            x = jnp.sin(x * jnp.exp(fixed))
        return x

    xs, fixed = draw(5, 7, 4), draw(6, 7, 4)
    np.testing.assert_allclose(jax.jit(jax.vmap(loop))(xs, fixed), plain(xs, fixed), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(loop, (None, 0))(xs[0], fixed), plain(xs[0], fixed), rtol=1e-5, atol=1e-6)
    for argnum in (0, 1):
        gradients = [jax.jacrev(f, argnum)(xs[0], fixed[0]) for f in (loop, plain)]
        np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["scan", "fixed scan", "convolution", "custom_vjp"])
def test_it_works_on_shards(name):
    mesh = Mesh(jax.devices()[:2], ("data",))

    def each(x):
        return jnp.sum(hoist(jax.grad(lambda x: sum(map(jnp.sum, jax.tree.leaves(FUNCTIONS[name](x))))), x)(x))

    batch = draw(7, 2, 4)
    sharded = jax.shard_map(jax.vmap(each), mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))
    np.testing.assert_allclose(jax.jit(sharded)(batch), jax.vmap(each)(batch), rtol=1e-6)


def two_networks(x, y):
    """One network of each argument and what becomes of both, the second in chunks that are made anew backwards."""

    def chunk(carry, w):
        return carry, jax.checkpoint(lambda w: jnp.exp(jnp.sin(WEIGHTS @ (y + w))) * jnp.tanh(w * y))(w)

    _, made = jax.lax.scan(chunk, None, WEIGHTS)
    return jnp.sum(jnp.cosh(jnp.log1p(jnp.square(x))) * made), jnp.sum(jnp.exp(FIXED) * x)


@pytest.mark.parametrize("which", [0, 1])
def test_separated_parts_make_the_function(which):
    def both(x, y):
        return jax.value_and_grad(lambda pair: sum(two_networks(*pair)))((x, y))

    x, y = draw(8, 4), draw(9, 4)
    parts = separate(both, jnp.zeros(4), jnp.zeros(4))
    rest = parts.rest(lambda result: (result[0], result[1][which]))
    value, gradient = jax.jit(lambda x, y: rest(parts.first(x), parts.second(y)))(x, y)
    expected = both(x, y)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1][which], rtol=1e-5, atol=1e-6)


def test_separated_parts_hold_what_is_theirs():
    def function(x, y):
        (a, b), pull = jax.vjp(two_networks, x, y)
        return a + b, pull((1.0, 1.0))

    parts = separate(function, jnp.zeros(4), jnp.zeros(4))
    assert {name: count(parts.first, MOVING, name) for name in ("cosh", "sin", "tanh", "exp")} == {
        "cosh": 1,
        "sin": 0,
        "tanh": 0,
        "exp": 0,
    }
    second = {name: count(parts.second, MOVING, name) for name in ("cosh", "sin", "tanh", "exp")}
    # Of the chunks' forward pass alone: what is made anew backwards is not carried from one part to the other.
    assert second == {"cosh": 0, "sin": 1, "tanh": 1, "exp": 1}
    shapes = [value.shape for value in parts.second(MOVING)]
    assert all(np.prod(shape) <= 16 for shape in shapes)
    of_x, of_y = parts.first(MOVING), parts.second(MOVING)
    held = [
        count(lambda made, choose=choose: parts.rest(choose)(*made), (of_x, of_y), "sin")
        for choose in (lambda result: result[1][0], lambda result: result[1][1])
    ]
    assert held == [0, 1]
