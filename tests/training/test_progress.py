import io

import pytest

from facedis_jax.training import progress as progress_module
from facedis_jax.training.progress import ProgressReport


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_now_and_then(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    file = io.StringIO()
    with ProgressReport(100, step=20, file=file) as progress:
        for step in range(30, 101, 10):
            clock[0] += 10
            progress.update(step - 1)
            progress.update(step, {"loss": 1 / 3, "kl_nats [z]": 2.0})
    assert file.getvalue().splitlines() == [
        "step 50/100  1.0 steps/s  0:00:50 left  loss 0.3333  kl_nats [z] 2",
        "step 80/100  1.0 steps/s  0:00:20 left  loss 0.3333  kl_nats [z] 2",
        "step 100/100  1.0 steps/s  0:00:00 left  loss 0.3333  kl_nats [z] 2",
    ]


def test_bar_in_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    file = Terminal()
    with ProgressReport(4, file=file) as progress:
        for step in range(1, 5):
            progress.update(step)
        progress.update(4, {"loss": 0.25})
    shown = file.getvalue()
    assert "4/4" in shown
    assert "loss 0.25" in shown
    assert "steps/s" in shown


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()])
def test_quiet_says_nothing(file):
    with ProgressReport(1, quiet=True, file=file) as progress:
        progress.update(1, {"loss": 0.25})
    assert file.getvalue() == ""


def test_an_evaluation_that_takes_long_is_told_of(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    file = io.StringIO()
    with ProgressReport(100, file=file) as progress:
        for batch in range(5):
            progress.evaluated(50, batch, 5)
            clock[0] += 20
    assert file.getvalue().splitlines() == [
        "step 50/100  evaluating: batch 2 of 5",
        "step 50/100  evaluating: batch 4 of 5",
    ]
