"""Items read ahead, by threads and by processes: in order, with errors in their places and counts in one."""

import os
import time
from collections import Counter
from functools import partial

import pytest

from facedis_jax.data import ahead
from facedis_jax.data.ahead import ProcessReader, read_ahead
from facedis_jax.errors import InputError


def _read(counts, item):
    counts["odd" if item % 2 else "even"] += 1
    if item == 150:
        raise InputError(f"{item}.png", "an image", "noise")
    return item, os.getpid()


@pytest.fixture
def eager(monkeypatch):
    """Processes are started at the first item, on a machine of one core, too."""
    monkeypatch.setattr(ahead, "_WORTH_STARTING_S", -1.0)
    monkeypatch.setattr(ahead, "num_cores", lambda: 2)


def test_threads_keep_the_order():
    assert list(read_ahead(lambda i: i * i, range(100))) == [i * i for i in range(100)]


def test_processes_keep_order_errors_and_counts(eager):
    counts: Counter[str] = Counter()
    with ProcessReader(partial(_read, counts), total=1000, counts=counts) as reader:
        before = list(reader(range(100)))
        assert [item for item, _ in before] == list(range(100))
        # What was begun after the processes were there is read by them.
        while not all(process.is_ready for process in reader._processes):
            time.sleep(0.01)
        after = list(reader(range(100, 140), at_once=7))
        assert [item for item, _ in after] == list(range(100, 140))
        assert os.getpid() not in {process for _, process in after}
        assert counts == {"even": 70, "odd": 70}
        items = []
        with pytest.raises(InputError, match=r"150\.png: expected an image, found noise"):
            items.extend(item for item, _ in reader(range(140, 160)))
        assert items == list(range(140, 150))
        # A loop that is left, and a process that is gone, are no matter.
        assert next(reader(range(200, 300))) == (200, after[0][1])
        for process in reader._processes:
            process._process.kill()
        assert [item for item, _ in reader(range(300, 340))] == list(range(300, 340))


def test_few_items_are_read_here():
    counts: Counter[str] = Counter()
    with ProcessReader(partial(_read, counts), total=20, counts=counts) as reader:
        assert {process for _, process in reader(range(20))} == {os.getpid()}
    assert counts == {"even": 10, "odd": 10}


def test_a_loop_that_outlives_its_processes_ends_in_silence(eager):
    with ProcessReader(abs, total=1000) as reader:
        next(reader(range(1)))
        while not all(process.is_ready for process in reader._processes):
            time.sleep(0.01)
        loop = reader(range(1000), at_once=1)
        next(loop)
    loop.close()
