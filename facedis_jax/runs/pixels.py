"""What runs on images and runs on clips share: one or more models, trained one after another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSource
from facedis_jax.data.on_device import dataset_bytes
from facedis_jax.data.pixel_set import PixelSet
from facedis_jax.data.videos.clip_set import ArrayClips, ClipSource
from facedis_jax.errors import InputError, check_least
from facedis_jax.formats.json_files import write_json
from facedis_jax.inference.generator_models import TrainedImageModel
from facedis_jax.inference.model_files import MODEL_FILE, ModelFile, Origin
from facedis_jax.learners import AbpConfig, AbpVideoConfig, GeneratorFunctions, Learner
from facedis_jax.learners.chains import CHAIN_MULTIPLE
from facedis_jax.models import DynamicConfig, GeneratorConfig
from facedis_jax.runs.batches import check_room, fit_in_batches
from facedis_jax.runs.command_line import (
    RunOptions,
    chosen_devices,
    report_data_files,
    say,
    typed_command,
)
from facedis_jax.runs.origins import origin_of
from facedis_jax.runs.settings import open_run_folder
from facedis_jax.training import LoopConfig, RunFolder, check_batch_size
from facedis_jax.training.logs import read_metrics

HasShape = GeneratorConfig | DynamicConfig | PixelSet
PixelSource = ImageSource | ClipSource
Codec = TypeVar("Codec")

AXIS = "devices"
# Of a generator's settings, those that a trained one may have had otherwise: its weights are read alike.
_FREE = ("initial_flow", "compute")


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
      InputError: for no epochs, or no examples to evaluate.
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

    def loop(self, steps_per_epoch: float, options: RunOptions) -> LoopConfig:
        """The same in steps, for the training loop."""

        def steps(epochs: float) -> int:
            return max(1, round(epochs * steps_per_epoch))

        return LoopConfig(
            num_steps=steps(self.epochs),
            log_every_steps=steps(self.log_every_epochs),
            evaluate_every_steps=steps(self.evaluate_every_epochs),
            checkpoint_every_steps=steps(self.checkpoint_every_epochs),
            keep_checkpoints=2,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
        )


def synthetic_or_folder(kind: str, folder: Path | None, option: str, what: str) -> Path | None:
    """The folder of a real set, or None for a synthetic one.

    Args:
      kind: "synthetic" or a kind of real sets.
      folder: as given.
      option: the option that the set is given by, such as "--data", for errors.
      what: what the set is of, for errors.

    Raises:
      InputError: a real set without a folder, or a folder without the kind of its set.
    """
    if kind == "synthetic":
        if folder is not None:
            raise InputError(f"{option}.kind", f"the kind of the {what} in {option}.folder", "synthetic")
    elif folder is None:
        raise InputError(f"{option}.folder", f"the folder of the {what} ({kind})", "none")
    return folder


@dataclass(frozen=True)
class Examples:
    """What a model is trained on, and what it is tested with on the way.

    Attributes:
      train, test: images or clips.
      names: of the training examples, used where training diverges.
      codes, test_codes: appearance that is known, [examples, latents] for either half.
    """

    train: PixelSource
    test: PixelSource
    names: Sequence[str] | None = None
    codes: np.ndarray | None = None
    test_codes: np.ndarray | None = None

    @classmethod
    def of(cls, examples: PixelSet, **codes: np.ndarray) -> "Examples":
        """Those of a data set, with known codes where there are some."""
        return cls(examples.train.source, examples.test.source, examples.train.names, **codes)


@dataclass(frozen=True)
class ModelRun:
    """A run of one or more models, ready to train them.

    Attributes:
      name: of the experiment.
      options: from the command line.
      seed: of the initial weights, the noise and the order of the examples.
      devices: that take part.
      folder: on disk; the models' own folders lie in it.
      data_files: what was found of each set's files, by the sets' names; for results.json.
      origin: how its models come about, for their files.
    """

    name: str
    options: RunOptions
    seed: int
    devices: Sequence[jax.Device]
    folder: RunFolder
    data_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    origin: Origin | None = None


def check_model(model: GeneratorConfig | DynamicConfig, examples: PixelSet, where: str = "--learner.model") -> None:
    """Checks that a generator makes images of the data's size and channels, before anything is trained.

    Args:
      model: of the generator.
      examples: what it is to learn.
      where: the option that the model is given by, for errors.

    Raises:
      InputError: their size or number of channels differs, or it has no geometric code.
    """
    check_shape(where, model, examples, "the data")
    if model.geometry_latents < 1:
        raise InputError(f"{where}.geometry-latents", "1 or more", str(model.geometry_latents))


def check_shape(where: str, given: HasShape, needed: HasShape, whose: str) -> None:
    """Checks that two things are of one size and have as many channels.

    Args:
      where: the option that the first is given by, for errors.
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
    training: TrainingConfig, examples: PixelSource, where: str = "--training", *, called: str = "images"
) -> None:
    """Checks that there is a batch of examples to train on, before a run's folder is made.

    Args:
      training: how long.
      examples: what is trained on.
      where: the option that the training is given by, for errors.
      called: what the examples are called there.

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
    data: PixelSet | Mapping[str, PixelSet | None],
    sources: Sequence[PixelSource],
) -> ModelRun:
    """Checks the devices and opens the run's folder.

    Args:
      name: of the experiment.
      config: all settings, `seed` among them; part of the run's identity.
      options: from the command line.
      trainings: of all its models.
      data: the set, or the sets by name with None for one that is not used; part of the run's identity in their order,
        since chains belong to examples by their indices.
      sources: what the models are trained on.

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
    sets = [data] if isinstance(data, PixelSet) else [one for one in data.values() if one is not None]
    content: Any = (
        data.content_hash
        if isinstance(data, PixelSet)
        else {name: "" if one is None else one.content_hash for name, one in data.items()}
    )
    folder = open_run_folder(name, config, options, content, sets)
    data_files: dict[str, Mapping[str, str]] = {}
    for role, one in ({one.name: one for one in sets} if isinstance(data, PixelSet) else data).items():
        if one is not None and one.data_files:
            data_files[one.name if one.name not in data_files else f"{one.name} ({role})"] = one.data_files
    report_data_files(options, data_files)
    hashes = content if isinstance(content, str) else ", ".join(filter(None, content.values()))
    origin = origin_of(name, config, data=", ".join(one.name for one in sets), content_hash=hashes)
    return ModelRun(name, options, config.seed, devices, folder, data_files, origin)


def report_run(run: ModelRun, numbers: Mapping[str, Any], write_report: Callable[[str], None]) -> None:
    """Writes results.json and the report, and says where it lies.

    Args:
      run: the run.
      numbers: what was measured; the command, the seed and what was found of the data's files are added.
      write_report: writes the page, given the command that it shows.
    """
    command = typed_command()
    found = {"data_files": run.data_files} if run.data_files else {}
    write_json(run.folder.results_file, {**numbers, **found, "command": command, "seed": run.seed})
    say(run.options, "drawing the report")
    write_report(command)
    say(run.options, f"report: {run.folder.report_file}")


@dataclass(frozen=True)
class TrainedModel(Generic[Codec]):
    """A trained model and how it came about.

    Attributes:
      codec: the model at work: inference and generation.
      params: the weights.
      chains: the last latents of the training examples, for models that have chains.
      rows: of its metrics.jsonl.
      steps, seconds: of training.
    """

    codec: Codec
    params: Any
    chains: Any
    rows: list[dict[str, Any]]
    steps: int
    seconds: float

    @property
    def effort(self) -> dict[str, float]:
        """Steps and seconds of training, for results.json."""
        return {"steps": self.steps, "seconds": round(self.seconds, 1)}


def train_model(
    run: ModelRun,
    name: str,
    learner: Callable[..., Learner],
    training: TrainingConfig,
    examples: Examples,
    *,
    codec: Callable[[Any], Codec],
    state_axes: Any,
    evaluation_batch: int,
    finish: Callable[[Any, Any], tuple[Any, Any]] | None = None,
) -> TrainedModel[Codec]:
    """Trains a learner of images or clips, from its last checkpoint if there is one.

    Args:
      run: the run.
      name: of the model, and of its folder in the run's.
      learner: makes it, of `steps_per_epoch`, `num_steps` and `axis_name`.
      training: for how long.
      examples: to learn from, and for the curves.
      codec: makes the codec of the trained weights.
      state_axes: how the learner's state is split over devices.
      evaluation_batch: about how many examples are evaluated at once.
      finish: makes the weights that are handed over, and the chains that belong to them, of the last ones.

    Raises:
      InputError: there are fewer examples than a batch has.
      RunInterrupted: on Ctrl-C.
    """
    train = examples.train
    steps_per_epoch = len(train) / training.batch_size
    loop = training.loop(steps_per_epoch, run.options)
    few = _First(examples.test, min(len(examples.test), training.evaluation_examples), examples.test_codes)
    folder = RunFolder.open(run.folder.path / name, {**run.folder.config, "model": name})
    say(run.options, f"training {name}: {loop.num_steps} steps")
    result = fit_in_batches(
        learner(steps_per_epoch=steps_per_epoch, num_steps=loop.num_steps, axis_name=AXIS),
        train,
        few,
        folder,
        loop,
        run.options,
        run.devices,
        names=examples.names,
        batch_size=training.batch_size,
        evaluation_batch=min(len(few), evaluation_batch),
        seed=run.seed,
        in_memory=isinstance(train, ArrayImages | ArrayClips),
        state_axes=state_axes,
    )
    weights = jax.device_get(result.state.params)
    chains = getattr(result.state, "chains", None)
    whole = chains is not None and jax.process_count() == 1
    if whole:
        chains = jax.tree.map(lambda x: np.asarray(x)[: len(train)], chains)
    if finish is not None:
        weights, turned = finish(weights, chains if whole else None)
        chains = turned if whole else chains
    rows = [*read_metrics(folder.metrics_file, "train"), *read_metrics(folder.metrics_file, "test")]
    return TrainedModel(codec(weights), weights, chains, rows, result.step, result.seconds)


def save_model(
    run: ModelRun, name: str, model: type[TrainedImageModel], config: Any, trained: TrainedModel, **how: Any
) -> None:
    """Writes the file by which a trained model is handed over.

    Args:
      run: the run.
      name: of the model, and of its folder in the run's.
      model: its kind.
      config: of its learner.
      trained: what was found.
      **how: as of the kind's `of`.
    """
    if jax.process_index() == 0 and run.origin is not None:
        codes = trained.chains if jax.process_count() == 1 else None
        made = model.of(config, trained.params, replace(run.origin, seed=run.seed), codes=codes, **how)
        made.save(run.folder.path / name / MODEL_FILE)


def finished_model(path: Path | None) -> Path | None:
    """Where the model file of a finished run lies that is to take the place of training; None where there is none.

    Args:
      path: of a run's folder, of a model's in it, or of a model file.

    Raises:
      InputError: nothing is there, or a run that is not finished or of an earlier version.
    """
    # Imported here, or `--help` would wait for models of all kinds.
    from facedis_jax.inference.load import model_path

    if path is not None and path.suffix == ".npz" and path.is_file():
        found = "weights of an earlier version; the command of their run writes the other, without training"
        raise InputError(path, f"a finished run, or its {MODEL_FILE}", found)
    return None if path is None else model_path(path)


def loaded_model(
    model: type[TrainedImageModel],
    config: AbpConfig | AbpVideoConfig,
    functions: GeneratorFunctions,
    codec: Callable[[Any], Codec],
    path: Path,
) -> TrainedModel[Codec]:
    """A model that another run has trained, from its file; without chains and curves.

    Args:
      model: its kind.
      config: of the learner, as the run at hand has it.
      functions: of this learner.
      codec: as of `train_model`.
      path: of the file.

    Raises:
      InputError: the file is missing or something else, or its generator has other settings than the learner's.
    """
    file = ModelFile.read(path)
    if file.kind != model.kind:
        raise InputError(path, f"a model of {model.kind}", f"one of {file.kind}")
    found = model.from_file(file)
    if type(found.config) is not type(config):
        raise InputError(path, "a generator of the same method", type(found.config).__name__)
    theirs = found.config.model
    for name in (each.name for each in fields(config.model) if each.name not in _FREE):
        if getattr(config.model, name) != getattr(theirs, name):
            expected = f"{getattr(theirs, name)}, as of {path}"
            raise InputError(f"--learner.model.{name.replace('_', '-')}", expected, str(getattr(config.model, name)))
    return TrainedModel(codec(found.params), found.params, None, [], 0, 0.0)


class _First:
    """The first images or clips of a source, with known codes where there are some."""

    def __init__(self, source: PixelSource, count: int, codes: np.ndarray | None):
        self._source, self._count, self._codes = source, count, codes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        example: dict[str, Any] = dict(self._source[index])
        return example if self._codes is None else {**example, "code": self._codes[index].astype(np.float32)}
