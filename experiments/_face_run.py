"""The path that the IB-VAE's experiments share, from faces to a report; each experiment brings its own settings."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments._command_line import RunOptions
from facedis_jax.data.bu3dfe import load_bu3dfe
from facedis_jax.data.coma import load_coma
from facedis_jax.data.face_model import load_face_model
from facedis_jax.data.faces import ArraySource, FaceSet, FaceSource
from facedis_jax.data.pipeline import evaluation_batches, train_batches
from facedis_jax.data.precomputed import FeatureSource, map_vertices
from facedis_jax.data.synthetic import SyntheticConfig, synthetic_scans, synthetic_sequences
from facedis_jax.errors import InputError
from facedis_jax.learners import FaceConstants, IbVaeConfig, face_functions, ib_vae_learner
from facedis_jax.models import PointFeatureConfig, fourier_moments
from facedis_jax.reports.codec import FaceCodec, codec_of
from facedis_jax.reports.trained_faces import TrainedFaces
from facedis_jax.training import LoopConfig, RunFolder, check_batch_size, fit

AXIS = "devices"
MODEL_FILE = "model.npz"


@dataclass(frozen=True)
class FaceDataConfig:
    """Which faces are learned from.

    Attributes:
      folder: the real data set as it is distributed; None for synthetic faces.
      face_model: what synthetic faces are made of: None for the embedded face, a .npz, or a checkout of ICT-FaceKit.
      split: how test faces are chosen.
      prepared: where the prepared copy of a real data set is kept; None for a cache in the user's home.
      synthetic: how synthetic subjects differ.
    """

    folder: Path | None = None
    face_model: Path | None = None
    split: Literal["paper", "sequence", "subject"] = "paper"
    prepared: Path | None = None
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)


@dataclass(frozen=True)
class FaceRunConfig:
    """An IB-VAE experiment.

    Attributes:
      data: the faces.
      learner: networks, weights, optimiser.
      epochs: how often the training set is seen.
      batch_size: faces of a step, over all devices.
      seed: of the initial weights, the noise and the order of the faces.
      precompute: compute what the encoder needs of each mesh (its groups of points) once and keep it in memory; else
        in every step, on the device.
      log_every, evaluate_every, checkpoint_every: steps between log lines, evaluations and checkpoints.
    """

    data: FaceDataConfig = field(default_factory=FaceDataConfig)
    learner: IbVaeConfig = field(default_factory=IbVaeConfig)
    epochs: float = 300
    batch_size: int = 32
    seed: int = 0
    precompute: bool = False
    log_every: int = 50
    evaluate_every: int = 5000
    checkpoint_every: int = 1000


Arrangement = Literal["coma", "bu3dfe"]


def load_faces(data: FaceDataConfig, arrangement: Arrangement) -> FaceSet:
    """Reads the real data set, or makes its synthetic counterpart."""
    if data.folder is not None:
        load = load_coma if arrangement == "coma" else load_bu3dfe
        return load(data.folder, split=data.split, prepared_dir=data.prepared)
    make = synthetic_sequences if arrangement == "coma" else synthetic_scans
    return make(load_face_model(data.face_model), data.synthetic, split=data.split)


def constants_of(face_set: FaceSet, features: PointFeatureConfig) -> FaceConstants:
    """What the learner needs to know of the training set, read through once."""
    total = np.zeros(face_set.neutrals.shape[1:], np.float64)
    for i in range(len(face_set.train)):
        total += face_set.train[i]["vertices"]
    moments = np.zeros((len(face_set.train), 0), np.float32)
    if features.harmonics:
        moments = map_vertices(
            lambda vertices: fourier_moments(vertices / face_set.scale, features.harmonics, features.period),
            face_set.train,
        )
    return FaceConstants(
        mean_face=(total / len(face_set.train)).astype(np.float32),
        scale=face_set.scale,
        num_faces=len(face_set.train),
        num_expressions=len(face_set.expressions),
        moment_mean=moments.mean(0),
        # A moment that hardly moves is noise and must not be blown up.
        moment_deviation=moments.std(0) + 1e-4,
    )


def train_faces(
    name: str,
    config: FaceRunConfig,
    options: RunOptions,
    arrangement: Arrangement,
    *,
    title: str,
) -> int:
    """Loads, trains (or resumes), evaluates and reports; returns the exit code."""
    devices = chosen_devices(options.devices)
    check_batch_size(config.batch_size, len(devices))
    face_set = load_faces(config.data, arrangement)
    identity = {"experiment": name, "data": face_set.content_hash, "config": as_json(config)}
    folder = RunFolder.open(options.workdir, identity)
    constants = constants_of(face_set, config.learner.model.encoder.features)
    steps_per_epoch = constants.num_faces / config.batch_size
    loop = LoopConfig(
        num_steps=round(config.epochs * steps_per_epoch),
        log_every=config.log_every,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    learner = ib_vae_learner(
        config.learner,
        constants,
        steps_per_epoch=steps_per_epoch,
        num_steps=loop.num_steps,
        axis_name=AXIS,
    )
    functions = face_functions(config.learner, constants)
    train, test = (
        _with_features(source, functions.features, config.precompute) for source in (face_set.train, face_set.test)
    )
    in_memory = isinstance(face_set.train, ArraySource)
    batches = train_batches(
        train,
        face_set.neutrals,
        batch_size=config.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=1 if in_memory else 4,
    )
    result = fit(
        learner,
        iter(batches),
        evaluation_batches(test, face_set.neutrals, batch_size=-(-64 // len(devices)) * len(devices)),
        folder,
        loop,
        key=jax.random.key(config.seed),
        devices=devices,
        method=options.parallel,
        axis_name=AXIS,
        tensorboard=options.tensorboard,
        quiet=options.quiet,
    )
    if result.interrupted_by is not None:
        print(f"stopped at step {result.step} of {loop.num_steps}; the same command resumes", file=sys.stderr)
        return result.exit_code
    if jax.process_index() == 0:
        state = jax.device_get(result.state)
        codec = codec_of(config.learner, constants, state, face_set.expressions)
        trained = trained_faces(codec, constants, face_set)
        trained.save(folder.path / MODEL_FILE)
        report_faces(folder, face_set, codec, trained, title=title, paper=arrangement)
    return 0


def trained_faces(codec: FaceCodec, constants: FaceConstants, face_set: FaceSet) -> TrainedFaces:
    """Encodes the training faces; of a large set 5,000, evenly spread."""
    rows = np.unique(np.linspace(0, len(face_set.train) - 1, 5000).round().astype(int))
    codes, faces = [], {"subject": [], "expression": [], "level": []}
    for first in range(0, len(rows), 256):
        batch = [face_set.train[i] for i in rows[first : first + 256]]
        for name, values in faces.items():
            values.extend(face[name] for face in batch)
        labels = codec.labels(
            np.array([face["expression"] for face in batch]), np.array([face["level"] for face in batch])
        )
        codes.append(codec.encode(np.stack([face["vertices"] for face in batch]), labels)[0])
    return TrainedFaces(
        constants=constants,
        triangles=face_set.triangles,
        subjects=face_set.subjects,
        expressions=face_set.expressions,
        neutrals=face_set.neutrals,
        codes=np.concatenate(codes),
        subject=np.array(faces["subject"], np.int32),
        expression=np.array(faces["expression"], np.int32),
        level=np.array(faces["level"], np.float32),
    )


def chosen_devices(count: int) -> list[jax.Device]:
    """The first `count` devices; all of them for 0.

    Raises:
      InputError: there are fewer.
    """
    devices = jax.devices()
    if not 0 <= count <= len(devices):
        raise InputError("--devices", f"0 to {len(devices)}", str(count))
    return devices[: count or None]


def _with_features(source: FaceSource, features: Any, precompute: bool) -> FaceSource:
    if not precompute:
        return source
    return FeatureSource(source, map_vertices(features, source))  # type: ignore[return-value]


def as_json(config: Any) -> dict[str, Any]:
    """Settings as plain JSON values."""
    return json.loads(json.dumps(asdict(config), default=str))


def report_faces(folder, face_set, codec, trained, *, title, paper):
    import facedis_jax.reports.evaluation as ev
    p = ev.predict(codec, face_set.test, face_set.neutrals)
    from facedis_jax.metrics import disentanglement_error
    e=np.linalg.norm(p.reconstruction-p.vertices,axis=-1).mean()
    print('rec',e,'neu',np.linalg.norm(p.neutral-p.neutral_target,axis=-1).mean(),'dis',disentanglement_error(p.neutral,p.subject).mean())
