"""What the experiments on photographs and videos share: a run of one or more models, trained one after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSource
from facedis_jax.data.on_device import dataset_bytes
from facedis_jax.data.pipeline import evaluation_batches
from facedis_jax.data.videos.clip_set import ArrayClips, ClipSet, ClipSource
from facedis_jax.errors import InputError, check_least
from facedis_jax.formats.json_files import write_json
from facedis_jax.learners import Learner
from facedis_jax.learners.chains import CHAIN_MULTIPLE
from facedis_jax.models import DynamicConfig, GeneratorConfig
from facedis_jax.runs.batches import check_room, training_batches
from facedis_jax.runs.command_line import (
    RunInterrupted,
    RunOptions,
    chosen_devices,
    report_skipped,
    say,
    typed_command,
)
from facedis_jax.runs.renamed import new_key
from facedis_jax.runs.settings import as_json
from facedis_jax.training import LoopConfig, Parallel, RunFolder, check_batch_size, fit
from facedis_jax.training.arrays import save_weights
from facedis_jax.training.logs import read_metrics

HasShape = GeneratorConfig | DynamicConfig | ImageSet | ClipSet

AXIS = "devices"
WEIGHTS_FILE = "model.npz"


@dataclass(frozen=True)
class TrainingConfig:
    """How long a model is trained and what happens on the way.

    Attributes:
      epochs: how often the training set is seen.
      batch_size: images, or clips, of a step, over all devices.
      log_every_epochs, evaluate_every_epochs, checkpoint_every_epochs: epochs from one line of metrics, evaluation or
        checkpoint to the next.
      evaluation_examples: images, or clips, of the test set, for the curves alone; the results are of all of it.

    Raises:
      InputError: for no epochs, or no images to evaluate.
    """

    epochs: float = 1001
    batch_size: int = 100
    log_every_epochs: float = 1
    evaluate_every_epochs: float = 50
    checkpoint_every_epochs: float = 10
    evaluation_examples: int = 100

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise InputError("epochs", "more than 0", str(self.epochs))
        check_least(self, evaluation_examples=1)


@dataclass(frozen=True)
class ModelRun:
    """A run of one or more models, ready to train them.

    Attributes:
      name: of the experiment.
      options: from the command line.
      seed: of the initial weights, the noise and the order of the images.
      devices: that take part.
      folder: on disk; the models' own folders lie in it.
    """

    name: str
    options: RunOptions
    seed: int
    devices: Sequence[jax.Device]
    folder: RunFolder


def check_model(
    model: GeneratorConfig | DynamicConfig, examples: ImageSet | ClipSet, where: str = "--learner.model"
) -> None:
    """Checks that what a generator makes is of the photographs' or clips' kind, before anything is trained.

    Args:
      model: of the generator.
      examples: what it is to learn.
      where: a command takes it from, for errors.

    Raises:
      InputError: their size or number of channels differs, or nothing is bent.
    """
    check_shape(where, model, examples, "the data")
    if model.geometry_latents < 1:
        raise InputError(f"{where}.geometry-latents", "1 or more", str(model.geometry_latents))


def check_shape(where: str, given: HasShape, needed: HasShape, whose: str) -> None:
    """Checks that two things are of one size and have as many channels.

    Args:
      where: a command takes the first from, for errors.
      given, needed: a model's configuration, or a set.
      whose: the second is, for errors.

    Raises:
      InputError: they differ.
    """
    for option in ("size", "channels"):
        found, expected = getattr(given, option), getattr(needed, option)
        if found != expected:
            raise InputError(f"{where}.{option}", f"{expected}, as of {whose}", str(found))


def check_training(
    training: TrainingConfig, examples: ImageSource | ClipSource, where: str = "--training", *, called: str = "images"
) -> None:
    """Checks that there is a batch of examples to train on, before a run's folder is made.

    Args:
      training: how long.
      examples: what is trained on.
      where: a command takes it from, for errors.
      called: what they are called there.

    Raises:
      InputError: a batch has more.
    """
    if training.batch_size > len(examples):
        found = f"{training.batch_size} for {len(examples)} {called}"
        raise InputError(f"{where}.batch-size", f"no more than there are {called} to train on", found)


def open_model_run(
    name: str,
    config: Any,
    options: RunOptions,
    *,
    trainings: Sequence[TrainingConfig],
    sources: Sequence[ImageSource | ClipSource] = (),
    content_hash: Mapping[str, str] | str,
    skipped: Mapping[str, str] | None = None,
) -> ModelRun:
    """Checks the devices and opens the run's folder.

    Args:
      name: of the experiment.
      config: all settings, `seed` among them; part of the run's identity.
      options: from the command line.
      trainings: of all its models.
      sources: what they are trained on.
      content_hash: of the images; chains belong to images by their places, so that another order is another run.
      skipped: damaged examples that are not learned from, by name, with what is wrong with them.

    Raises:
      InputError: there are fewer devices than asked for, they do not divide the batch or the chains or have no room for
        what is to stay there, or the folder is another run's.
    """
    devices = chosen_devices(options.devices, [CHAIN_MULTIPLE, *(training.batch_size for training in trainings)])
    for training in trainings:
        check_batch_size(training.batch_size, len(devices))
    if CHAIN_MULTIPLE % len(devices):
        raise InputError("--devices", f"a divisor of {CHAIN_MULTIPLE}", str(len(devices)))
    check_room(options, map(dataset_bytes, sources), devices)
    made_by = {"experiment": name, "data": content_hash, "config": as_json(config)}
    folder = RunFolder.open(options.workdir or Path("runs") / name, made_by, new_key=new_key)
    report_skipped(folder, options, skipped or {})
    return ModelRun(name, options, config.seed, devices, folder)


def write_results(run: ModelRun, numbers: Mapping[str, Any]) -> None:
    """Writes results.json: what was measured, with the command and the seed that it came from."""
    write_json(run.folder.results_file, {**numbers, "command": typed_command(), "seed": run.seed})


class TrainedModel(NamedTuple):
    """What training leaves behind, as in `TrainedImages`."""

    params: Any
    chains: Any
    rows: list[dict[str, Any]]
    steps: int
    seconds: float


def train_model(
    run: ModelRun,
    name: str,
    learner: Callable[..., Learner],
    training: TrainingConfig,
    train: ImageSource | ClipSource,
    test: ImageSource | ClipSource,
    *,
    test_codes: np.ndarray | None = None,
    state_axes: Any,
    evaluation_batch: int,
    names: Sequence[str] | None = None,
) -> TrainedModel:
    """Trains a learner of images or clips, from its last checkpoint if there is one.

    Args:
      run: the run.
      name: of the model, and of its folder in the run's.
      learner: makes it, of `steps_per_epoch`, `num_steps` and `axis_name`.
      training: for how long.
      train: examples to learn from.
      test: examples, of which the first ones are for the curves.
      test_codes: appearance that is known of them.
      state_axes: how its state is split over devices.
      evaluation_batch: about how many examples are evaluated at once.
      names: of the training examples, told of a batch that training diverges on.

    Raises:
      InputError: there are fewer examples than a batch has.
      RunInterrupted: on Ctrl-C.
    """
    steps_per_epoch = len(train) / training.batch_size

    def steps(epochs: float) -> int:
        return max(1, round(epochs * steps_per_epoch))

    loop = LoopConfig(
        num_steps=steps(training.epochs),
        log_every_steps=steps(training.log_every_epochs),
        evaluate_every_steps=steps(training.evaluate_every_epochs),
        checkpoint_every_steps=steps(training.checkpoint_every_epochs),
        keep_checkpoints=2,
        tensorboard=run.options.tensorboard,
        quiet=run.options.quiet,
    )
    batches, dataset = training_batches(
        run.options,
        train,
        batch_size=training.batch_size,
        seed=run.seed,
        in_memory=isinstance(train, ArrayImages | ArrayClips),
    )
    few = _First(test, min(len(test), training.evaluation_examples), test_codes)
    num_devices = len(run.devices)
    folder = RunFolder.open(run.folder.path / name, {**run.folder.config, "model": name})
    say(run.options, f"training {name}: {loop.num_steps} steps")
    result = fit(
        learner(steps_per_epoch=steps_per_epoch, num_steps=loop.num_steps, axis_name=AXIS),
        batches,
        evaluation_batches(
            few,
            batch_size=-(-min(len(few), evaluation_batch) // num_devices) * num_devices,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
        folder,
        loop,
        key=jax.random.key(run.seed),
        parallel=Parallel(run.devices, run.options.parallel, AXIS, state_axes),
        names=names,
        dataset=dataset,
    )
    if result.interrupted_by is not None:
        raise RunInterrupted(result, loop.num_steps)
    weights = jax.device_get(result.state.params)
    if jax.process_index() == 0:
        save_weights(folder.path / WEIGHTS_FILE, weights)
    chains = getattr(result.state, "chains", None)
    if chains is not None and jax.process_count() == 1:
        chains = jax.tree.map(lambda x: np.asarray(x)[: len(train)], chains)
    rows = [*read_metrics(folder.metrics_file, "train"), *read_metrics(folder.metrics_file, "test")]
    return TrainedModel(weights, chains, rows, result.step, result.seconds)


class _First:
    """The first images or clips of a source, with known codes where there are some."""

    def __init__(self, source: ImageSource | ClipSource, count: int, codes: np.ndarray | None):
        self._source, self._count, self._codes = source, count, codes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        example: dict[str, Any] = dict(self._source[index])
        return example if self._codes is None else {**example, "code": self._codes[index].astype(np.float32)}
