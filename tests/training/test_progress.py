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


class Clock:
    """Time that passes by `step` seconds at every look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


def tracked(monkeypatch, *, step, items=range(4), **options):
    monkeypatch.setattr(progress_module, "time", Clock(step))
    file = io.StringIO()
    with progress_module.showing_progress(file=file, **options):
        assert list(progress_module.track(items, "encoding")) == list(items)
    return file.getvalue().splitlines()


def test_a_long_loop_tells_how_much_time_is_left(monkeypatch):
    # The first item is looked at after 20 s, the others every 20 s.
    assert tracked(monkeypatch, step=20.0) == ["encoding: 0 done", "encoding: 2 of 4, 0:01:00 left"]


@pytest.mark.parametrize("options", [{"step": 0.1}, {"step": 20.0, "quiet": True}])
def test_a_short_loop_and_a_quiet_run_tell_nothing(monkeypatch, options):
    assert tracked(monkeypatch, **options) == []


def test_a_loop_inside_of_another_tells_nothing(monkeypatch):
    monkeypatch.setattr(progress_module, "time", Clock(20.0))
    file = io.StringIO()
    with progress_module.showing_progress(file=file):
        for _ in progress_module.track(range(2), "outer"):
            assert list(progress_module.track(range(5), "inner")) == list(range(5))
    assert "inner" not in file.getvalue()
    assert "outer" in file.getvalue()


def test_a_loop_shows_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(progress_module, "time", Clock(3.0))
    file = Terminal()
    with progress_module.showing_progress(file=file):
        list(progress_module.track(range(6), "encoding"))
    assert "encoding" in file.getvalue()
    assert "/6" in file.getvalue()


def test_nothing_is_told_where_nobody_asked_for_it(capsys):
    assert list(progress_module.track(range(3), "encoding")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
