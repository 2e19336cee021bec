"""Evaluating once what a function computes from a part of what it reads, before a loop calls it many times.

The function's jaxpr becomes a flat list of steps, which is divided into those that depend on some argument and those
that do not. XLA moves what is constant out of a loop by itself, by rules of its backends; but nothing out of a scan
that also holds something else, nor anything with an effect, and it does not know that what one iteration ends with is
what the next one begins with.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, primitives

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Calls that are opened, and the parameter that holds what they call.
_CALLS = {primitives.jit_p: "jaxpr", primitives.closed_call_p: "call_jaxpr", primitives.remat_p: "jaxpr"}
# What costs less to make anew than to read from memory, so that no loop carries a picture full of zeros.
_FREE = {primitives.broadcast_in_dim_p, primitives.iota_p}


def hoist(function: Callable[[Argument], Result], argument: Argument) -> Callable[[Argument], Result]:
    """Evaluates, here and once, all that `function` computes without its argument.

    Constant is what the function closes over: arrays, and the tracers of whatever transformation is under way
    (`jax.jit`, `jax.vmap`, `jax.grad`, an enclosing loop). To hoist from a derivative, pass the derivative: what its
    backward pass repeats is then evaluated once, too.

    Jitted and rematerialised functions are opened, but for what a backward pass makes anew, which it goes on to do. A
    `jax.lax.scan` that mixes both kinds is split in two, as are scans within it; a `jax.lax.while_loop` or
    `jax.lax.cond` that mixes them stays whole.

    Args:
      function: of one pytree of arrays, any that JAX can trace.
      argument: an example, for its structure, shapes and dtypes.

    Returns:
      The same function for arguments like the example.

    Example:
      >>> print(jax.make_jaxpr(hoist(lambda x: x * jax.numpy.sin(2.0), 1.0))(1.0))
      { lambda a:f32[]; b:f32[]. let c:f32[] = mul b a in (c,) }
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(argument)
    program = _flatten(closed)
    fixed, moving, _ = _divide(program, [True] * len(program.inputs))
    residuals = fixed.run([])

    def hoisted(argument: Argument) -> Result:
        return jax.tree.unflatten(jax.tree.structure(shapes), moving.run([*residuals, *jax.tree.leaves(argument)]))

    return hoisted


class Separated(NamedTuple):
    """A function of two arguments in three parts, see `separate`.

    Attributes:
      first: the first argument -> what the function computes from it alone, a list of arrays.
      second: likewise the second.
      rest: of a choice among the function's results, as a function of such results; gives the function of the two
        lists that makes what was chosen.
    """

    first: Callable[[Any], list[jax.Array]]
    second: Callable[[Any], list[jax.Array]]
    rest: Callable[[Callable[[Any], Any]], Callable[[list[jax.Array], list[jax.Array]], Any]]


def separate(function: Callable[[Any, Any], Any], first: Any, second: Any) -> Separated:
    """Takes apart what a function computes from its first argument alone, from its second, and from both.

    What it computes from neither is evaluated here and once, as by `hoist`, whose rules hold here too. Of a derivative,
    the forward passes of networks that read one argument each come apart from their backward passes and from what
    becomes of their results together.

    Args:
      function: of two pytrees of arrays.
      first, second: examples, for their structure, shapes and dtypes.

    Returns:
      Three parts, such that `rest(choose)(first(x), second(y))` is `choose(function(x, y))`.

    Example:
      >>> parts = separate(lambda x, y: jax.numpy.sin(x) * jax.numpy.cos(y), 1.0, 1.0)
      >>> print(jax.make_jaxpr(parts.first)(1.0))
      { lambda ; a:f32[]. let b:f32[] = sin a in (b,) }
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(first, second)
    constant, program, _ = _divide(_flatten(closed), [True] * len(closed.jaxpr.invars))
    constants = dict(zip(constant.outputs, constant.run([]), strict=True))
    num_second = len(jax.tree.leaves(second))
    moving = [False] * (len(program.inputs) - num_second) + [True] * num_second
    of_first, program, _ = _divide(program, moving)
    of_first = of_first._replace(outputs=[name for name in of_first.outputs if name not in constants])
    made = set(of_first.outputs)
    of_second, program, _ = _divide(program, [name in made for name in program.inputs])
    of_second = of_second._replace(outputs=[name for name in of_second.outputs if name not in constants])

    def run(program: _Program, names: Sequence[Hashable], values: Sequence[Any]) -> list[Any]:
        known = {**constants, **dict(zip(names, values, strict=True))}
        return program.run([known[name] for name in program.inputs])

    def alone(program: _Program, argument: Any) -> list[Any]:
        leaves = jax.tree.leaves(argument)
        return run(program, program.inputs[len(program.inputs) - len(leaves) :], leaves)

    def rest(choose: Callable[[Any], Any]) -> Callable[[list[jax.Array], list[jax.Array]], Any]:
        chosen = choose(jax.tree.unflatten(jax.tree.structure(shapes), program.outputs))
        needed = _needed(program, jax.tree.leaves(chosen))
        return lambda of_x, of_y: jax.tree.unflatten(
            jax.tree.structure(chosen), run(needed, [*of_first.outputs, *of_second.outputs], [*of_x, *of_y])
        )

    return Separated(functools.partial(alone, of_first), functools.partial(alone, of_second), rest)


class _Step(NamedTuple):
    """One evaluation: names of what it reads and makes; the scan that it is, if it is one.

    What is `free` costs less to make anew than to keep; what has effects is never left out.
    """

    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]
    run: Callable[[list[Any]], Sequence[Any]]
    scan: "_Scan | None" = None
    free: bool = False
    effects: bool = False


class _Program(NamedTuple):
    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]
    steps: Sequence[_Step]

    def run(self, values: Sequence[Any]) -> list[Any]:
        named = dict(zip(self.inputs, values, strict=True))
        for step in self.steps:
            named.update(zip(step.outputs, step.run([named[name] for name in step.inputs]), strict=True))
        return [named[name] for name in self.outputs]


class _Scan(NamedTuple):
    """A `jax.lax.scan`, whose body makes of constants, a carry and slices another carry and other slices."""

    body: _Program
    num_consts: int
    num_carry: int
    options: Mapping[str, Any]

    def run(self, values: Sequence[Any]) -> Sequence[Any]:
        consts, init, xs = self.by_kind(values)

        def iterate(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
            outputs = self.body.run([*consts, *carry, *x])
            return outputs[: self.num_carry], outputs[self.num_carry :]

        final, ys = jax.lax.scan(iterate, list(init), list(xs), **self.options)
        return [*final, *ys]

    def by_kind(self, inputs: Sequence[Any]) -> list[Sequence[Any]]:
        """Constants, the carry, and what is sliced."""
        consts, others = inputs[: self.num_consts], inputs[self.num_consts :]
        return [consts, others[: self.num_carry], others[self.num_carry :]]


def _flatten(closed: ClosedJaxpr) -> _Program:
    """The jaxpr as a program of fresh names, with its calls opened."""
    steps: list[_Step] = []

    def constant(value: Any, *, free: bool = False) -> Hashable:
        name = object()
        steps.append(_Step((), (name,), lambda _: (value,), free=free))
        return name

    def flatten(jaxpr: Jaxpr, inputs: Sequence[Hashable]) -> list[Hashable]:
        names: dict[Var, Hashable] = dict(zip([*jaxpr.constvars, *jaxpr.invars], inputs, strict=True))

        def name(atom: Var | Literal) -> Hashable:
            return constant(atom.val, free=True) if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            if equation.primitive in _CALLS and not equation.params.get("differentiated"):
                called = equation.params[_CALLS[equation.primitive]]
                arguments = [name(atom) for atom in equation.invars]
                if isinstance(called, ClosedJaxpr):
                    called, arguments = called.jaxpr, [*map(constant, called.consts), *arguments]
                outputs = flatten(called, arguments)
            else:
                outputs = [object() for _ in equation.outvars]
                alone = jaxpr.replace(
                    constvars=[],
                    invars=[atom for atom in equation.invars if isinstance(atom, Var)],
                    outvars=equation.outvars,
                    eqns=[equation],
                    debug_info=jaxpr.debug_info.with_unknown_names(),
                )
                inputs = [name(atom) for atom in equation.invars]
                scan = _scan_of(equation) if equation.primitive is primitives.scan_p else None
                free = equation.primitive in _FREE
                run = functools.partial(_evaluate, alone)
                steps.append(_Step(inputs, outputs, run, scan, free, bool(equation.effects)))
            names.update(zip(equation.outvars, outputs, strict=True))
        return [name(atom) for atom in jaxpr.outvars]

    inputs = [object() for _ in closed.jaxpr.invars]
    outputs = flatten(closed.jaxpr, [*map(constant, closed.consts), *inputs])
    return _Program(inputs, outputs, steps)


def _scan_of(equation: JaxprEqn) -> _Scan:
    options = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    body = equation.params["jaxpr"]

    def num_sliced(outside: Sequence[Any], inside: Sequence[Any]) -> int:
        # Parameters that would say so are not the same in all versions of jax; slices have an axis less.
        return sum(atom.aval.ndim > aval.ndim for atom, aval in zip(outside, inside, strict=True))

    num_carry = len(equation.outvars) - num_sliced(equation.outvars, body.out_avals)
    num_consts = len(equation.invars) - num_sliced(equation.invars, body.in_avals) - num_carry
    return _Scan(_flatten(body), num_consts, num_carry, options)


def _evaluate(alone: Jaxpr, values: Sequence[Any]) -> list[Any]:
    variables = [value for value, atom in zip(values, alone.eqns[0].invars, strict=True) if isinstance(atom, Var)]
    return jax.core.eval_jaxpr(alone, [], *variables)


def _divide(
    program: _Program, moving: Sequence[bool], *, split_scans: bool = True
) -> tuple[_Program, _Program, list[bool]]:
    """Divides a program into what depends on none of the inputs marked as moving, and the rest.

    The first reads the other inputs; its outputs, and then the moving inputs, are the inputs of the second, whose
    outputs are those of the whole. Third comes whether each of these outputs depends on a moving input.
    """
    kept, moved = _still(program.inputs, moving), _moving(program.inputs, moving)
    touched = set(moved)
    fixed: list[_Step] = []
    rest: list[_Step] = []
    for step in program.steps:
        for part in _split_scan(step, touched) if split_scans else [step]:
            if touched.isdisjoint(part.inputs):
                fixed.append(part)
            else:
                rest.append(part)
                touched.update(part.outputs)
    made_by = {name: step for step in fixed if step.free for name in step.outputs}
    again: dict[Hashable, _Step] = {}
    residuals: dict[Hashable, None] = {}

    def need(name: Hashable) -> None:
        if name in made_by:
            for read in made_by[name].inputs:
                need(read)
            again.setdefault(name, made_by[name])
        elif name not in touched:
            residuals.setdefault(name)

    for name in itertools.chain(*(step.inputs for step in rest), program.outputs):
        need(name)
    return (
        _Program(kept, list(residuals), fixed),
        _Program([*residuals, *moved], program.outputs, [*again.values(), *rest]),
        [name in touched for name in program.outputs],
    )


def _split_scan(step: _Step, touched: set[Hashable]) -> list[_Step]:
    """A scan that reads fixed and moving values as three steps: what is fixed and alike in all iterations, a scan of
    what else is fixed, and a scan of the rest. Any other step as it is."""
    if step.scan is None or touched.isdisjoint(step.inputs):
        return [step]
    body, _, num_carry, options = step.scan
    consts, init, xs = step.scan.by_kind(step.inputs)
    body_consts, body_init, body_xs = step.scan.by_kind(body.inputs)
    consts_move, carry_moves, xs_move = ([name in touched for name in names] for names in (consts, init, xs))
    # A carry moves as soon as its update does, which may in turn depend on other carries.
    while True:
        outputs_move = _divide(body, [*consts_move, *carry_moves, *xs_move])[2]
        updated = [before or after for before, after in zip(carry_moves, outputs_move[:num_carry], strict=True)]
        if updated == carry_moves:
            break
        carry_moves = updated
    ys_move = outputs_move[num_carry:]

    # Scans within stay whole here: they are split below, when what else is fixed is known.
    alike, body, _ = _divide(body, [*consts_move, *[True] * (num_carry + len(xs))], split_scans=False)
    fixed, rest, _ = _divide(body, [*[False] * len(alike.outputs), *[True] * sum(consts_move), *carry_moves, *xs_move])
    body_carry, body_ys = body.outputs[:num_carry], body.outputs[num_carry:]
    final, ys = step.outputs[:num_carry], step.outputs[num_carry:]

    # What the rest reads of the fixed part: values alike in all iterations, slices of inputs, or what the first scan
    # makes and stacks. `outside` has the names that these go by outside the body.
    moving_outputs = [*_moving(body_carry, carry_moves), *_moving(body_ys, ys_move)]
    reads = {name for part in rest.steps for name in part.inputs} | set(moving_outputs)
    outside = dict(zip([*body_consts, *body_xs], [*consts, *xs], strict=True))
    made = [name for name in alike.outputs if name not in outside]
    outside.update((name, object()) for name in made)
    slices = _still(body_xs, xs_move)
    shared = [name for name in alike.outputs if name in reads]
    sliced = [name for name in slices if name in reads]
    stacked = [name for name in fixed.outputs if name in reads and name not in {*alike.outputs, *slices}]
    outside.update((name, object()) for name in stacked)

    fixed_program = _Program(
        fixed.inputs, [*_still(body_carry, carry_moves), *_still(body_ys, ys_move), *stacked], fixed.steps
    )
    rest_consts = [*shared, *_moving(body_consts, consts_move)]
    rest_xs = [*stacked, *sliced, *_moving(body_xs, xs_move)]
    rest_program = _Program([*rest_consts, *_moving(body_init, carry_moves), *rest_xs], moving_outputs, rest.steps)
    fixed_scan = _Scan(fixed_program, len(alike.outputs), carry_moves.count(False), options)
    rest_scan = _Scan(rest_program, len(rest_consts), sum(carry_moves), options)
    return [
        _Step(
            _still(consts, consts_move),
            [outside[name] for name in made],
            alike._replace(outputs=made).run,
            effects=step.effects,
        ),
        _Step(
            [*(outside[name] for name in alike.outputs), *_still(init, carry_moves), *_still(xs, xs_move)],
            [*_still(final, carry_moves), *_still(ys, ys_move), *(outside[name] for name in stacked)],
            fixed_scan.run,
            fixed_scan,
            effects=step.effects,
        ),
        _Step(
            [*(outside[n] for n in rest_consts), *_moving(init, carry_moves), *(outside[n] for n in rest_xs)],
            [*_moving(final, carry_moves), *_moving(ys, ys_move)],
            rest_scan.run,
            rest_scan,
            effects=step.effects,
        ),
    ]


def _needed(program: _Program, outputs: Sequence[Hashable]) -> _Program:
    """The program with other outputs, among its names, and without what these do not need."""
    steps: list[_Step] = []
    names = set(outputs)
    for step in reversed(program.steps):
        if step.effects or not names.isdisjoint(step.outputs):
            steps.append(step)
            names.update(step.inputs)
    return _Program([name for name in program.inputs if name in names], outputs, steps[::-1])


def _moving(names: Sequence[Hashable], moves: Sequence[bool]) -> list[Hashable]:
    return [name for name, move in zip(names, moves, strict=True) if move]


def _still(names: Sequence[Hashable], moves: Sequence[bool]) -> list[Hashable]:
    return [name for name, move in zip(names, moves, strict=True) if not move]
