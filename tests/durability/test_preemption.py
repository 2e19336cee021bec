"""A notice to one of several processes, as a scheduler sends it before it takes a machine away."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from facedis_jax.runs.processes import commands
from tests.durability.machines import losses
from tests.durability.small_runs import SmallRun, train

pytestmark = pytest.mark.thorough

MANY = 100_000  # steps: none of these runs is to end by itself
PATIENCE = 300.0


def test_all_processes_stop_at_one_step_and_another_machine_goes_on(tmp_path):
    moved, stays = tmp_path / "moved", tmp_path / "stays"
    many = str(MANY)
    arguments = ["--model", "abp", "--workdir", str(moved), "--steps", many, "--checkpoint-every-steps", many]
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    processes = [
        subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        for command in commands("tests.durability.small_runs", arguments, 2)
    ]
    try:
        deadline = time.monotonic() + PATIENCE
        while not (moved / "metrics.jsonl").exists() or len(losses(moved, "abp")) < 3:
            assert all(process.poll() is None for process in processes)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE) for process in processes] == [128 + signal.SIGTERM] * 2
    finally:
        for process in processes:
            process.kill()
    # Step 0 was saved at the start, by both; then only where the notice came.
    step = max(int(path.name) for path in (moved / "checkpoints").iterdir())
    assert step > 0
    for workdir in (moved, stays):
        train(SmallRun(workdir, "abp", MANY, stop_after=step + 6, devices=1))
    assert len(losses(moved, "abp")) == len(losses(stays, "abp"))
    np.testing.assert_allclose(losses(moved, "abp"), losses(stays, "abp"), rtol=1e-5)
