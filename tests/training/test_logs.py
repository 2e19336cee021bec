import json
import sys
import types

import pytest

from facedis_jax.errors import InputError
from facedis_jax.training.logs import JsonLinesWriter, TensorBoardWriter, read_metrics


def steps(path):
    return [(line["step"], line["split"]) for line in map(json.loads, path.read_text().splitlines())]


def test_lines_hold_step_split_and_values(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write(10, "train", {"loss": 0.1, "kl_nats": float("nan")})
    # Each line is on disk as soon as it is written: a killed run loses none.
    assert path.read_text() == ('{"step": 10, "split": "train", "loss": 0.1, "kl_nats": null}\n')
    writer.write(10, "test", {"loss": 0.2})
    writer.close()
    assert read_metrics(path, "test") == [{"step": 10, "split": "test", "loss": 0.2}]
    assert read_metrics(tmp_path / "missing", "test") == []


def test_resuming_drops_what_will_be_written_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    for step in (5, 10, 15):
        writer.write(step, "train", {"loss": 1 / 3})
    writer.write(10, "test", {"loss": 1.0})
    writer.close()
    before = path.read_text().splitlines()
    path.write_text(path.read_text() + '{"step": 20, "spl')

    writer = JsonLinesWriter(path, resume_from=10)
    assert path.read_text().splitlines() == [before[0], before[1], before[3]]
    writer.write(15, "train", {"loss": 1.0})
    writer.close()
    assert steps(path) == [(5, "train"), (10, "train"), (10, "test"), (15, "train")]

    JsonLinesWriter(path, resume_from=0).close()
    assert steps(path) == []


def test_half_a_line_at_the_checkpoint_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5, "split": "train"}\n{"step": 6')
    JsonLinesWriter(path, resume_from=5).close()
    assert steps(path) == [(5, "train")]


def test_tensorboard_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"facedis-jax\[tensorboard\]"):
        TensorBoardWriter(tmp_path)


def test_tensorboard_scalars_are_named_by_split(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            calls.append((folder, purge_step))

        def add_scalar(self, *scalar):
            calls.append(scalar)

        def close(self):
            calls.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    writer = TensorBoardWriter(tmp_path, resume_from=7)
    writer.write(10, "train", {"loss": 0.5})
    writer.close()
    assert calls == [(str(tmp_path), 8), ("train/loss", 0.5, 10), "closed"]
