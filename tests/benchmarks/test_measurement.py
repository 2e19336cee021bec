import json
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

from benchmarks import measurement
from benchmarks.measurement import (
    BenchmarkOptions,
    Timing,
    device_description,
    matmul_rate,
    memory_rate,
    print_table,
    run_benchmark,
    time_call,
    time_in_turn,
    write_results,
)
from facedis_jax.errors import InputError


class Clock:
    """Stands still but for what calls add to it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measurement, "time", clock)
    return clock


def test_a_timing_has_the_median_and_the_quartiles():
    assert Timing.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Timing(median_s=3.0, low_s=2.0, high_s=4.0, repeats=5)
    assert Timing(3.0, 2.0, 4.0, 5).divided_by(2) == Timing(1.5, 1.0, 2.0, 5)
    assert str(Timing(0.0123456, 0.012, 0.013, 5)) == "12.35 ms (12 to 13)"


def test_calls_take_turns_and_the_warmup_does_not_count(clock):
    order = []

    def call(name, durations):
        durations = iter(durations)

        def run():
            order.append(name)
            clock.now += next(durations)

        return run

    timings = time_in_turn({"a": call("a", [100, 1, 2, 3]), "b": call("b", [50, 6, 6, 9])}, repeats=3)
    assert "".join(order) == "abababab"
    assert timings == {"a": Timing(2.0, 1.5, 2.5, 3), "b": Timing(6.0, 6.0, 7.5, 3)}


def test_results_are_waited_for(clock):
    class Slow:
        def block_until_ready(self):
            clock.now += 7.0
            return self

    assert time_call(lambda: {"state": [Slow()]}, repeats=2, warmup=0).median_s == 7.0


def test_rates_are_of_the_fastest_call(clock, monkeypatch):
    durations = iter([0.5, 0.25, 1.0] * 2)

    def block(result):
        clock.now += next(durations)
        return result

    # The first of the three warms up.
    monkeypatch.setattr(measurement.jax, "block_until_ready", block)
    assert matmul_rate(jnp.float32, size=4, repeats=2) == 2 * 4**3 / 0.25
    assert memory_rate(megabytes=1, repeats=2) == 2 * 2**20 / 0.25


def test_the_device_is_described():
    description = device_description()
    assert description["platform"] == "cpu"
    assert description["devices"] == len(jax.devices())
    assert description["jax"] == jax.__version__
    assert description["processor"]
    assert description["cores"] >= 1


@dataclass(frozen=True)
class Config(BenchmarkOptions):
    sizes: tuple[int, ...] = (1, 2)


def test_results_say_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/geometry.py", "--sizes", "3"])
    file = tmp_path / "results.json"
    write_results(file, "geometry", Config(sizes=(3,)), [{"what": "warp", "call": Timing(1.0, 0.5, 2.0, 3)}])
    results = json.loads(file.read_text())
    assert results["command"] == "python -m benchmarks.geometry --sizes 3"
    assert results["benchmark"] == "geometry"
    assert results["config"] == {"json": None, "repeats": 5, "sizes": [3]}
    assert results["device"]["platform"] == "cpu"
    assert results["rows"] == [{"what": "warp", "call": {"median_s": 1.0, "low_s": 0.5, "high_s": 2.0, "repeats": 3}}]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    with pytest.raises(InputError, match="a file that can be written"):
        write_results(tmp_path, "geometry", Config(), [])


def test_a_table_has_every_column(capsys):
    print_table("Title", [{"one": 1.23456, "two": 123456.7}, {"one": None, "three": True}])
    shown = capsys.readouterr().out
    for text in ("Title", "one", "two", "three", "1.235", "123,457", "True", "-"):
        assert text in shown


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--repeats", "0"], "--repeats: expected 1 or more, found 0"),
        (["--json", "/no/folder/x.json"], "--json: expected a file in a folder that exists, found /no/folder/x.json"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("x", "A card.", Config(), lambda config: pytest.fail("it ran"))
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_a_benchmark_writes_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "--json", str(tmp_path / "x.json"), "--sizes", "4", "5"])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("x", "A card.", Config(), lambda config: [{"size": size} for size in config.sizes])
    assert exit_info.value.code == 0
    assert json.loads((tmp_path / "x.json").read_text())["rows"] == [{"size": 4}, {"size": 5}]
