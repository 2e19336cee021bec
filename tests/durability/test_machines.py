"""The short form of `python -m tests.durability.machines`: from four devices to two processes."""

import numpy as np
import pytest

from tests.durability.machines import HALF, WHOLE, Shape, losses, run_on
from tests.durability.small_runs import SmallRun, train

pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("keep_on_device", [False, True])
def test_a_run_of_four_devices_goes_on_in_two_processes(tmp_path, keep_on_device):
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    for workdir, devices, stop in ((whole, 1, 0), (moved, 4, HALF)):
        train(SmallRun(workdir, "abp", WHOLE, stop, devices=devices))
    run_on(Shape(2, 1), "abp", moved, keep_on_device=keep_on_device)
    assert len(losses(moved, "abp")) == (WHOLE - HALF) / 3
    np.testing.assert_allclose(losses(moved, "abp"), losses(whole, "abp"), rtol=1e-5)
