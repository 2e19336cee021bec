"""The training steps that are measured: the paper presets of the experiments, on fake data of the real shapes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from experiments import coma_ib, faces_deformable, faces_video
from facedis_jax.errors import InputError
from facedis_jax.learners import (
    ABP_STATE_AXES,
    ABP_VIDEO_STATE_AXES,
    AbpConfig,
    AbpVideoConfig,
    FaceConstants,
    IbVaeConfig,
    Learner,
    abp_learner,
    abp_video_learner,
    face_functions,
    ib_vae_learner,
)

AXIS = "devices"

HostBatch = dict[str, Any]
Compute = Literal["float32", "bfloat16"]
Groups = Literal["step", "given"]

# Of the sets that the papers learn from: CoMA's training half, and the 10,000 images of CelebA.
COMA_FACES, COMA_SCALE, COMA_EXPRESSIONS = 18_416, 260.0, 12
NUM_IMAGES = 10_000
# MUG's clips in the paper's experiment of 3,000 epochs; only the number of chains depends on it.
NUM_CLIPS = 960


class TrainingStep(NamedTuple):
    """A learner with all that is needed to run its step.

    Attributes:
      learner: its collectives are over `AXIS`, so that it runs under `training.data_parallel`, or under `jax.jit` where
        it was asked for without an axis.
      state_axes: how its state is split over devices, for `data_parallel`.
      make_batch: a seed -> host arrays [batch, ...] of the real shapes and types.
      config: of the learner, which gives a PyTorch step the same sizes.
    """

    learner: Learner
    state_axes: Any
    make_batch: Callable[[int], HostBatch]
    config: Any


def ib_vae_step(
    batch_size: int,
    vertices: int = 5023,
    *,
    config: IbVaeConfig = coma_ib.PRESETS["paper"].learner,
    compute: Compute | None = None,
    groups: Groups = "step",
    axis_name: str | None = AXIS,
) -> TrainingStep:
    """The IB-VAE on CoMA.

    Args:
      batch_size: faces of a step.
      vertices: of a face.
      config: of the learner; the paper's.
      compute: type of what flows through the encoder; None for the configuration's.
      groups: of points, computed in the step, or "given" with each mesh as where they are computed once for all.
      axis_name: the device axis, None for a step that is jitted for one device.
    """
    if compute is not None:
        config = replace(config, model=replace(config.model, encoder=replace(config.model.encoder, compute=compute)))
    mean_face = fake_face(vertices)
    constants = FaceConstants(
        mean_face=mean_face,
        scale=COMA_SCALE,
        num_faces=COMA_FACES,
        num_expressions=COMA_EXPRESSIONS,
        moment_mean=np.zeros((2 * config.model.encoder.features.harmonics + 1) ** 3 - 1, np.float32),
        moment_deviation=1.0,
    )
    learner = ib_vae_learner(config, constants, **_schedule(COMA_FACES, batch_size), axis_name=axis_name)
    features_of = jax.jit(jax.vmap(face_functions(config, constants).features))

    def make_batch(seed: int) -> HostBatch:
        batch = fake_faces(mean_face, batch_size, seed)
        if groups == "given":
            batch["features"] = jax.tree.map(np.asarray, features_of(batch["vertices"]))
        return batch

    return TrainingStep(learner, None, make_batch, config)


def deformable_step(
    batch_size: int = 64,
    size: int = 64,
    langevin_steps: int = 20,
    *,
    config: AbpConfig = faces_deformable.PRESETS["paper"].learner,
    num_images: int = NUM_IMAGES,
    compute: Compute | None = None,
    axis_name: str | None = AXIS,
) -> TrainingStep:
    """One learning iteration of the deformable generator: Langevin sweeps of both latents, then the weights.

    Args:
      batch_size: images of a step.
      size: their height and width.
      langevin_steps: sweeps; 0 leaves the sampler out.
      config: of the learner; the paper's.
      num_images: of the set, one chain each; at least those of a step.
      compute: type of what flows through the networks; None for the configuration's.
      axis_name: as of `ib_vae_step`.
    """
    config = replace(
        config,
        model=replace(config.model, size=size, compute=compute or config.model.compute),
        langevin=replace(config.langevin, num_steps=langevin_steps),
    )
    num_images = max(num_images, batch_size)
    learner = abp_learner(config, num_images=num_images, **_schedule(num_images, batch_size), axis_name=axis_name)
    shape = (batch_size, size, size, config.model.channels)
    return TrainingStep(learner, ABP_STATE_AXES, lambda seed: _fake_pixels("image", shape, num_images, seed), config)


def dynamic_step(
    batch_size: int = faces_video.PRESETS["paper"].training.batch_size,
    frames: int = faces_video.PRESETS["paper"].data.frames,
    langevin_steps: int | None = None,
    *,
    config: AbpVideoConfig = faces_video.PRESETS["paper"].learner,
    compute: Compute | None = None,
    axis_name: str | None = AXIS,
) -> TrainingStep:
    """One learning iteration of the dynamic generator.

    Args:
      batch_size: clips of a step.
      frames: of a clip.
      langevin_steps: sweeps; None for the configuration's.
      config: of the learner; the paper's.
      compute: as of `deformable_step`.
      axis_name: as of `ib_vae_step`.
    """
    if langevin_steps is not None:
        config = replace(config, langevin=replace(config.langevin, num_steps=langevin_steps))
    if compute is not None:
        config = replace(config, model=replace(config.model, compute=compute))
    num_clips = max(NUM_CLIPS, batch_size)
    learner = abp_video_learner(config, num_clips=num_clips, **_schedule(num_clips, batch_size), axis_name=axis_name)
    model = config.model
    shape = (batch_size, frames, model.size, model.size, model.channels)
    axes = ABP_VIDEO_STATE_AXES
    return TrainingStep(learner, axes, lambda seed: _fake_pixels("frames", shape, num_clips, seed), config)


ModelName = Literal["ib_vae", "deformable", "dynamic"]
STEPS: dict[ModelName, Callable[..., TrainingStep]] = {
    "ib_vae": ib_vae_step,
    "deformable": deformable_step,
    "dynamic": dynamic_step,
}


def step_of(model: ModelName, compute: Compute, groups: Groups) -> Callable[..., TrainingStep]:
    """What makes a model's step of a batch size.

    Raises:
      InputError: for groups where the model has none.
    """
    if model == "ib_vae":
        return partial(STEPS[model], compute=compute, groups=groups)
    if groups != "step":
        raise InputError("--groups", f"step for {model}", groups)
    return partial(STEPS[model], compute=compute)


def fake_face(vertices: int) -> np.ndarray:
    """Points [vertices, 3] in mm, spread evenly over an ellipsoid of a head's size."""
    places = np.arange(vertices) + 0.5
    height, angle = 1 - 2 * places / vertices, np.pi * (3 - np.sqrt(5)) * places
    radius = np.sqrt(1 - height**2)
    sphere = np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)
    return (sphere * np.array([75.0, 110.0, 95.0])).astype(np.float32)


def fake_faces(mean_face: np.ndarray, batch_size: int, seed: int) -> HostBatch:
    """A batch of smoothly deformed copies of one face, each with a neutral of its own."""
    random = np.random.default_rng(seed)
    direction = mean_face / np.linalg.norm(mean_face, axis=1, keepdims=True)

    def deformations(deviation: float) -> np.ndarray:
        waves = np.sin(random.normal(0, 0.03, (batch_size, 3)) @ mean_face.T + random.uniform(0, 6, (batch_size, 1)))
        return deviation * waves[..., None] * direction

    neutral = mean_face + deformations(5.0)
    return {
        "vertices": (neutral + deformations(2.0)).astype(np.float32),
        "neutral": neutral.astype(np.float32),
        "expression": random.integers(0, COMA_EXPRESSIONS, batch_size).astype(np.int32),
        "level": random.uniform(0, 1, batch_size).astype(np.float32),
    }


def _fake_pixels(name: str, shape: tuple[int, ...], num_examples: int, seed: int) -> HostBatch:
    random = np.random.default_rng(seed)
    return {
        name: random.integers(0, 256, shape, dtype=np.uint8),
        "index": random.permutation(num_examples)[: shape[0]].astype(np.int32),
    }


def _schedule(num_examples: int, batch_size: int) -> dict[str, Any]:
    """Steps per epoch, and a length of the run that no measurement reaches."""
    steps_per_epoch = num_examples / batch_size
    return {"steps_per_epoch": steps_per_epoch, "num_steps": round(300 * steps_per_epoch)}
