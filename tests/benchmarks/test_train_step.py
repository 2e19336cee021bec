import sys

import jax
import pytest

from benchmarks import train_step
from benchmarks.measurement import Timing, run_benchmark
from benchmarks.programs import Cost
from benchmarks.train_step import TrainStepConfig, main

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Still:
    """A step that does nothing, at a known cost."""

    first_s = 9.0

    def __init__(self, step, num_devices, **options):
        self.batch = step.make_batch(0)

    def __call__(self):
        return {"loss": 0.0}

    def cost(self):
        return Cost(1e9, 2e8, None)


def test_rows_follow_from_what_was_measured(small_steps, monkeypatch):
    seconds = {"1": 0.5, "2": 0.25}

    def timed(calls, repeats):
        assert list(calls) == ["1", "2"]
        assert all(call() == {"loss": 0.0} for call in calls.values())
        return {name: Timing(2 * seconds[name], seconds[name], 3 * seconds[name], repeats) for name in calls}

    monkeypatch.setattr(train_step, "RunningStep", Still)
    monkeypatch.setattr(train_step, "time_in_turn", timed)
    monkeypatch.setattr(train_step, "loops_cost", lambda *args: Cost(5e8, 1e8, None))
    monkeypatch.setattr(train_step, "matmul_rate", lambda: 4e9)
    monkeypatch.setattr(train_step, "memory_rate", lambda: 2e9)
    config = TrainStepConfig(batch_sizes=(4,), device_counts=(1, 2), repeats=3, steps_per_call=2)
    alone, shared = main(config)
    assert alone["examples_per_s"] == 4 / 0.5
    assert shared["examples_per_s"] == 4 / 0.25
    assert alone["step"] == Timing(0.5, 0.25, 0.75, 3)
    # The loops were counted for the whole batch, the rest for each device.
    assert alone["gflop"] == pytest.approx(1.5)
    assert shared["gflop"] == pytest.approx(2.5)
    assert alone["of_product_rate"] == pytest.approx(1.5e9 / 0.5 / 4e9)
    assert alone["of_memory_rate"] == pytest.approx(3e8 / 0.5 / 2e9)
    # Virtual devices share one processor.
    assert shared["of_product_rate"] == pytest.approx(2.5e9 / 0.25 / 4e9)
    assert shared["first_step_s"] == 9.0


@pytest.mark.parametrize("keep_on_device", [False, True])
def test_a_step_runs_and_knows_its_cost(small_steps, keep_on_device):
    running = train_step.RunningStep(small_steps["ib_vae"](4), 2, keep_on_device=keep_on_device)
    first = running()
    assert {"loss", "reconstruction_mm"} <= set(first)
    assert float(running()["loss"].sum) != float(first["loss"].sum)
    assert running.cost().flops > 1e4
    assert running.first_s > 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--device-counts", "1", "99"], f"--device-counts: expected 1 to {jax.device_count()}, the devices that"),
        (["--device-counts", "2", "--batch-sizes", "3"], "--batch-sizes: expected a positive multiple of the number"),
        (["--steps-per-call", "0"], "--steps-per-call: expected 1 or more, found 0"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks/train_step.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        run_benchmark("train_step", "", TrainStepConfig(), main)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1
