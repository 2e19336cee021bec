"""Motion, shape and appearance of a video apart, learned from clips alone (Xing et al., sections 4 and 5.6).

Question   Does the geometry of a clip carry its motion and its shape, and the appearance who it is, so that one clip's
           appearance can be shown with another's performance?
Data       Synthetic expression videos of the embedded face (or of `--data.face-model`), whose expression levels are
           known frame by frame; or real ones: folders of frames as MUG has them, `--data.kind folders --data.folder
           MUG`, or video files, `--data.kind files`.
Command    python -m experiments.faces_video                               (demo, two CPU cores, no data set)
           python -m experiments.faces_video --data.kind folders --data.folder MUG
           python -m experiments.faces_video --preset paper --data.kind folders --data.folder MUG
Method     Alternating back-propagation through time, one persistent chain per clip. Beside it, on the frames one by
           one: the deformable generator of images, with as many latents per clip and as many frames in every step.
           Measured on unseen people: reconstruction, and clips of one's appearance with another's geometry, whose
           expression level is read by a regression fitted to real clips only. The latter also of training clips, by
           the latents of their chains, as in the paper.
Output     report.html with clips that play and Figures 15 to 19, results.json, figures/, and a folder per model.
Presets    tiny: the whole path in under a minute, nothing is learned well. demo: ten minutes on two cores.
           paper: section 5.6, on an accelerator.
Expected   demo: squared error of unseen frames 1.8, of the generator of single frames 3.6; the level of recombined
           clips follows the geometry's clip with r = 0.96 (training clips) and 0.87 (unseen people).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from facedis_jax.data.images.image_set import images_of
from facedis_jax.data.pixel_set import Chosen, Pixels
from facedis_jax.data.synthetic.videos import SyntheticClipConfig
from facedis_jax.data.videos.clip_set import ClipSet, clip_frames, clips_of, stack_clips
from facedis_jax.errors import check_least
from facedis_jax.evaluation.canonical import flow_results
from facedis_jax.evaluation.images import summary
from facedis_jax.evaluation.videos import (
    LevelReader,
    donor_scores,
    draw_pairs,
    fit_level_reader,
    frame_errors,
    level_scores,
    person_scores,
)
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.inference.videos import recombine, select_clips
from facedis_jax.learners import AbpConfig, AbpVideoConfig, LangevinConfig, OptimiserConfig
from facedis_jax.models import DynamicConfig, DynamicLatents, GeneratorConfig, Latents
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say
from facedis_jax.runs.images import TrainedImages, train_images
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainingConfig,
    check_model,
    check_training,
    open_model_run,
    report_run,
)
from facedis_jax.runs.videos import TrainedClips, VideoDataConfig, load_clip_set, train_clips

if TYPE_CHECKING:
    from facedis_jax.reports.videos.results import VideoResults


@dataclass(frozen=True)
class FacesVideoConfig:
    """The experiment.

    Attributes:
      data: the clips.
      learner: the dynamic generator and how it is learned.
      training: how long; its batches are of clips.
      compare: also train the generator of single frames.
      frame_learner: that generator; its size and its numbers of latents follow from the clips and from `learner`.
      pairs: how many recombinations of unseen clips are measured, at most.
      traversal_range: in the report, dimensions of the appearance code, and of the geometric code, go from minus this
        to this, in standard deviations of the prior.
      seed: of everything random.

    Raises:
      InputError: for no pairs.
    """

    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    learner: AbpVideoConfig = field(default_factory=AbpVideoConfig)
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(epochs=3000, batch_size=10, log_every_epochs=5, evaluation_examples=20)
    )
    compare: bool = True
    frame_learner: AbpConfig = field(default_factory=AbpConfig)
    pairs: int = 500
    traversal_range: tuple[float, float] = (10.0, 10.0)
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, pairs=1)


TINY_OPTIMISER = OptimiserConfig(learning_rate=2e-3, weight_decay=0.0, schedule="cosine")
SMALL_OPTIMISER = replace(TINY_OPTIMISER, geometry_warmup=1000)

# What minutes allow in place of the paper's 3,000 epochs: flows that are short, smooth by construction and zero at
# first, of a geometric code with a large gain, or the appearance would draw the motion. Motion is a fiftieth of the
# variance between clips and is learned last, after many weight steps: so steps are many, each of few sweeps and few
# frames, and sigma is small beside what moves.
DEMO = FacesVideoConfig(
    # Cut around the face, as the paper cuts MUG's: at 32 x 32, an expression is lost in a head and shoulders. As there,
    # people come to a laboratory with soft light: under hard lamps from another side in each clip, what differs between
    # one person's clips hides what moves in them.
    data=VideoDataConfig(
        size=32,
        frames=8,
        # With half as many people, errors on people never seen stop falling after a quarter of the steps.
        synthetic=SyntheticClipConfig(
            subjects=80, zoom=2.25, sway=0.5, tilt=1.5, apex=(0.8, 1.0), lamp_share=(0.1, 0.3), sitting="person"
        ),
    ),
    learner=AbpVideoConfig(
        model=DynamicConfig(
            size=32,
            appearance_latents=48,
            geometry_latents=32,
            # The appearance does not change over a clip; where it may, it learns a part of the motion.
            appearance_noise=0,
            geometry_noise=6,
            transition_hidden=64,
            appearance_filters=48,
            geometry_filters=64,
            # Unscaled weights learn faster.
            weight_balance=None,
            output="sigmoid",
            displacement=0.15,
            geometry_gain=3.0,
            initial_flow=0.1,
            flow_scale=2,
        ),
        # Random codes of the start would have to be unlearned before motion is learned.
        langevin=LangevinConfig(num_steps=2, step_size=0.012, inference_steps=300, average_last=100, initial_std=0.05),
        noise_step=12.0,
        sigma=0.1,
        optimiser=SMALL_OPTIMISER,
    ),
    training=TrainingConfig(
        epochs=100, batch_size=4, evaluate_every_epochs=25, checkpoint_every_epochs=25, evaluation_examples=10
    ),
    frame_learner=AbpConfig(
        model=GeneratorConfig(
            filters=64, filter_balance=0.625, displacement=0.15, geometry_gain=3.0, initial_flow=0.1, flow_scale=2
        ),
        langevin=LangevinConfig(num_steps=2, inference_steps=100, average_last=30, initial_std=0.05),
        sigma=0.2,
        early_sigma=0.4,
        early_epochs=3,
        optimiser=SMALL_OPTIMISER,
    ),
    pairs=200,
    traversal_range=(3.0, 3.0),
)
TINY = replace(
    DEMO,
    data=VideoDataConfig(
        size=16,
        frames=6,
        synthetic=SyntheticClipConfig(subjects=3, test_subjects=2, expressions=("happy", "neutral", "surprise")),
    ),
    learner=replace(
        DEMO.learner,
        model=replace(
            DEMO.learner.model,
            size=16,
            appearance_latents=12,
            geometry_latents=8,
            geometry_noise=3,
            appearance_filters=16,
            geometry_filters=16,
        ),
        langevin=LangevinConfig(num_steps=3, step_size=0.06, inference_steps=6),
        noise_step=6.0,
        sigma=0.3,
        optimiser=TINY_OPTIMISER,
    ),
    training=TrainingConfig(
        epochs=4, batch_size=3, evaluate_every_epochs=4, checkpoint_every_epochs=4, evaluation_examples=3
    ),
    frame_learner=replace(
        DEMO.frame_learner,
        model=replace(DEMO.frame_learner.model, filters=16),
        langevin=LangevinConfig(num_steps=3, inference_steps=6),
        optimiser=TINY_OPTIMISER,
    ),
    pairs=12,
)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": FacesVideoConfig()}


def main(config: FacesVideoConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.videos.dynamic import write_video_report

    clips = load_clip_set(config.data)
    check_model(config.learner.model, clips)
    check_training(config.training, clips.train.source, called="clips")
    trainings = [config.training]
    image_learner = None
    if config.compare:
        image_learner = frame_learner(config, clips)
        trainings.append(of_frames(config.training, clips.frames))
    run = open_model_run(
        "faces_video",
        config,
        options,
        trainings=trainings,
        data=clips,
        sources=[clips.train.source],
    )
    dynamic = train_clips(run, "dynamic", config.learner, config.training, Examples.of(clips))
    image = None
    if image_learner is not None:
        names = [f"{name}, frame {i}" for name in clips.train.names for i in range(clips.frames)]
        frames = Examples(clip_frames(clips.train.source), clip_frames(clips.test.source), names)
        image = train_images(run, "image", image_learner, trainings[-1], frames)
    if jax.process_index() == 0:
        say(options, "evaluating")
        results = evaluate(run, config, clips, dynamic, image)
        report_run(
            run,
            results.numbers,
            lambda command: write_video_report(
                run.folder, clips, results, command=command, traversal_range=config.traversal_range
            ),
        )
    return 0


def of_frames(training: TrainingConfig, frames: int) -> TrainingConfig:
    """The same training of a generator of single frames: as many of them in a step, and as many steps."""
    return replace(
        training, batch_size=training.batch_size * frames, evaluation_examples=training.evaluation_examples * frames
    )


def latents_per_clip(model: DynamicConfig, frames: int) -> tuple[int, int]:
    """Latents of a clip, of appearance and of geometry: those of Z_0 and the noise of later frames."""
    later = frames - 1
    return (
        model.appearance_latents + later * model.appearance_noise,
        model.geometry_latents + later * model.geometry_noise,
    )


def frame_learner(config: FacesVideoConfig, clips: ClipSet) -> AbpConfig:
    """The generator of single frames whose latents per clip are those of the dynamic one, rounded up."""
    appearance, geometry = (
        math.ceil(latents / clips.frames) for latents in latents_per_clip(config.learner.model, clips.frames)
    )
    model = replace(
        config.frame_learner.model,
        size=clips.size,
        channels=clips.channels,
        appearance_latents=appearance,
        geometry_latents=geometry,
    )
    return replace(config.frame_learner, model=model)


def evaluate(
    run: ModelRun, config: FacesVideoConfig, clips: ClipSet, dynamic: TrainedClips, image: TrainedImages | None
) -> "VideoResults":
    """Measures both models on the unseen clips, and expression levels where they are known."""
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.videos.results import VideoResults

    test = clips_of(clips.test.source)
    labels = {name: np.asarray(values) for name, values in clips.test.labels.items()}
    latents = dynamic.codec.infer(test)
    predictions = Decoded(dynamic.codec.decode, latents)
    errors = frame_errors(test, predictions)
    numbers: dict[str, Any] = {
        "clips": {"train": len(clips.train.source), "test": len(test)},
        "frames": clips.frames,
        "device": device_label(run.devices),
        "latents_per_clip": {"dynamic": sum(latents_per_clip(config.learner.model, clips.frames))},
        "dynamic": {"squared_error": summary(errors), **dynamic.effort},
        **flow_results(dynamic.codec, np.asarray(dynamic.codec.codes(latents).geometry)),
    }
    frame_predictions = None
    if image is not None:
        codes = image.codec.infer(images_of(clip_frames(clips.test.source)))
        frame_predictions = decoded_frames(image.codec, codes, clips.frames)
        frame_by_frame = frame_errors(test, frame_predictions)
        per_frame = image.codec.appearance_latents + image.codec.geometry_latents
        numbers["latents_per_clip"]["image"] = per_frame * clips.frames
        numbers["image"] = {"squared_error": summary(frame_by_frame), **image.effort}
        numbers["share_of_frames_with_lower_error"] = float(np.mean(errors < frame_by_frame))

    truth = clips.train.labels
    reader = None
    if all("level" in known and np.any(known["level"]) and "expression" in known for known in (labels, truth)):
        reader = fit_level_reader(stack_clips(clips.train.source), truth["level"], truth["expression"])

    found = {"recombination": recombination_scores(config, dynamic, reader, test, latents, predictions, labels)}
    if dynamic.chains is not None:
        rows = clips_of_as_many_people(truth["subject"], labels["subject"])
        known = {name: np.asarray(values)[rows] for name, values in truth.items()}
        shown = clips_of(Chosen(clips.train.source, rows))
        chains = select_clips(dynamic.chains, rows)
        made = Decoded(dynamic.codec.decode, chains)
        found["recombination_of_training_clips"] = recombination_scores(
            config, dynamic, reader, shown, chains, made, known
        )
    numbers |= {name: scores for name, scores in found.items() if scores}
    return VideoResults(
        numbers=numbers,
        codec=dynamic.codec,
        clips=test,
        latents=latents,
        predictions=predictions,
        frame_predictions=frame_predictions,
        rows={"dynamic": dynamic.rows} | ({} if image is None else {"image": image.rows}),
        labels=labels,
        expressions=clips.classes.get("expression", ()),
    )


def recombination_scores(
    config: FacesVideoConfig,
    dynamic: TrainedClips,
    reader: LevelReader | None,
    clips: Pixels,
    latents: DynamicLatents,
    predictions: Decoded,
    labels: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Scores of clips of one's appearance and another's geometry; empty where there is only one person."""
    pairs = draw_pairs(labels["subject"], labels.get("expression"), count=config.pairs, seed=config.seed)
    if not len(pairs.appearance):
        return {}
    donors = select_clips(latents, pairs.appearance), select_clips(latents, pairs.geometry)
    outputs = Decoded(dynamic.codec.decode, recombine(*donors))
    scores: dict[str, Any] = {"pairs": len(outputs), "donor": donor_scores(outputs, pairs, clips, labels["subject"])}
    person = person_scores(outputs, pairs, clips, labels["subject"], seed=config.seed)
    if person is not None:
        scores["person"] = person
    if reader is not None:
        scores["level"] = level_scores(
            reader, outputs, pairs, clips, predictions, labels["level"], labels["expression"]
        )
    return scores


def decoded_frames(codec: ImageCodec, codes: Latents, frames: int) -> Decoded:
    """Clips of so many frames by a generator of single frames, from the codes [clips * frames, latents] of all."""

    def decode(codes: Latents) -> np.ndarray:
        images = codec.decode(jax.tree.map(lambda z: z.reshape(-1, z.shape[-1]), codes))
        return images.reshape(-1, frames, *images.shape[1:])

    return Decoded(decode, jax.tree.map(lambda z: z.reshape(-1, frames, z.shape[-1]), codes))


def clips_of_as_many_people(subjects: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Rows of the clips of the first people, as many people as `others` has, so that chance is the same for both."""
    first = np.unique(subjects)[: len(np.unique(others))]
    return np.flatnonzero(np.isin(subjects, first))


if __name__ == "__main__":
    run_experiment("faces_video", __doc__ or "", PRESETS, main, device_per_core=True)
