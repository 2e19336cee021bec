"""From examples on disk or in memory to batches, with Grain: shuffled, sharded by process, resumable."""

from typing import Any

import grain
import numpy as np

from facedis_jax.data.sources import Source
from facedis_jax.errors import InputError

# Batches read ahead by each thread: enough to hide a slow read, little memory.
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

    Step k of all processes together takes places k * batch_size to (k + 1) * batch_size of one shuffled
    stream, so that processes never share an example within an epoch, none is left out, and the examples of a step
    do not depend on the number of processes. A batch may reach over the end of an epoch. The iterator's
    `get_state` and `set_state` continue exactly, also under another number of processes or threads.

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
    return _pieces(examples, batch_size, process_index, process_count).to_iter_dataset(_read_options(num_threads))


def index_batches(
    num_examples: int, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.IterDataset:
    """Which examples the batches of `train_batches` have, for steps that take them from `data.on_device`.

    Args:
      num_examples: of the source.
      batch_size, seed, process_index, process_count: as of `train_batches`; the iterators' states are each other's.

    Returns:
      Batches {"index": [batch_size / process_count]} of places in the source.

    Raises:
      InputError: as `train_batches`.
    """
    _check_batch(batch_size, num_examples, process_count)
    stream = _endless(grain.MapDataset.range(num_examples), seed)
    pieces = _pieces(stream, batch_size, process_index, process_count)
    return pieces.map(lambda places: {"index": places.astype(np.int32)}).to_iter_dataset(_read_options(0))


def evaluation_batches(
    source: Source[Any],
    neutrals: np.ndarray | None = None,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 0,
) -> grain.IterDataset:
    """Every example once, in order, in batches of one size.

    Args:
      source: faces, images or clips to evaluate.
      neutrals: as of `train_batches`.
      batch_size: examples of a batch, over all processes.
      process_index, process_count: which share of each batch this process reads.
      num_threads: threads that read batches ahead; 0 reads them when they are asked for.

    Returns:
      Batches as of `train_batches`, with `mask` [batch] float32: 1 for an example, 0 for the repeats of
      the last one that fill up the last batch.

    Raises:
      InputError: where the source is empty or the batch is, or the processes do not divide the batch.
    """
    if not len(source):
        raise InputError("examples to evaluate", "one or more", "none")
    if batch_size < 1:
        raise InputError("batch_size", "1 or more", f"{batch_size}")
    _check_processes(batch_size, process_count)
    last = len(source) - 1

    def element(place: int) -> dict[str, Any]:
        return _with_neutral(source[min(place, last)], neutrals) | {"mask": np.float32(place <= last)}

    num_places = -(-len(source) // batch_size) * batch_size
    batches = grain.MapDataset.range(num_places).map(element).batch(batch_size // process_count)
    batches = batches[process_index::process_count]
    return batches.to_iter_dataset(_read_options(num_threads))


def _endless(examples: grain.MapDataset, seed: int) -> grain.MapDataset:
    return examples.seed(seed).shuffle().repeat()


def _pieces(examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int) -> grain.MapDataset:
    """A step's examples in one piece for each process: all pieces in a row are the batch of a single process."""
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
