"""The files of records that make up a prepared copy, as TFDS names and reads them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

# One record is read at a time. Compression would save a tenth or two, and make writing four to seventeen times as long.
_OPTIONS = "group_size:1,uncompressed"


class ExampleEncoder:
    """Makes records of examples: the same bytes of the same example, in whichever process.

    Args:
      features: of the examples.
    """

    def __init__(self, features: tfds.features.FeaturesDict):
        self._features, self._serializer = features, ExampleSerializer(features.get_serialized_info())

    def __call__(self, example: Mapping[str, Any]) -> bytes:
        """The record of an example."""
        record = self._serializer.get_tf_example(self._features.encode_example(example))
        return record.SerializeToString(deterministic=True)


class Written(NamedTuple):
    """How many records and bytes are in a file."""

    records: int
    size: int


def write_records(path: Path, records: Iterable[bytes]) -> Written:
    """Writes a file of records.

    Raises:
      RuntimeError: it cannot be written.
    """
    writer, length = ArrayRecordWriter(str(path), _OPTIONS), 0
    for record in records:
        writer.write(record)
        length += 1
    writer.close()
    return Written(length, path.stat().st_size)


class Shards:
    """The files of records of a copy's splits, which are written by whichever process, in any order of the splits.

    Args:
      templates: name the files of each split.
      counts: how many files each split has.
    """

    def __init__(self, templates: Mapping[str, Any], counts: Mapping[str, int]):
        self._templates, self._counts = templates, counts
        self._named = dict.fromkeys(counts, 0)
        self._written: dict[str, list[Written]] = {split: [] for split in counts}

    def next_path(self, split: str) -> Path:
        """The next file of a split, to be written by `write_records`."""
        number = self._named[split]
        self._named[split] += 1
        return Path(self._templates[split].sharded_filepath(shard_index=number, num_shards=self._counts[split]))

    def add(self, split: str, written: Written) -> None:
        """Notes what is in the next file of a split."""
        self._written[split].append(written)

    def write(self, split: str, records: Iterable[bytes]) -> None:
        """Writes the next file of a split here; raises as `write_records`."""
        self.add(split, write_records(self.next_path(split), records))

    def splits(self) -> tfds.core.SplitDict:
        """What was written, once all files are there."""
        assert {split: len(written) for split, written in self._written.items()} == self._counts
        return tfds.core.SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[file.records for file in written],
                num_bytes=sum(file.size for file in written),
                filename_template=self._templates[split],
            )
            for split, written in self._written.items()
        )
