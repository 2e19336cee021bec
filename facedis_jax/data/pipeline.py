"""Batches of examples, made with Grain: shuffled, sharded by process, resumable."""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from facedis_jax.data.sources import Source
from facedis_jax.errors import InputError

# Batches that each thread reads ahead: enough to hide a slow read, in little memory.
_AHEAD = 2


def train_batches(
    source: Source[Any],
    neutrals: np.ndarray | None = None,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 0,
) -> grain.IterDataset:
    """An endless stream of shuffled batches; every epoch has an order of its own and uses each example once.

    All processes share one shuffled stream, of which step k takes the examples k * batch_size to (k + 1) * batch_size.
    So no two processes see the same example within an epoch, none is skipped, and the examples of a step do not depend
    on the number of processes. A batch may reach over the end of an epoch. The iterator's `get_state` and `set_state`
    continue exactly, also under another number of processes or threads.

    Args:
      source: faces, images or clips to train on.
      neutrals: [subjects, vertices, 3] float32, mm, for faces, which get that of their subject.
      batch_size: examples of a step, over all processes.
      seed: of the shuffling.
      process_index, process_count: which share of each batch this process reads.
      num_threads: threads that read batches ahead; 0 reads them when they are asked for.

    Returns:
      Batches of `batch_size / process_count` examples: the fields of a `Face` with `neutral`, of an `Image` or of a
      `Clip`, each stacked along a first axis.

    Raises:
      InputError: where the batch is larger than the source or the processes do not divide it.
    """
    _check_batch(batch_size, len(source), process_count)
    stream = _endless(grain.MapDataset.source(source), seed)
    examples = stream.map(lambda example: _with_neutral(example, neutrals))
    batches = _process_batches(examples, batch_size, process_index, process_count)
    return batches.to_iter_dataset(_read_options(num_threads))


def index_batches(
    num_examples: int, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.IterDataset:
    """The batches of `train_batches` as indices of their examples, for steps that take these from a `DeviceDataset`.

    Args:
      num_examples: of the source.
      batch_size, seed, process_index, process_count: as of `train_batches`; a state of its iterator fits here, and one
        of this iterator there.

    Returns:
      Batches {"index": [batch_size / process_count] int32} of indices into the source.

    Raises:
      InputError: as `train_batches`.
    """
    _check_batch(batch_size, num_examples, process_count)
    stream = _endless(grain.MapDataset.range(num_examples), seed)
    batches = _process_batches(stream, batch_size, process_index, process_count)
    return batches.map(lambda indices: {"index": indices.astype(np.int32)}).to_iter_dataset(_read_options(0))


def evaluation_batches(
    source: Source[Any],
    neutrals: np.ndarray | None = None,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 0,
) -> "EvaluationBatches":
    """Batches of one size that hold every example once, in order.

    Args:
      source: faces, images or clips to evaluate.
      neutrals: as of `train_batches`.
      batch_size: examples of a batch, over all processes.
      process_index, process_count: which share of each batch this process reads.
      num_threads: threads that read batches ahead; 0 reads them when they are asked for.

    Returns:
      Batches as of `train_batches`, with `mask` [batch] float32: 1 for an example, 0 for padding, the repeats of the
      last example that fill up the last batch.

    Raises:
      InputError: where the source is empty or the batch is, or the processes do not divide the batch.
    """
    if not len(source):
        raise InputError("examples to evaluate", "one or more", "none")
    if batch_size < 1:
        raise InputError("batch_size", "1 or more", f"{batch_size}")
    _check_processes(batch_size, process_count)
    last = len(source) - 1

    def element(index: int) -> dict[str, Any]:
        return _with_neutral(source[min(index, last)], neutrals) | {"mask": np.float32(index <= last)}

    num_elements = -(-len(source) // batch_size) * batch_size
    batches = grain.MapDataset.range(num_elements).map(element).batch(batch_size // process_count)
    return EvaluationBatches(batches[process_index::process_count], num_threads)


class EvaluationBatches:
    """Batches whose number is known, to be iterated any number of times.

    Args:
      batches: by their number.
      num_threads: as of `evaluation_batches`.
    """

    def __init__(self, batches: grain.MapDataset, num_threads: int):
        self._batches, self._num_threads = batches, num_threads

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._batches.to_iter_dataset(_read_options(self._num_threads)))


def _endless(examples: grain.MapDataset, seed: int) -> grain.MapDataset:
    return examples.seed(seed).shuffle().repeat()


def _process_batches(
    examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int
) -> grain.MapDataset:
    """The batches of one process; those of all processes in a row are the batch of a single process."""
    return examples.batch(batch_size // process_count, drop_remainder=True)[process_index::process_count]


def _check_batch(batch_size: int, num_examples: int, process_count: int) -> None:
    if not 1 <= batch_size <= num_examples:
        raise InputError("batch_size", f"1 to {num_examples}, the number of examples to train on", f"{batch_size}")
    _check_processes(batch_size, process_count)


def _check_processes(batch_size: int, process_count: int) -> None:
    if batch_size % process_count:
        raise InputError("batch_size", f"a multiple of the {process_count} processes", f"{batch_size}")


def _with_neutral(example: Any, neutrals: np.ndarray | None) -> dict[str, Any]:
    return dict(example) if neutrals is None else {**example, "neutral": neutrals[example["subject"]]}


def _read_options(num_threads: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=_AHEAD * num_threads)
