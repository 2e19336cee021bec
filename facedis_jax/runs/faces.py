"""Runs of the IB-VAE on faces: from a data set to a trained model and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from facedis_jax.data.faces.face_set import ArraySource, FaceSet, FaceSource
from facedis_jax.data.faces.features import FeatureSource, map_vertices
from facedis_jax.data.faces.layouts import LAYOUTS, MeshLayout
from facedis_jax.data.faces.patterns import EXAMPLE
from facedis_jax.data.on_device import dataset_bytes
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.faces import synthetic_bu3dfe, synthetic_coma
from facedis_jax.errors import InputError
from facedis_jax.evaluation.faces import encode_faces, evaluate, face_errors, predict, register
from facedis_jax.formats.json_files import write_json
from facedis_jax.inference.face_model import FaceParams, TrainedFaceModel
from facedis_jax.inference.faces import FaceCodec, codec_of
from facedis_jax.inference.kept_codes import KeptCodes
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.inference.trained_faces import TrainedFaces
from facedis_jax.learners import (
    FaceConstants,
    FaceStart,
    IbVaeState,
    Learner,
    face_functions,
    ib_vae_learner,
)
from facedis_jax.models import point_features
from facedis_jax.runs.batches import check_room, fit_in_batches
from facedis_jax.runs.command_line import (
    RunOptions,
    chosen_devices,
    device_label,
    report_data_files,
    say,
    typed_command,
)
from facedis_jax.runs.face_config import Arrangement, FaceDataConfig, FaceRunConfig, Kind
from facedis_jax.runs.face_constants import check_faces, face_constants
from facedis_jax.runs.origins import origin_of
from facedis_jax.runs.settings import open_run_folder
from facedis_jax.training import FitResult, LoopConfig, RunFolder, check_batch_size
from facedis_jax.training.arrays import weights_hash
from facedis_jax.training.logs import read_metrics

AXIS = "devices"
CODES_FILE = "evaluation.npz"


def load_face_set(data: FaceDataConfig, arrangement: Arrangement) -> FaceSet:
    """The real data set in a folder, or the synthetic counterpart of an arrangement.

    Raises:
      InputError: the folder, the landmarks or the face model cannot be used, or settings do not belong together.
    """
    kind = data.kind or arrangement
    layout = _layout(data, kind)
    if data.landmarks is not None and (data.folder is None or kind != "bu3dfe"):
        raise InputError("--data.landmarks", "the folder of BU-3DFE, whose faces they register", "other faces")
    if data.folder is not None:
        # Imported here, or synthetic faces would wait for TFDS.
        from facedis_jax.data.faces.bu3dfe import load_bu3dfe, read_landmarks
        from facedis_jax.data.faces.coma import load_coma
        from facedis_jax.data.faces.meshes import load_meshes

        where: dict[str, Any] = {"split": data.split, "prepared_dir": data.prepared, "skip_damaged": data.skip_damaged}
        where |= {"links_out": data.links_out, "verify": data.verify}
        if layout is not None:
            return load_meshes(data.folder, layout, **where)
        if kind == "coma":
            return load_coma(data.folder, **where)
        chosen = None if data.landmarks is None else read_landmarks(data.landmarks)
        return load_bu3dfe(data.folder, landmarks=chosen, **where)
    if data.kind is not None:
        raise InputError("folder", f"the folder of the faces ({data.kind})", "none")
    make = synthetic_coma if arrangement == "coma" else synthetic_bu3dfe
    return make(load_face_model(data.face_model, data.recipes), data.synthetic, split=data.split)


def _layout(data: FaceDataConfig, kind: Kind) -> MeshLayout | None:
    """How the folder of a kind is laid out by a pattern; None for a kind that has no pattern."""
    names = ("pattern", "unit", "neutral_name", "align")
    given = {name: getattr(data, name) for name in names if getattr(data, name) is not None}
    if data.neutral != "auto":
        given["neutral"] = data.neutral
    if kind in LAYOUTS:
        return replace(LAYOUTS[kind], **given)
    if kind == "meshes":
        if data.pattern is None:
            raise InputError("pattern", f"where the meshes lie in the folder, such as {EXAMPLE}", "none")
        return MeshLayout(**given)
    if given:
        expected = f"meshes or {', '.join(LAYOUTS)}, whose {next(iter(given)).replace('_', ' ')} is given"
        raise InputError("kind", expected, kind if data.kind else "none")
    return None


def data_files(data: FaceDataConfig, face_set: FaceSet) -> dict[str, dict[str, str]]:
    """What was found of a real set's files, by the set's name; empty for a synthetic one."""
    if data.folder is None:
        return {}
    found = {
        "faces": f"{len(face_set.train) + len(face_set.test):,} of {len(face_set.subjects)} people",
        "split": f"{data.split}, {len(face_set.test):,} are tested",
        **face_set.data_files,
    }
    if data.landmarks is not None:
        found["landmarks"] = data.landmarks.name
    return {face_set.name: found}


@dataclass(frozen=True)
class FaceRun:
    """One run, ready to be trained.

    Attributes:
      config, options: as given.
      face_set: the data.
      constants, start: of its training half, and what training begins with.
      devices: that take part.
      folder: on disk.
      loop: the length of the run and its intervals.
    """

    config: FaceRunConfig
    options: RunOptions
    face_set: FaceSet
    constants: FaceConstants
    start: FaceStart
    devices: Sequence[jax.Device]
    folder: RunFolder
    loop: LoopConfig

    def learner(self) -> Learner:
        """The learner, with its collectives over the devices."""
        return ib_vae_learner(
            self.config.learner,
            self.constants,
            self.start,
            steps_per_epoch=self.constants.num_faces / self.config.batch_size,
            num_steps=self.loop.num_steps,
            axis_name=AXIS,
        )


def open_face_run(
    name: str,
    config: FaceRunConfig,
    options: RunOptions,
    arrangement: Arrangement,
    *,
    beside: Mapping[str, Any] | None = None,
) -> FaceRun:
    """A run, ready to be trained; its folder is made last, so that bad input leaves nothing behind.

    Args:
      name: of the experiment.
      config, options: from the command line.
      arrangement: which data set, or its synthetic counterpart.
      beside: settings beside `config` that are part of the run's identity.

    Raises:
      InputError: the devices, the faces or the settings cannot be used, or the folder is another run's.
    """
    devices = chosen_devices(options.devices)
    check_batch_size(config.batch_size, len(devices))
    face_set = load_face_set(config.data, arrangement)
    check_faces(face_set, config.learner, config.data.clouds)
    check_room(options, _sizes_of_training(face_set, config), devices)
    steps = round(config.epochs * len(face_set.train) / config.batch_size)
    if steps < 1:
        expected = f"enough for one step of {config.batch_size} of {len(face_set.train)} faces"
        raise InputError("epochs", expected, str(config.epochs))
    loop = LoopConfig(
        steps,
        config.log_every_steps,
        config.evaluate_every_steps,
        config.checkpoint_every_steps,
        tensorboard=options.tensorboard,
        quiet=options.quiet,
    )
    folder = open_run_folder(name, config, options, face_set.content_hash, [face_set], **(beside or {}))
    report_data_files(options, data_files(config.data, face_set))
    constants, start = face_constants(face_set, config.learner, config.data.clouds, seed=config.seed)
    return FaceRun(config, options, face_set, constants, start, devices, folder, loop)


def fit_faces(run: FaceRun, learner: Learner) -> FitResult:
    """Trains a run's learner, from the last checkpoint if there is one.

    Raises:
      RunInterrupted: on Ctrl-C.
    """
    config, face_set = run.config, run.face_set
    functions = face_functions(config.learner, run.constants)
    # A run whose evaluation was stopped needs no features of its training faces again.
    precompute = config.precompute and not (run.folder.checkpoints / str(run.loop.num_steps)).exists()
    # Clouds are drawn anew in every step, and so are recombined people.
    is_as_read = not config.data.clouds.points and not config.learner.recombination.share
    train = _with_features(face_set.train, functions.features, precompute and is_as_read)
    test = _with_features(face_set.test, functions.features, precompute)
    return fit_in_batches(
        learner,
        train,
        test,
        run.folder,
        run.loop,
        run.options,
        run.devices,
        names=face_set.names,
        batch_size=config.batch_size,
        evaluation_batch=64,
        seed=config.seed,
        in_memory=isinstance(face_set.train, ArraySource),
        neutrals=face_set.neutrals,
    )


def train_faces(name: str, config: FaceRunConfig, options: RunOptions, arrangement: Arrangement, *, title: str) -> int:
    """A whole run: loads, trains or resumes, evaluates and reports; returns the exit code."""
    run = open_face_run(name, config, options, arrangement)
    result = fit_faces(run, run.learner())
    if jax.process_index() == 0:
        say(options, "evaluating")
        codec = codec_of(config.learner, run.constants, result.state, run.face_set.expressions)
        model = weights_hash({"params": result.state.params, "batch_stats": result.state.batch_stats})
        kept = KeptCodes(run.folder.path / CODES_FILE, model)
        codec = kept.codec(codec)
        trained = trained_model(run, codec, result.state)
        trained.save(run.folder.path / MODEL_FILE)
        report_faces(run, codec, result, arrangement, title=title, model=trained)
        kept.remove()
    return 0


def report_faces(
    run: FaceRun,
    codec: FaceCodec,
    result: FitResult,
    paper: Arrangement,
    *,
    title: str,
    model: TrainedFaceModel | None = None,
) -> None:
    """Measures a trained model on the test faces; writes results.json, figures/ and report.html."""
    # Imported here, or training would wait for Matplotlib.
    from facedis_jax.reports.faces.report import FaceResults, write_face_report

    face_set, folder = run.face_set, run.folder
    predictions = predict(codec, face_set.test, face_set.neutrals)
    results = evaluate(codec, face_set, predictions)
    if run.config.register_predictions:
        results["registered"] = face_errors(register(predictions))
    device = run.devices[0]
    found = data_files(run.config.data, face_set)
    write_json(
        folder.results_file,
        {
            **results,
            **({"data_files": found} if found else {}),
            "command": typed_command(),
            "seed": run.config.seed,
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "device": device_label(run.devices),
        },
    )
    say(run.options, "drawing the report")
    write_face_report(
        folder,
        FaceResults(
            numbers=results,
            codec=codec,
            face_set=face_set,
            predictions=predictions,
            rows=[
                *read_metrics(folder.metrics_file, "train"),
                *read_metrics(folder.metrics_file, "test"),
            ],
            paper=paper,
            model=model,
        ),
        title=title,
        subtitle=f"{face_set.name}, {result.step} steps in {result.seconds / 60:.1f} min on {device.device_kind}",
        command=typed_command(),
    )
    say(run.options, f"report: {folder.report_file}")


def trained_model(run: FaceRun, codec: FaceCodec, state: IbVaeState) -> TrainedFaceModel:
    """A run's model, to be handed over."""
    face_set, experiment = run.face_set, run.folder.config["experiment"]
    origin = origin_of(experiment, run.config, data=face_set.name, content_hash=face_set.content_hash)
    params = FaceParams(state.params, state.batch_stats)
    return TrainedFaceModel.of(run.config.learner, params, trained_faces(codec, run.constants, face_set), origin)


def trained_faces(codec: FaceCodec, constants: FaceConstants, face_set: FaceSet) -> TrainedFaces:
    """Codes, names and topology of the training faces, for editing; of a large set, of 5,000 faces evenly spaced."""
    faces = encode_faces(codec, face_set.train, 5000)
    # Labels are of measured levels, as in training; without labels, levels are there to choose faces by.
    level = faces.level if codec.label_names else face_set.true_levels(faces.index, faces.level)
    return TrainedFaces(
        constants=constants,
        triangles=face_set.triangles,
        subjects=face_set.subjects,
        expressions=face_set.expressions,
        neutrals=face_set.neutrals,
        codes=faces.mean,
        subject=faces.subject,
        expression=faces.expression,
        level=level,
    )


def _sizes_of_training(face_set: FaceSet, config: FaceRunConfig) -> Iterator[int]:
    """Bytes of the training faces, with what is computed of each mesh."""
    total = dataset_bytes(face_set.train)
    if config.precompute:
        vertices = jax.ShapeDtypeStruct(face_set.neutrals.shape[1:], np.float32)
        groups = jax.eval_shape(partial(point_features, config=config.learner.model.encoder.features), vertices)
        total += len(face_set.train) * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(groups))
    yield total


def _with_features(source: FaceSource, features: Any, precompute: bool) -> FaceSource:
    if not precompute:
        return source
    return FeatureSource(source, map_vertices(features, source, "grouping vertices"))  # type: ignore[return-value]
