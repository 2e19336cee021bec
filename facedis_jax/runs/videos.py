"""Runs on videos: from clips to trained generators."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax

from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.videos import SyntheticClipConfig, synthetic_clips
from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.errors import InputError
from facedis_jax.inference.codecs import VideoCodec, video_codec
from facedis_jax.inference.generator_models import TrainedVideoModel
from facedis_jax.learners import ABP_VIDEO_STATE_AXES, AbpVideoConfig, Learner, abp_video_functions, abp_video_learner
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainedModel,
    TrainingConfig,
    loaded_model,
    save_model,
    synthetic_or_folder,
    train_model,
)

TrainedClips = TrainedModel[VideoCodec]

# Clips whose latents are inferred at once for the curves; each takes the memory of all of its frames.
_EVALUATION_BATCH = 10


@dataclass(frozen=True)
class VideoDataConfig:
    """Which clips are learned from.

    Attributes:
      kind: folders of frames, as MUG has them, or video files, or synthetic clips.
      folder: of the real set.
      size: height and width in pixels, a power of two.
      frames: of a clip; synthetic performances are shown whole in any number of them.
      crop: of a real set's frames, see `facedis_jax.formats.images.Framing`.
      stride, cut: of real recordings, see `facedis_jax.data.videos.cutting.Cutting`.
      expressions: those that are kept of a real set, all if empty.
      num_test_subjects: how many people of a real set are tested; None for a tenth.
      max_train, max_test: a fixed choice of so many recordings of a real set's halves; None for all.
      prepared: where prepared copies of real sets are kept; None for a cache in the user's home.
      skip_damaged: skip recordings of a real set that cannot be used (damaged, short, empty, with gaps);
        `skipped.json` lists them.
      links_out: follow links that lead out of a real set\'s folder; with the option\'s opposite they are refused.
      face_model: what synthetic clips show: None for the embedded face, a .npz, or a checkout of ICT-FaceKit.
      recipes: a JSON file that says how a face model performs expressions with units of other names than ARKit's.
      synthetic: who performs what in synthetic clips; `frames` above holds, not its own.
    """

    kind: Literal["synthetic", "folders", "files"] = "synthetic"
    folder: Path | None = None
    size: int = 64
    frames: int = 60
    crop: str = "center_square"
    stride: int = 1
    cut: str = "first"
    expressions: tuple[str, ...] = ()
    num_test_subjects: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    prepared: Path | None = None
    skip_damaged: bool = False
    links_out: bool = True
    verify: bool = False
    face_model: Path | None = None
    recipes: Path | None = None
    synthetic: SyntheticClipConfig = field(default_factory=SyntheticClipConfig)


def load_clip_set(data: VideoDataConfig, option: str = "--data") -> ClipSet:
    """The clips of a real set, or synthetic ones.

    Args:
      data: which.
      option: the option that they are given by, for errors.

    Raises:
      InputError: a real set without its folder, or one that cannot be used, or clips of one frame.
    """
    if data.frames < 2:
        raise InputError(f"{option}.frames", "2 or more", str(data.frames))
    folder = synthetic_or_folder(data.kind, data.folder, option, "videos")
    if folder is None:
        synthetic = replace(data.synthetic, frames=data.frames)
        return synthetic_clips(load_face_model(data.face_model, data.recipes), synthetic, size=data.size)
    names = ("size", "frames", "crop", "stride", "cut", "expressions", "num_test_subjects", "max_train", "max_test")
    settings: dict[str, Any] = {name: getattr(data, name) for name in names}
    how: dict[str, Any] = {"skip_damaged": data.skip_damaged, "links_out": data.links_out, "verify": data.verify}
    # Imported here, or `--help` would wait for TFDS.
    from facedis_jax.data.videos.load import load_videos

    return load_videos(data.kind, folder, prepared_dir=data.prepared, **how, **settings)


def train_clips(
    run: ModelRun, name: str, config: AbpVideoConfig, training: TrainingConfig, examples: Examples
) -> TrainedClips:
    """Trains a dynamic generator, from its last checkpoint if there is one.

    Args:
      run: the run.
      name: of the model, and of its folder in the run's.
      config: what is learned.
      training: for how long.
      examples: clips.

    Raises:
      InputError: there are fewer clips than a batch has.
      RunInterrupted: on Ctrl-C.
    """

    def learner(**schedule: Any) -> Learner:
        return abp_video_learner(config, num_clips=len(examples.train), **schedule)

    trained = train_model(
        run,
        name,
        learner,
        training,
        examples,
        codec=lambda params: video_codec(abp_video_functions(config), params, seed=run.seed, devices=run.devices),
        state_axes=ABP_VIDEO_STATE_AXES,
        evaluation_batch=_EVALUATION_BATCH,
    )
    clip: Any = examples.train[0]
    save_model(run, name, TrainedVideoModel, config, trained, frames=len(clip["frames"]))
    return trained


def loaded_clips(
    config: AbpVideoConfig, path: Path, *, seed: int, devices: Sequence[jax.Device] | None = None
) -> TrainedClips:
    """A generator of clips that another run has trained; see `loaded_model`."""
    functions = abp_video_functions(config)

    def codec(params: Any) -> VideoCodec:
        return video_codec(functions, params, seed=seed, devices=devices)

    return loaded_model(TrainedVideoModel, config, functions, codec, path)
