"""What training is given step by step: batches read on the host, or places of examples that stay on the devices."""

from collections.abc import Sequence
from typing import Any

import grain
import jax
import numpy as np

from experiments._command_line import RunOptions
from facedis_jax.data.faces import FaceSource
from facedis_jax.data.images import ImageSource
from facedis_jax.data.pipeline import place_batches, train_batches
from facedis_jax.data.tables import ExampleTables, example_tables
from facedis_jax.data.videos import ClipSource
from facedis_jax.errors import InputError


def check_room(options: RunOptions, num_bytes: int, devices: Sequence[jax.Device]) -> None:
    """Checks that examples which are to stay on the devices fit there, before a run's folder is made.

    Args:
      options: from the command line.
      num_bytes: of all training examples.
      devices: that take part.

    Raises:
      InputError: one of them has less memory.
    """
    if not options.keep_on_device:
        return
    for device in devices:
        if device.process_index != jax.process_index():
            continue  # the process that it belongs to knows
        # None on processors, whose memory is the host's.
        limit = (device.memory_stats() or {}).get("bytes_limit")
        if limit is not None and num_bytes > limit:
            expected = f"at most {limit / 1e9:.1f} GB of training examples, the memory of {device}"
            raise InputError("--keep-on-device", expected, f"{num_bytes / 1e9:.1f} GB")


def training_batches(
    options: RunOptions,
    source: FaceSource | ImageSource | ClipSource,
    neutrals: np.ndarray | None = None,
    *,
    batch_size: int,
    seed: int,
    in_memory: bool,
) -> tuple[Any, ExampleTables | None]:
    """This process's share of the batches, and what they are taken from on the devices, if anything.

    Args:
      options: from the command line.
      source: what is trained on.
      neutrals: [subjects, vertices, 3], for faces.
      batch_size: examples of a step, over all processes.
      seed: of their order.
      in_memory: whether the source is; examples on disk take longer to read than one thread can hide.
    """
    share: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
    batches: grain.IterDataset
    if options.keep_on_device:
        batches = place_batches(len(source), **share)
        return iter(batches), example_tables(source, neutrals)
    batches = train_batches(source, neutrals, **share, num_threads=1 if in_memory else 4)
    return iter(batches), None
