"""Cost of a compiled program by XLA's own count, with all trips of its loops, and the data that devices exchange."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun


class Cost(NamedTuple):
    """Cost of one run of a program on one device.

    Attributes:
      flops: floating-point operations of any kind.
      bytes: read from and written to the device's main memory and its caches.
      seconds: the compiler's estimate; None where it has none (it has for TPUs).
    """

    flops: float
    bytes: float
    seconds: float | None

    def plus(self, times: float, other: "Cost") -> "Cost":
        """The sum of this and `times` the other; its estimate is None if either is."""
        seconds = None
        if self.seconds is not None and other.seconds is not None:
            seconds = self.seconds + times * other.seconds
        return Cost(self.flops + times * other.flops, self.bytes + times * other.bytes, seconds)


class _Loop(NamedTuple):
    body: ClosedJaxpr
    trips: int
    unrolled: int


NOTHING = Cost(0.0, 0.0, 0.0)


def compiled_cost(compiled: Any) -> Cost:
    """XLA's count for a compiled program, which has one trip of each loop, however many there are."""
    analysis = compiled.cost_analysis() or {}
    seconds = analysis.get("optimal_seconds", -1.0)
    return Cost(analysis.get("flops", 0.0), analysis.get("bytes accessed", 0.0), seconds if seconds >= 0 else None)


def loops_cost(function: Callable[..., Any], *args: Any, device: jax.Device | None = None) -> Cost:
    """The part of a function's cost that `compiled_cost` does not count: all but the first trip of every loop.

    The body of each `lax.scan` and each `lax.fori_loop` of fixed length is compiled by itself, and counted for the
    trips that are missing. What XLA moves out of a loop when it sees it whole is thereby counted in every trip; loops
    that run until something happens are left at one, and a kernel of its own says what it costs. Of code for several
    platforms, the device's is counted.

    Args:
      function: as it runs on one device, without collectives.
      *args: pytrees of arrays or of their shapes.
      device: to compile for; the default one.
    """
    return _missing(jax.make_jaxpr(function)(*args), device, {})


def _missing(jaxpr: ClosedJaxpr, device: jax.Device | None, known: dict[str, tuple[Cost, Cost]]) -> Cost:
    total = NOTHING
    for loop in _loops(jaxpr.jaxpr, jax.default_backend() if device is None else device.platform):
        name = str(loop.body)
        if name not in known:
            # What is unrolled whole is no loop any more, and has been counted where it stands.
            once = NOTHING if loop.trips == loop.unrolled else _body_cost(loop.body, device)
            known[name] = once, _missing(loop.body, device, known)
        once, inside = known[name]
        total = total.plus(loop.trips - loop.unrolled, once).plus(loop.trips, inside)
    return total


def _body_cost(body: ClosedJaxpr, device: jax.Device | None) -> Cost:
    sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding) for aval in body.in_avals]
    return compiled_cost(jax.jit(jaxpr_as_fun(body)).lower(*shapes).compile())


def _loops(jaxpr: Jaxpr, platform: str) -> Iterator[_Loop]:
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            yield _Loop(params["jaxpr"], params["length"], min(params["unroll"], params["length"]))
            continue
        if name == "pallas_call":
            continue
        if params.get("branches_platforms"):
            # None stands for all that are not named.
            chosen = (i for i, names in enumerate(params["branches_platforms"]) if names is None or platform in names)
            yield from _loops(params["branches"][next(chosen)].jaxpr, platform)
            continue
        for value in params.values():
            for inner in value if isinstance(value, Sequence) else (value,):
                if isinstance(inner, ClosedJaxpr):
                    yield from _loops(inner.jaxpr, platform)
                elif isinstance(inner, Jaxpr):
                    yield from _loops(inner, platform)


class Collective(NamedTuple):
    """One exchange between devices.

    Attributes:
      kind: as XLA calls it, "all-reduce", "all-gather" and so on.
      bytes: of its results, on each device.
      in_loop: whether it stands in the body of a loop, and so happens more than once.
    """

    kind: str
    bytes: int
    in_loop: bool


_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast|ragged-all-to-all"
_COLLECTIVE = re.compile(rf"= (\(.*?\)|\S+) ({_KINDS})(-start)?\(")
_CHAIN = re.compile(r'chain_id="(\d+)"')
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")


def collectives(program: str) -> list[Collective]:
    """The exchanges between devices in the text of a compiled program (`compiled.as_text()`)."""
    found: list[tuple[str, str, int]] = []
    calls: dict[str, set[str]] = {}
    loops: set[str] = set()
    chains: set[tuple[str, str, str]] = set()
    inside = ""
    for line in program.splitlines():
        start = _COMPUTATION.match(line)
        if start:
            inside = start[1]
            continue
        called = set(_CALLED.findall(line))
        for branches in _BRANCHES.findall(line):
            called |= {name.strip().lstrip("%") for name in branches.split(",")}
        calls.setdefault(inside, set()).update(called)
        if " while(" in line:
            loops |= called
        match = _COLLECTIVE.search(line)
        if match:
            results, kind, started = match.groups()
            # For a TPU, an exchange that goes on beside computations stands in the kernels of all of them.
            chain = _CHAIN.search(line)
            if chain:
                if (kind, results, chain[1]) in chains:
                    continue
                chains.add((kind, results, chain[1]))
            size = _bytes_of(results)
            # What starts a gather or a permutation names its operands before its results.
            if started and kind != "all-reduce":
                size = _bytes_of(_last_part(results))
            found.append((inside, kind, size))
    repeated, new = set(), loops
    while new:
        repeated |= new
        new = {name for loop in new for name in calls.get(loop, ())} - repeated
    return [Collective(kind, size, where in repeated) for where, kind, size in found]


def _bytes_of(types: str) -> int:
    total = 0.0
    for letters, bits, shape in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", types)):
        width = 8 if letters == "pred" else int(bits or 0)
        total += np.prod([int(n) for n in shape.split(",") if n], dtype=float) * width / 8
    return int(total)


def _last_part(types: str) -> str:
    """The results of `((operands), (results), ...)` or `(operand, result, ...)`."""
    nested = re.findall(r"\(([^()]*)\)", re.sub(r"\{[^}]*\}", "", types)[1:-1])
    return nested[1] if len(nested) > 1 else ", ".join(_ARRAY_TEXT.findall(types)[1:2])


_ARRAY_TEXT = re.compile(r"[a-z]+\d*\w*\[[\d,]*\]")
