import sys

import pytest

from benchmarks import scale
from benchmarks.measurement import Timing, run_benchmark
from benchmarks.programs import Collective
from benchmarks.scale import ScaleConfig, Schedule, exchange_seconds, exponent, projected, where_it_breaks

PROGRAM = """
HloModule step
ENTRY %main (p: f32[1000]) -> f32[1000] {
  %sum = f32[1000]{0} all-reduce(%p), replica_groups={}, to_apply=%add
  ROOT %all = f32[8,250]{1,0} all-gather(%q), dimensions={0}
}
"""
ROW = {"chips": 8, "batch": 512, "compiles": True, "of_hbm": 0.5, "estimated_ms": None, "at_peak_ms": 2.0}


def test_what_is_summed_goes_around_twice_and_what_is_gathered_once():
    summed, gathered = Collective("all-reduce", 6000, False), Collective("all-gather", 6000, False)
    assert exchange_seconds([summed], 4, 1000.0) == 2 * exchange_seconds([gathered], 4, 1000.0) == 9.0
    assert exchange_seconds([summed], 1, 1000.0) == 0
    assert exchange_seconds([], 4, 1000.0) == 0


def test_a_schedule_is_rounded_up_to_whole_steps():
    assert projected(Schedule(10, 3), 8, 3600.0) == {"steps": 4, "hours": 4.0}


@pytest.mark.parametrize(
    ("batch", "of_hbm", "exchange_s", "step_s", "breaks"),
    [
        (100, 0.9, 0.01, 1.0, "holds"),
        (100, None, None, None, "holds"),
        (100, 1.1, 0.01, 1.0, "memory"),
        (100, 0.9, 0.5, 1.0, "exchange: 50% of a step"),
        (1001, 1.1, 0.01, 1.0, "memory, a batch of more than all examples"),
    ],
)
def test_where_it_breaks(batch, of_hbm, exchange_s, step_s, breaks):
    assert where_it_breaks(Schedule(1000, 1), batch, of_hbm=of_hbm, exchange_s=exchange_s, step_s=step_s) == breaks


@pytest.mark.parametrize(("step_ms", "step"), [(None, 2e-3), (7.0, 7e-3)])
def test_a_row_has_its_exchange_and_its_schedule(step_ms, step):
    scaled = scale._scaled(ROW, Schedule(5120, 10), [PROGRAM], "TPU v5", step_ms)
    exchange = (2 * 4000 + 8000) * 7 / 8 / 600e9
    assert scaled["all-reduce_mb"] == 4e-3
    assert scaled["all-gather_mb"] == 8e-3
    assert scaled["exchange_ms"] == pytest.approx(1e3 * exchange)
    assert scaled["steps"] == 100
    assert scaled["hours"] == pytest.approx(100 * (step + exchange) / 3600)
    assert scaled["breaks"] == "holds"


def test_a_chip_whose_links_are_not_known_has_no_exchange():
    scaled = scale._scaled(ROW, Schedule(5120, 10), [PROGRAM], "TPU v99", None)
    assert "hours" not in scaled
    assert scaled["breaks"] == "holds"


def test_what_does_not_compile_says_why():
    row = {"compiles": False, "why": "Ran out of memory"}
    assert scale._scaled(row, Schedule(1, 1), [], "TPU v5", None) == {"breaks": "Ran out of memory"}


def test_growth_is_a_power():
    assert exponent([10, 160], [1.0, 16.0]) == pytest.approx(1)
    assert exponent([10, 160], [1.0, 1.0]) == 0
    assert exponent([10], [1.0]) is None


def test_sizes_are_timed_in_turn(monkeypatch, capsys):
    def time_in_turn(calls, *, repeats):
        return {size: Timing.of([float(size)] * repeats) for size in calls}

    monkeypatch.setattr(scale, "time_in_turn", time_in_turn)
    monkeypatch.setitem(scale.GROWN, "points", scale.Growth(3, lambda size, preset: None))
    rows = scale.main(ScaleConfig(grown=("points",), factors=(1, 4)))
    assert [(row["size"], row["times_the_first"], row["power"]) for row in rows] == [(3, 1, 1), (12, 4, 1)]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--grown", "trees"], "--grown: expected some of vertices"),
        (["--step-ms", "0"], "--step-ms: expected more than 0"),
        (["--factors", "0"], "--factors: expected 1 or more"),
        (["--batch-per-device", "0"], "--batch-per-device: expected 1 or more"),
    ],
)
def test_wrong_requests_are_one_line(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks/scale.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("scale", "", ScaleConfig(), scale.main)
    assert exit_info.value.code == 2
    assert line in capsys.readouterr().err
