"""The short form of `python -m tests.durability.signals`."""

import time

import pytest

from tests.durability.signals import interrupt


def at_once(process):
    pass


def while_its_first_step_compiles(path):
    def wait(process):
        while process.poll() is None and not (path / "run/deformable/metrics.jsonl").exists():
            time.sleep(0.01)
        time.sleep(0.5)

    return wait


@pytest.mark.parametrize("when", ["at once", "while its first step compiles"])
def test_ctrl_c_ends_an_experiment_with_one_line(tmp_path, when):
    wait = at_once if when == "at once" else while_its_first_step_compiles(tmp_path)
    outcome = interrupt(tmp_path, "run", wait)
    assert (outcome.code, outcome.problem) == (130, ""), outcome
    assert outcome.seconds < 30
