"""The files of records: what is written comes back, is not compressed, and is the same whenever it is written."""

import hashlib

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tensorflow_datasets.core.naming import ShardedFileTemplate

from facedis_jax.data.faces.prepared import face_encoder
from facedis_jax.data.shards import Shards


@pytest.fixture
def templates(tmp_path):
    return {
        split: ShardedFileTemplate(data_dir=tmp_path, dataset_name="set", split=split, filetype_suffix="array_record")
        for split in ("train", "test")
    }


def test_files_are_written_in_any_order_of_the_splits(templates, tmp_path):
    shards = Shards(templates, {"train": 2, "test": 1})
    shards.write("train", [b"a", b"b"])
    shards.write("test", iter([b"c"]))
    with pytest.raises(AssertionError):
        shards.splits()
    shards.write("train", [b"d"])
    splits = shards.splits()
    assert {name: split.shard_lengths for name, split in splits.items()} == {"train": [2, 1], "test": [1]}
    assert splits["train"].num_bytes == sum(path.stat().st_size for path in tmp_path.glob("*train*"))
    read = ArrayRecordDataSource([str(path) for path in splits["train"].filepaths])
    assert [read[i] for i in range(3)] == [b"a", b"b", b"d"]


def test_records_are_not_compressed(templates, tmp_path):
    shards = Shards(templates, {"test": 1})
    shards.write("test", [bytes(100_000)])
    assert shards.splits()["test"].num_bytes > 100_000


def test_a_record_does_not_depend_on_the_process():
    """Fields of a record come from a map, whose order is not defined unless it is asked for."""
    face = {"vertices": np.arange(6, dtype=np.float32).reshape(2, 3), "subject": 1, "expression": 2, "level": 0.5}
    record = face_encoder()({**face, "index": 3})
    assert hashlib.sha256(record).hexdigest()[:16] == "3121e57a69dbc922"
