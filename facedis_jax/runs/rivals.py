"""Runs of several methods on the same faces: each trained by the same loop, measured alike, on one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from facedis_jax.data.faces.face_set import ArraySource, Face, FaceSet, FaceSource
from facedis_jax.data.faces.features import map_vertices
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.errors import InputError
from facedis_jax.evaluation.faces import Predictions, evenly_spaced_faces, predict
from facedis_jax.evaluation.rivals import fitted_linear, fitted_pca, method_measures, pca_codec
from facedis_jax.formats.json_files import write_json
from facedis_jax.inference.faces import FaceCodec, codec_of
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.inference.rival_models import TrainedRival, rival_codec
from facedis_jax.learners.rivals.faces import (
    RIVALS,
    Rival,
    RivalConstants,
    RivalTraining,
    deformation_space,
    rival_learner,
)
from facedis_jax.progress import track
from facedis_jax.reports.faces.rivals import RivalResults, summarise, write_rivals_report
from facedis_jax.runs.batches import fit_in_batches
from facedis_jax.runs.command_line import (
    RunOptions,
    chosen_devices,
    device_label,
    report_data_files,
    say,
    typed_command,
)
from facedis_jax.runs.face_config import Arrangement
from facedis_jax.runs.face_constants import check_faces, face_constants
from facedis_jax.runs.faces import (
    AXIS,
    FaceRun,
    data_files,
    fit_faces,
    load_face_set,
    trained_faces,
    trained_model,
)
from facedis_jax.runs.origins import origin_of
from facedis_jax.runs.renamed import new_key
from facedis_jax.runs.rival_config import OURS, TITLES, OursConfig, RivalsConfig
from facedis_jax.runs.settings import open_run_folder
from facedis_jax.training import LoopConfig, RunFolder, check_batch_size

# Of a coordinate's standard deviation, relative to the mean over all: one that never changes is not scaled up.
_LEAST_DEVIATION = 0.05
_MOST_FACES = 1000
# Bytes of deformation features that are kept in memory; of more faces they are computed in each step.
_MOST_FEATURES = 3e9


class _Trained(NamedTuple):
    """A method after its training.

    Attributes:
      codec: the method at work.
      separates: whether it tells identity from expression.
      parameters: how many numbers it has learned.
      seconds, steps: of its training.
    """

    codec: FaceCodec
    separates: bool
    parameters: int
    seconds: float
    steps: int


@dataclass(frozen=True)
class _Table:
    """What all methods of a run share.

    Attributes:
      name: of the experiment.
      config, options: as given.
      face_set: the data.
      devices: that take part.
      constants: of the training faces.
      rivals: those that are trained, by name.
      folder: of the run.
    """

    name: str
    config: RivalsConfig
    options: RunOptions
    face_set: FaceSet
    devices: Sequence[jax.Device]
    constants: RivalConstants
    rivals: Mapping[str, Rival]
    folder: RunFolder

    def loop(self, training: OursConfig | RivalTraining) -> LoopConfig:
        config = self.config
        return LoopConfig(
            round(training.epochs * len(self.face_set.train) / training.batch_size),
            config.log_every_steps,
            config.evaluate_every_steps,
            config.checkpoint_every_steps,
            keep_checkpoints=1,
            tensorboard=self.options.tensorboard,
            quiet=self.options.quiet,
        )

    def place(self, method: str, seed: int) -> RunFolder:
        """The folder of a method's training."""
        name = method if seed == self.config.seed else f"{method}-{seed}"
        made_by = {**self.folder.config, "method": method, "method_seed": seed}
        return RunFolder.open(self.folder.path / name, made_by, new_key=new_key)


def compare_rivals(name: str, config: RivalsConfig, options: RunOptions, arrangement: Arrangement, title: str) -> int:
    """A whole run: trains or resumes each method, measures it and reports; returns the exit code."""
    table = _opened(name, config, options, arrangement)
    rows, shown = [], {}
    for seed in range(config.seed, config.seed + config.seeds):
        for method in config.methods:
            say(options, f"{TITLES[method]}, seed {seed}")
            trained = _trained(table, method, seed)
            if jax.process_index():
                continue
            say(options, f"evaluating {TITLES[method]}")
            predictions = predict(trained.codec, table.face_set.test, table.face_set.neutrals)
            rows.append(
                {
                    "method": method,
                    "seed": seed,
                    "separates": trained.separates,
                    "parameters": trained.parameters,
                    "seconds": round(trained.seconds, 1),
                    "steps": trained.steps,
                    **method_measures(
                        trained.codec, table.face_set, predictions, separates=trained.separates, seed=seed
                    ),
                }
            )
            if seed == config.seed:
                shown[method] = _few_faces(predictions)
    if jax.process_index() == 0:
        _report(table, rows, shown, arrangement, title)
    return 0


def _opened(name: str, config: RivalsConfig, options: RunOptions, arrangement: Arrangement) -> _Table:
    """The run, with its folder made last, so that bad input leaves nothing behind."""
    devices = chosen_devices(options.devices)
    trained = {method: config.training_of(method) for method in config.methods}
    for training in trained.values():
        if training is not None:
            check_batch_size(training.batch_size, len(devices))
    face_set = load_face_set(config.data, arrangement)
    for method, training in trained.items():
        if training is not None and round(training.epochs * len(face_set.train) / training.batch_size) < 1:
            where = f"{'ours' if method == OURS else method}: epochs"
            expected = f"enough for one step of {training.batch_size} of {len(face_set.train)} faces"
            raise InputError(where, expected, str(training.epochs))
    if OURS in trained:
        check_faces(face_set, config.ours_at(config.seed).learner, config.data.clouds)
    constants = rival_constants(face_set)
    rivals = {
        method: RIVALS[method].make(getattr(config, method), constants, config.latents)
        for method in config.methods
        if method in RIVALS
    }
    folder = open_run_folder(name, config, options, face_set.content_hash, [face_set])
    report_data_files(options, data_files(config.data, face_set))
    return _Table(name, config, options, face_set, devices, constants, rivals, folder)


def rival_constants(face_set: FaceSet) -> RivalConstants:
    """Mean, deviation and template of the training faces, which are read once."""
    shape = face_set.neutrals.shape[1:]
    total, squares, subjects = np.zeros(shape), np.zeros(shape), set()
    origin = face_set.neutrals[0].astype(np.float64)
    for row in track(range(len(face_set.train)), "reading training faces"):
        face = face_set.train[row]
        moved = face["vertices"] - origin
        total += moved
        squares += np.square(moved)
        subjects.add(int(face["subject"]))
    mean = total / len(face_set.train)
    deviation = np.sqrt(np.maximum(squares / len(face_set.train) - np.square(mean), 0))
    deviation = np.maximum(deviation, max(_LEAST_DEVIATION * deviation.mean(), 1e-6))
    return RivalConstants(
        mean_face=(origin + mean).astype(np.float32),
        deviation=deviation.astype(np.float32),
        template=face_set.neutrals[sorted(subjects)].mean(0, dtype=np.float64).astype(np.float32),
        triangles=face_set.triangles,
        scale=face_set.scale,
    )


class Deformed:
    """Some faces of a source, then the same with their expressions on the template, then everyone's neutral."""

    def __init__(self, source: FaceSource, rows: np.ndarray, neutrals: np.ndarray, template: np.ndarray):
        self.source, self.rows, self.neutrals, self.template = source, rows, neutrals, template

    def __len__(self) -> int:
        return 2 * len(self.rows) + len(self.neutrals)

    def __getitem__(self, index: int) -> Face:
        count = len(self.rows)
        face = self.source[int(self.rows[index % count]) if index < 2 * count else 0]
        if index < count:
            return face
        if index < 2 * count:
            vertices = self.template + face["vertices"] - self.neutrals[int(face["subject"])]
        else:
            vertices = self.neutrals[index - 2 * count]
        return Face(**{**face, "vertices": vertices.astype(np.float32)})  # type: ignore[typeddict-item]


class DeformationSource:
    """Training faces with the deformation features that Jiang et al.'s branches learn from.

    Args:
      source: the faces.
      features: of `Deformed` with all rows, [2 faces + people, vertices, 9].
    """

    def __init__(self, source: FaceSource, features: np.ndarray):
        self.source, self.features = source, features

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        face, count = self.source[index], len(self.source)
        rows = {"face": index, "expression": count + index, "neutral": 2 * count + int(face["subject"])}
        return {**face, "features": {name: self.features[row] for name, row in rows.items()}}


def _jiang(table: _Table, is_trained: bool) -> tuple[Rival, RivalConstants, Any]:
    """The rival with the bounds of its features, and the training faces with their features where memory holds them."""
    config, train, constants = table.config, table.face_set.train, table.constants
    space = deformation_space(config.jiang, constants.template, constants.triangles)
    of_bounds = evenly_spaced(len(train), _MOST_FACES)
    size = 2 * 4 * 9 * len(constants.template) * len(train)
    keeps = size < _MOST_FEATURES and not is_trained and not table.options.keep_on_device
    rows = np.arange(len(train)) if keeps else of_bounds
    deformed = Deformed(train, rows, table.face_set.neutrals, constants.template)
    features = map_vertices(space.features, deformed, "computing deformations")  # type: ignore[arg-type]
    some = of_bounds if keeps else np.arange(len(rows))
    parts = [features[some], features[len(rows) + some]]
    low, high = (getattr(np, name)([getattr(part, name)(0) for part in parts], axis=0) for name in ("min", "max"))
    constants = replace(constants, low=low, high=high)
    rival = RIVALS["jiang"].make(config.jiang, constants, config.latents)
    return rival, constants, DeformationSource(train, features) if keeps else train


def _trained(table: _Table, method: str, seed: int) -> _Trained:
    if method == OURS:
        return _train_ours(table, seed)
    if method in table.rivals:
        return _train_rival(table, method, seed)
    latents, vertices = table.config.latents, table.constants.mean_face.size
    if method == "linear":
        if len(np.unique(evenly_spaced_faces(table.face_set.train, _MOST_FACES).subject)) < 2:
            raise InputError("linear", "training faces of two people or more", "one")
        model = fitted_linear(table.face_set, *latents, seed=seed)
        count = (len(model.identity.directions) + len(model.expression.directions) + 2) * vertices
        return _Trained(model.codec(), True, count, 0.0, 0)
    pca = fitted_pca(table.face_set, sum(latents), seed=seed)
    return _Trained(pca_codec(pca), False, (len(pca.directions) + 1) * vertices, 0.0, 0)


def _train_ours(table: _Table, seed: int) -> _Trained:
    config, face_set = table.config.ours_at(seed), table.face_set
    constants, start = face_constants(face_set, config.learner, config.data.clouds, seed=seed)
    folder = table.place(OURS, seed)
    run = FaceRun(
        config, table.options, face_set, constants, start, table.devices, folder, table.loop(table.config.ours)
    )
    result = fit_faces(run, run.learner())
    codec = codec_of(config.learner, constants, result.state, face_set.expressions)
    if jax.process_index() == 0:
        trained_model(run, codec, result.state).save(folder.path / MODEL_FILE)
    return _Trained(codec, True, _count(result.state.params), result.seconds, result.step)


def _train_rival(table: _Table, method: str, seed: int) -> _Trained:
    config, rival, face_set = table.config, table.rivals[method], table.face_set
    training = config.training_of(method)
    assert isinstance(training, RivalTraining)
    loop, folder = table.loop(training), table.place(method, seed)
    constants: RivalConstants = table.constants
    source: Any = face_set.train
    if method == "jiang":
        rival, constants, source = _jiang(table, (folder.checkpoints / str(loop.num_steps)).exists())
    result = fit_in_batches(
        rival_learner(
            rival,
            steps_per_epoch=len(face_set.train) / training.batch_size,
            num_steps=loop.num_steps,
            axis_name=AXIS,
        ),
        source,
        face_set.test,
        folder,
        loop,
        table.options,
        table.devices,
        names=face_set.names,
        batch_size=training.batch_size,
        evaluation_batch=32,
        seed=seed,
        in_memory=isinstance(face_set.train, ArraySource),
        neutrals=face_set.neutrals,
    )
    params = jax.device_get(result.state.params)
    codec = rival_codec(rival, params)
    if jax.process_index() == 0:
        _save(table, method, seed, rival, constants, params, codec, folder.path / MODEL_FILE)
    return _Trained(codec, rival.separates, _count(params["model"]), result.seconds, result.step)


def _save(
    table: _Table,
    method: str,
    seed: int,
    rival: Rival,
    constants: RivalConstants,
    params: Any,
    codec: FaceCodec,
    path: Path,
) -> None:
    """Writes a rival's model file."""
    config, face_set = table.config, table.face_set
    origin = origin_of(table.name, replace(config, seed=seed), data=face_set.name, content_hash=face_set.content_hash)
    of_faces = TrainedRival.face_constants(constants, len(face_set.train), len(face_set.expressions))
    trained = trained_faces(codec, of_faces, face_set)
    model = TrainedRival.of_rival(method, getattr(config, method), rival, constants, params, trained, origin)
    model.save(path)


def _count(params: Any) -> int:
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def _few_faces(predictions: Predictions, count: int = 4) -> Predictions:
    """Of the predictions those of a few people with strong expressions, as many as are shown."""
    order = np.argsort(-predictions.level, kind="stable")
    people: dict[int, int] = {}
    kinds: set[int] = set()
    for row in order.tolist():
        person, kind = int(predictions.subject[row]), int(predictions.expression[row])
        if person not in people and kind not in kinds and len(people) < count:
            people[person] = row
            kinds.add(kind)
    rows = np.array(list(people.values()))
    names = predictions.__dataclass_fields__
    return Predictions(**{name: getattr(predictions, name)[rows] for name in names})


def _report(
    table: _Table,
    rows: Sequence[Mapping[str, Any]],
    shown: Mapping[str, Predictions],
    paper: Arrangement,
    title: str,
) -> None:
    """Writes results.json, figures/ and report.html."""
    config, face_set, folder = table.config, table.face_set, table.folder
    summary = summarise(rows)
    found = data_files(config.data, face_set)
    write_json(
        folder.results_file,
        {
            "command": typed_command(),
            "device": device_label(table.devices),
            "data": face_set.name,
            **({"data_files": found} if found else {}),
            "faces": {"train": len(face_set.train), "test": len(face_set.test)},
            "latents": {"identity": config.identity_latents, "expression": config.expression_latents},
            "seconds": round(sum(row["seconds"] for row in rows), 1),
            "methods": rows,
            "summary": summary,
        },
    )
    say(table.options, "drawing the report")
    write_rivals_report(
        folder,
        RivalResults(rows, summary, shown, TITLES, face_set, config.latents, paper),
        title=title,
        subtitle=f"{face_set.name}, {config.identity_latents} + {config.expression_latents} latents, "
        f"{config.seeds} seed{'s' * (config.seeds > 1)} on {table.devices[0].device_kind}",
        command=typed_command(),
    )
    say(table.options, f"report: {folder.report_file}")
