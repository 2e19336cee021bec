"""Training on batches: examples read on the host, or indices of examples that stay on the devices."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from facedis_jax.data.faces.face_set import FaceSource
from facedis_jax.data.images.image_set import ImageSource
from facedis_jax.data.on_device import DeviceDataset, device_dataset
from facedis_jax.data.videos.clip_set import ClipSource
from facedis_jax.errors import InputError
from facedis_jax.learners import Learner
from facedis_jax.runs.command_line import RunInterrupted, RunOptions
from facedis_jax.training import FitResult, LoopConfig, Parallel, RunFolder, fit

# Of a device's memory, for the examples; the rest is for the step.
_SHARE = 0.8


def check_room(options: RunOptions, sizes: Iterable[int], devices: Sequence[jax.Device]) -> None:
    """Checks that examples which are to stay on the devices fit there, before a run's folder is made.

    Args:
      options: from the command line.
      sizes: bytes of the examples of each model's training, one of which is on the devices at a time; used only with
        `keep_on_device`.
      devices: that take part.

    Raises:
      InputError: one of them has less memory.
    """
    if not options.keep_on_device:
        return
    size = max(sizes, default=0)
    own = [device for device in devices if device.process_index == jax.process_index()]
    for device in own:
        memory = _SHARE * _memory_of(device, len(own))
        if size > memory:
            expected = f"at most {memory / 1e9:.1f} GB of training examples, four fifths of the memory of {device}"
            raise InputError("--keep-on-device", expected, f"{size / 1e9:.1f} GB")


def _memory_of(device: Any, number: int) -> float:
    """Bytes of a device's memory; the `number` devices of a CPU share the host's."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None and hasattr(os, "sysconf"):
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / number
    return math.inf if limit is None else limit


def training_batches(
    options: RunOptions,
    source: FaceSource | ImageSource | ClipSource,
    neutrals: np.ndarray | None = None,
    *,
    batch_size: int,
    seed: int,
    in_memory: bool,
) -> tuple[Any, DeviceDataset | None]:
    """This process's share of the batches, endless, and the data set on the devices if they are of its indices.

    Args:
      options: from the command line.
      source: what is trained on.
      neutrals: [subjects, vertices, 3], for faces.
      batch_size: examples of a step, over all processes.
      seed: of their order.
      in_memory: whether the source is in memory; examples on disk are read by several threads.
    """
    # Imported here, or `--help` would wait for Grain.
    from facedis_jax.data.pipeline import index_batches, train_batches

    share: dict[str, Any] = {
        "batch_size": batch_size,
        "seed": seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
    if options.keep_on_device:
        return iter(index_batches(len(source), **share)), device_dataset(source, neutrals)
    return iter(train_batches(source, neutrals, **share, num_threads=1 if in_memory else 4)), None


def fit_in_batches(
    learner: Learner,
    train: Any,
    test: Any,
    folder: RunFolder,
    loop: LoopConfig,
    options: RunOptions,
    devices: Sequence[jax.Device],
    *,
    names: Sequence[str] | None,
    batch_size: int,
    evaluation_batch: int,
    seed: int,
    in_memory: bool,
    neutrals: np.ndarray | None = None,
    state_axes: Any = None,
) -> FitResult:
    """Trains a learner to the end of the loop, from the last checkpoint if there is one.

    Args:
      learner, folder, loop, names: as of `facedis_jax.training.fit`; devices, state_axes: as of its `Parallel`.
      train, test, options, batch_size, seed, in_memory, neutrals: as of `training_batches`.
      evaluation_batch: about how many examples are evaluated at once.

    Raises:
      RunInterrupted: on Ctrl-C.
    """
    # Imported here, or `--help` would wait for Grain.
    from facedis_jax.data.pipeline import evaluation_batches

    batches, dataset = training_batches(options, train, neutrals, batch_size=batch_size, seed=seed, in_memory=in_memory)
    evaluated = evaluation_batches(
        test,
        neutrals,
        batch_size=-(-evaluation_batch // len(devices)) * len(devices),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    result = fit(
        learner,
        batches,
        evaluated,
        folder,
        loop,
        key=jax.random.key(seed),
        parallel=Parallel(devices, options.parallel, state_axes=state_axes),
        names=names,
        dataset=dataset,
    )
    if result.interrupted_by is not None:
        raise RunInterrupted(result, loop.num_steps)
    return result
