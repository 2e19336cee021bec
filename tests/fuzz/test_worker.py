"""What is fed to readers is judged: a reader that fails in any way is told from one that refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from facedis_jax.commands import keep_freed_memory
from facedis_jax.errors import InputError
from tests.fuzz.measure import give_memory_back_at_once, memory_share, most_seconds
from tests.fuzz.mutations import mutate, mutate_gzip, mutate_json, mutate_png, mutate_zip
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.worker import Feeder

_ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def memory_given_back():
    """As in the processes that feed readers: what is taken counts, though as much was freed before."""
    give_memory_back_at_once()
    yield
    keep_freed_memory()


def _feeder(folder, read, names=("a.txt",)):
    def seeds(place):
        for name in names:
            (place / name).write_bytes(name.encode())
        return [(name, name.encode()) for name in names]

    return Feeder(Reader("made up", seeds, read), folder)


def _raise(error):
    raise error


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of memory")
@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda folder, name: (folder / name).read_text(), "read"),
        (lambda folder, name: _raise(InputError(name, "one thing", "another\nthing")), "refused"),
        (lambda folder, name: _raise(InputError(name, "one thing", "\x1b[2J")), "refused"),
        (lambda folder, name: _raise(InputError(name, "one thing", "a" * 9000)), "failed: a refusal"),
        (lambda folder, name: int("a"), "failed: ValueError at test_worker.py"),
        (lambda folder, name: _raise(RecursionError()), "failed: RecursionError"),
        (lambda folder, name: bytearray(90 << 20), "failed: too much memory"),
    ],
)
def test_every_kind_of_failure_is_recorded(tmp_path, read, outcome):
    assert _feeder(tmp_path, read).feed(b"\0abc")["outcome"].startswith(outcome)


def test_what_is_written_to_standard_error_is_seen(tmp_path):
    def read(folder, name):
        os.write(2, b"from a library")

    with (tmp_path / "stderr").open("wb") as errors:
        kept = os.dup(2)
        os.dup2(errors.fileno(), 2)
        try:
            outcome = _feeder(tmp_path, read).feed(b"\0abc")["outcome"]
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    assert outcome == "failed: writes to standard error"


def test_one_of_several_files_is_replaced_and_restored(tmp_path):
    seen = []

    def read(folder, name):
        seen.append({path.name: path.read_bytes() for path in folder.iterdir()})

    feeder = _feeder(tmp_path, read, ("a", "b"))
    feeder.feed(b"\1x")
    feeder.feed(b"\2y")
    assert seen == [{"a": b"a", "b": b"x"}, {"a": b"y", "b": b"b"}]


def test_allowances_grow_with_the_file():
    assert memory_share(64 << 20, 0) == 1
    assert memory_share(74 << 20, 1 << 20) == 1
    assert (most_seconds(0), most_seconds(8 << 20)) == (2, 8)


@pytest.mark.parametrize("change", [mutate, mutate_gzip, mutate_json, mutate_png, mutate_zip])
def test_changes_follow_from_their_numbers_alone(tmp_path, change):
    kind = {mutate_gzip: "idx", mutate_json: "config", mutate_png: "image", mutate_zip: "face_model"}.get(change, "ply")
    seeds = [content for _, content in READERS[kind].seeds(tmp_path)]
    changed = [[change(Random(i), seed) for i in range(20)] for seed in seeds]
    assert len({data for each in changed for data in each}) > 10
    assert changed == [[change(Random(i), seed) for i in range(20)] for seed in seeds]


def _run(*arguments):
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_a_table_of_results(tmp_path):
    results = tmp_path / "results.json"
    options = ("--engine", "mutation", "--failures", str(tmp_path / "failures"), "--results", str(results))
    done = _run("--reader", "vertex_list", "--count", "60", *options)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(results.read_text())["readers"]
    assert (row["reader"], row["inputs"], row["failures"]) == ("vertex_list", 60, {})
    assert 0 < row["refused"] < 60
    assert not (tmp_path / "failures").exists()


@pytest.mark.parametrize("arguments", [("--reader", "stl"), ("--repeat", "nowhere-0123")])
def test_unknown_readers_and_inputs_are_refused_in_one_line(arguments):
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
