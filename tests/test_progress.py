import io

import pytest

from facedis_jax import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Time that passes by `step` seconds at every look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


def tracked(monkeypatch, *, step, items=range(4), **options):
    monkeypatch.setattr(progress, "time", Clock(step))
    file = io.StringIO()
    with progress.showing_progress(file=file, **options):
        assert list(progress.track(items, "encoding")) == list(items)
    return file.getvalue().splitlines()


def test_a_long_loop_tells_how_much_time_is_left(monkeypatch):
    # The first item is looked at after 20 s, the others every 20 s.
    assert tracked(monkeypatch, step=20.0) == ["encoding: 0 done", "encoding: 2 of 4, 0:01:00 left"]


@pytest.mark.parametrize("options", [{"step": 0.1}, {"step": 20.0, "quiet": True}])
def test_a_short_loop_and_a_quiet_run_tell_nothing(monkeypatch, options):
    assert tracked(monkeypatch, **options) == []


def test_a_loop_inside_of_another_tells_nothing(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(20.0))
    file = io.StringIO()
    with progress.showing_progress(file=file):
        for _ in progress.track(range(2), "outer"):
            assert list(progress.track(range(5), "inner")) == list(range(5))
    assert "inner" not in file.getvalue()
    assert "outer" in file.getvalue()


def test_a_loop_shows_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(3.0))
    file = Terminal()
    with progress.showing_progress(file=file):
        list(progress.track(range(6), "encoding"))
    assert "encoding" in file.getvalue()
    assert "/6" in file.getvalue()


def test_nothing_is_told_where_nobody_asked_for_it(capsys):
    assert list(progress.track(range(3), "encoding")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
