import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import models, train_step
from benchmarks.measurement import run_benchmark
from benchmarks.models import TrainingStep
from benchmarks.train_step import TrainStepConfig, main
from facedis_jax.learners import Learner
from facedis_jax.metrics import Average

# Of the known step: seconds that it waits, and the sizes of its products.
SECONDS, BATCH, WIDTH = 0.1, 8, 128


def known_step(batch_size, axis_name=None, compute=None):
    """A step of which operations and time are known: four products in a loop, and a wait."""

    def wait(values):
        time.sleep(SECONDS)
        return values

    def step(state, batch):
        values, _ = jax.lax.scan(lambda x, _: (x @ state, None), batch["values"], None, length=4)
        waited = jax.pure_callback(wait, jax.ShapeDtypeStruct((), values.dtype), values[0, 0])
        return state, {"loss": Average.of(values + waited)}

    learner = Learner(lambda key, batch: jnp.eye(WIDTH), step, lambda state, batch: {})
    return TrainingStep(learner, None, lambda seed: {"values": np.ones((batch_size, WIDTH), np.float32)}, None)


def test_rates_are_those_of_a_step_of_known_time_and_operations(monkeypatch):
    monkeypatch.setitem(models.STEPS, "deformable", known_step)
    monkeypatch.setattr(train_step, "matmul_rate", partial(train_step.matmul_rate, size=256))
    monkeypatch.setattr(train_step, "memory_rate", lambda: 1e9)
    config = TrainStepConfig(
        model="deformable", batch_sizes=(BATCH,), device_counts=(1, 2), repeats=3, steps_per_call=3
    )
    flops = 4 * 2 * BATCH * WIDTH**2
    for row in main(config):
        # A call is of three steps, each of which waits; how much longer they take is the machine's.
        seconds = row["step"].median_s
        assert seconds >= SECONDS
        assert row["examples_per_s"] == pytest.approx(BATCH / seconds)
        # Two devices have as many operations together as one alone.
        assert row["gflop"] == pytest.approx(flops / 1e9, rel=0.1)
        assert row["of_product_rate"] == pytest.approx(row["gflop"] / seconds / row["product_gflop_per_s"])
        # At least the matrix is read for each product; as a share of 10^9 bytes in a second.
        assert row["of_memory_rate"] > 4 * 4 * WIDTH**2 / seconds / 1e9
        assert row["first_step_s"] > SECONDS


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
