"""The files of records that make up a prepared copy, as TFDS names and reads them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

# One record is read at a time. Compression would save a tenth or two, of noise; it took five times as long as writing,
# by one core.
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


class ShardWriter:
    """Writes the records of a copy's splits, one file after another, in any order of the splits.

    Args:
      templates: name the files of each split.
      counts: how many files each split has.
    """

    def __init__(self, templates: Mapping[str, Any], counts: Mapping[str, int]):
        self._templates = templates
        self._waiting = {
            split: [
                Path(templates[split].sharded_filepath(shard_index=i, num_shards=count)) for i in reversed(range(count))
            ]
            for split, count in counts.items()
        }
        self._lengths: dict[str, list[int]] = {split: [] for split in counts}
        self._bytes = dict.fromkeys(counts, 0)

    def write(self, split: str, records: Iterable[bytes]) -> None:
        """Writes the next file of a split.

        Raises:
          RuntimeError: it cannot be written.
        """
        path, length = self._waiting[split].pop(), 0
        writer = ArrayRecordWriter(str(path), _OPTIONS)
        for record in records:
            writer.write(record)
            length += 1
        writer.close()
        self._lengths[split].append(length)
        self._bytes[split] += path.stat().st_size

    def splits(self) -> tfds.core.SplitDict:
        """What was written, once all files are there."""
        assert not any(self._waiting.values())
        return tfds.core.SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=lengths,
                num_bytes=self._bytes[split],
                filename_template=self._templates[split],
            )
            for split, lengths in self._lengths.items()
        )
