"""Speed of the input pipeline, from ArrayRecord files to batches on the device, beside that of a training step.

    python -m benchmarks.input_pipeline
    python -m benchmarks.input_pipeline --kinds images --threads 0 4 8

Fake examples are written by the builders that prepare CoMA and the sets of images, into a temporary folder, and read by
`facedis_jax.data.pipeline`. They fit the machine's memory, so that decoding, batching and the transfer are measured and
not a disk. "kept" is as with `--keep-on-device` of the experiments: the examples are in the device's memory, and only
indices are batched. The training step is measured in the same run, with the same batch at every step; the pipeline
should deliver at least five times as many examples per second as the step consumes.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tensorflow_datasets as tfds

from benchmarks.measurement import BenchmarkOptions, print_table, run_benchmark, time_in_turn
from benchmarks.models import COMA_EXPRESSIONS, COMA_SCALE, STEPS, ModelName, fake_face, fake_faces
from benchmarks.train_step import RunningStep
from facedis_jax.data.faces.face_set import FaceSet, FaceSource
from facedis_jax.data.faces.prepared import (
    FaceBuilder,
    FacesFiles,
    FaceSurvey,
    ReadFaces,
    face_encoder,
    load_prepared_faces,
    write_faces,
)
from facedis_jax.data.images.image_set import ImageSource
from facedis_jax.data.images.prepared import ImageBuilder, ImageSettings
from facedis_jax.data.on_device import device_dataset
from facedis_jax.data.pipeline import index_batches, train_batches
from facedis_jax.data.prepared_pixels import PixelSurvey, load_prepared_pixels
from facedis_jax.data.refusals import STRICT, Refusals
from facedis_jax.errors import InputError

Kind = Literal["faces", "images"]
MODELS: dict[Kind, ModelName] = {"faces": "ib_vae", "images": "deformable"}
BATCH_SIZES: dict[Kind, int] = {"faces": 16, "images": 64}
SUBJECTS = 12


@dataclass(frozen=True)
class InputConfig(BenchmarkOptions):
    """What is measured.

    Attributes:
      kinds: of examples.
      examples: of each that are written.
      vertices: of a face.
      size: height and width of an image.
      threads: that read batches ahead, as of `train_batches`.
      batch_size: by default 16 faces or 64 images.
      batches: of one measured call, from a cold start; many more than are read ahead.
      step: also measure the training step; without it there is nothing to compare with.
    """

    kinds: tuple[Kind, ...] = ("faces", "images")
    examples: int = 1024
    vertices: int = 5023
    size: int = 64
    threads: tuple[int, ...] = (0, 1, 4)
    batch_size: int | None = None
    batches: int = 64
    step: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batches", "vertices", "size"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}", "1 or more", str(getattr(self, name)))
        for kind in self.kinds:
            batch_size = self.batch_size or BATCH_SIZES[kind]
            if not 1 <= batch_size <= self.examples:
                raise InputError("--batch-size", f"1 to {self.examples}, the examples", str(batch_size))
        if min(self.threads) < 0:
            raise InputError("--threads", "0 or more", str(min(self.threads)))


@dataclass(eq=False)
class FakeFacesConfig(tfds.core.BuilderConfig):
    """How many faces are made up, of how many vertices."""

    name: str = "fake"
    num_faces: int = 1024
    num_vertices: int = 5023


class FakeFaces(FaceBuilder):
    """Registered faces of the shape of CoMA's, in metres as they are."""

    name = "fake_faces"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Nothing to get: the faces are made up."

    def named_files(self, folder: Path) -> dict[str, Path]:
        return {}

    def survey(self, folder: Path) -> FaceSurvey:
        config = self.builder_config
        mean_face = fake_face(config.num_vertices)
        faces = np.arange(config.num_faces)
        subject, expression = (faces % count for count in (SUBJECTS, COMA_EXPRESSIONS))
        levels = np.linspace(0, 1, config.num_faces, dtype=np.float32)
        groups = [faces[start : start + 256].tolist() for start in range(0, config.num_faces, 256)]

        def read(files: Sequence[FacesFiles]) -> Iterator[ReadFaces]:
            for group, own in zip(groups, files, strict=True):
                records = []
                for i in group:
                    vertices = fake_faces(mean_face, 1, seed=i)["vertices"][0] / 1000
                    labels = {"subject": subject[i], "expression": expression[i], "level": levels[i], "index": i}
                    records.append(face_encoder()({"vertices": vertices, **labels}))
                digests = [hashlib.sha256(record).digest() for record in records]
                yield ReadFaces(
                    digests, dict.fromkeys(range(SUBJECTS), mean_face[None] / 1000), write_faces(records, own)
                )

        return FaceSurvey(
            names=[f"{i:06d}" for i in faces],
            subject=subject,
            expression=expression,
            subjects=[f"subject {i}" for i in range(SUBJECTS)],
            expressions=[f"expression {i}" for i in range(COMA_EXPRESSIONS)],
            triangles=np.zeros((1, 3), np.int32),
            unit="m",
            train=faces,
            test=faces[:1],
            groups=groups,
            read=read,
        )


@dataclass(frozen=True)
class FakeSettings(ImageSettings):
    """How many images are made up."""

    num_images: int = 1024


class FakeImages(ImageBuilder):
    """Images of random pixels."""

    name = "fake_images"
    settings_type = FakeSettings
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Nothing to get: the images are made up."

    @classmethod
    def survey(cls, folder: Path, settings: FakeSettings, refusals: Refusals = STRICT) -> PixelSurvey:
        shape = (settings.size, settings.size, settings.channels)

        def read(index: int) -> tuple[np.ndarray, bytes]:
            pixels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
            return pixels, pixels.tobytes()

        images = np.arange(settings.num_images)
        names = [f"{i:06d}" for i in images]
        return PixelSurvey("fake images", names, images, images[:1], [], read, lambda index: read(index)[1])


def fake_face_set(folder: Path, num_faces: int, num_vertices: int) -> FaceSet:
    """Faces prepared in a folder, to be read from there."""

    config = FakeFacesConfig(num_faces=num_faces, num_vertices=num_vertices)

    def builder(data_dir: Path) -> FaceBuilder:
        return FakeFaces(config=config, data_dir=data_dir, file_format="array_record")

    return load_prepared_faces(builder, "fake faces", folder, [], folder / "prepared", scale=COMA_SCALE)


def fake_images(folder: Path, num_images: int, size: int) -> ImageSource:
    """Images prepared in a folder, to be read from there."""
    settings = FakeSettings(size=size, num_images=num_images)
    return load_prepared_pixels(FakeImages, folder, settings, folder / "prepared").train.source


def take(dataset: Any, number: int, send: Callable[[Any], Any] = jax.device_put) -> None:
    """Sends the first batches of a data set to the default device, and waits until the last has arrived.

    The iterator is a new one, so that no batch was read ahead before the clock ran.
    """
    batches = iter(dataset)
    for _ in range(number):
        batch = send(next(batches))
    jax.block_until_ready(batch)
    batches.close()


def measure(kind: Kind, config: InputConfig, folder: Path) -> list[dict[str, Any]]:
    """One row per number of threads and one without; the pipelines and the step are timed in turn."""
    batch_size = config.batch_size or BATCH_SIZES[kind]
    model = MODELS[kind]
    source: FaceSource | ImageSource
    neutrals: np.ndarray | None = None
    if kind == "faces":
        face_set = fake_face_set(folder, config.examples, config.vertices)
        source, neutrals, shape = face_set.train, face_set.neutrals, {"vertices": config.vertices}
    else:
        source, shape = fake_images(folder, config.examples, config.size), {"size": config.size}

    calls: dict[str, Callable[[], Any]] = {}
    for threads in config.threads:
        batches = train_batches(source, neutrals, batch_size=batch_size, seed=0, num_threads=threads)
        calls[str(threads)] = partial(take, batches, config.batches)
    tables = device_dataset(source, neutrals)
    arrays, taken = jax.device_put(tables.arrays), jax.jit(tables.take)
    indices = index_batches(len(source), batch_size=batch_size, seed=0)
    calls["kept"] = partial(take, indices, config.batches, partial(taken, arrays))
    if config.step:
        calls["step"] = RunningStep(STEPS[model](batch_size, **shape), 1)
    timings = time_in_turn(calls, repeats=config.repeats)
    appetite = batch_size / timings["step"].median_s if config.step else None
    rows = []
    for how, timing in timings.items():
        if how == "step":
            continue
        timing = timing.divided_by(config.batches)
        rate = batch_size / timing.median_s
        rows.append(
            {
                "kind": kind,
                "batch": batch_size,
                "threads": None if how == "kept" else int(how),
                "kept": how == "kept",
                "batch_time": timing,
                "examples_per_s": rate,
                "step_takes_per_s": appetite,
                "ratio": None if appetite is None else rate / appetite,
            }
        )
    return rows


def main(config: InputConfig) -> list[dict[str, Any]]:
    rows = []
    for kind in config.kinds:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(kind, config, Path(folder))
    print_table("Input pipeline", rows)
    return rows


if __name__ == "__main__":
    run_benchmark("input_pipeline", __doc__ or "", InputConfig(), main)
