"""Expressions recognised from how a face deforms over time (Xing et al., section 5.6, Table 3).

Question   Is the expression in the geometry that a dynamic generator learns without labels, and rather in the
           deformation fields than in the codes that make them?
Data       Synthetic expression videos of the embedded face (or of `--data.face-model`): 50 people, six emotions and
           rest. Or real ones: folders of frames as MUG has them, `--data.kind folders --data.folder MUG`, or video
           files, `--data.kind files`.
Command    python -m experiments.expression_recognition                    (demo, two CPU cores, no data set)
           python -m experiments.expression_recognition --preset paper --data.kind folders --data.folder MUG
           python -m experiments.expression_recognition --video-model runs/faces_video-demo
Method     The generator, and a MoCoGAN of comparable size, learn all clips without labels; latents are inferred by
           Langevin dynamics, MoCoGAN's by an encoder that is learned on its own clips. A one-layer LSTM with 30 units
           and a softmax then learns the expression from the deformation fields over time (Ddf), from the geometric
           codes (Dglf), from raw frames, from their optical flow and from MoCoGAN's motion codes, in ten folds, of
           which no two share a person; so does a convolutional recurrent network that learns from pixels on.
Output     report.html with Table 3, confusions and clips that play, results.json, figures/, and a folder per model.
Presets    tiny: the whole path in about a minute, nothing is learned well. demo: fifteen minutes on two cores, and two
           to three of one for the network on frames, with which it has not been timed. paper: section 5.6, on an
           accelerator.
Expected   Ddf is right of more than 85 % of the clips, of more than Dglf, and of more than MoCoGAN's codes.
           demo: 89.7, 70.3 and 52.6 % (chance is 14.3 %); optical flow 94.9 %, the network on frames 96.3 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from experiments import faces_video
from facedis_jax.data.splits import subject_folds
from facedis_jax.data.synthetic.videos import SyntheticClipConfig
from facedis_jax.data.videos.clip_set import ArrayClips, Clip, ClipSet, ClipSource, ClipSplit, stack_clips
from facedis_jax.errors import InputError
from facedis_jax.evaluation.images import summary
from facedis_jax.evaluation.recognition import (
    Motion,
    as_sequences,
    chance,
    confusions,
    geometric_features,
    margin,
    motion_of,
    optical_flow_features,
    table_3,
)
from facedis_jax.evaluation.videos import frame_errors
from facedis_jax.inference.codecs import Decoded, MotionCodes, mocogan_codes
from facedis_jax.learners import (
    AbpVideoConfig,
    FoldResults,
    Learner,
    MocoganLearnerConfig,
    RecognitionConfig,
    classify_folds,
    mocogan_functions,
    mocogan_learner,
)
from facedis_jax.learners.mocogan import GAN_OPTIMISER
from facedis_jax.models import DynamicLatents, MocoganConfig
from facedis_jax.runs.command_line import RunOptions, chosen_devices, device_label, run_experiment, say
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainedModel,
    TrainingConfig,
    check_model,
    check_training,
    finished_model,
    open_model_run,
    report_run,
    train_model,
)
from facedis_jax.runs.videos import TrainedClips, VideoDataConfig, load_clip_set, loaded_clips, train_clips

if TYPE_CHECKING:
    from facedis_jax.reports.videos.recognition import RecognitionResults


MOTIONS: tuple[Motion, ...] = ("relative", "absolute")

# A performance comes back to rest, so that the whole of it is read; and components of a field that hardly vary stay
# small, or the many that are noise would drown the few that are not.
# Of few clips, without the paper's layer of 30 between LSTM and softmax.
CLASSIFIER = RecognitionConfig(dense=0, pooling="mean", scaling="common", components=64)
FRAME_NETWORK = replace(CLASSIFIER, components=None, filters=(16, 32, 64), epochs=30)


@dataclass(frozen=True)
class ExpressionConfig:
    """The experiment.

    Attributes:
      data: the clips; both halves of a set are learned from and recognised.
      learner: the dynamic generator and how it is learned.
      training: how long; its batches are of clips.
      video_model: the folder of a finished dynamic generator, or its file, of the same `learner.model`, in place of
        learning anew.
      codes: of the clips: "inferred" anew from the prior, or by as many more steps of their "chains";
        "at_hand" goes on from the chains where there are some, which a finished model comes without.
      motion: the features that count, "relative" to the clip's first frame or "absolute"; both are measured.
      compare: also train a MoCoGAN.
      mocogan: that model; its frames are of the clips' size.
      mocogan_training: how long.
      recognition: the classifier.
      frame_network: of a recurrent network on frames, learned by labels from pixels to expression.
      folds: of the cross-validation.
      seed: of everything random.
    """

    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    learner: AbpVideoConfig = field(default_factory=AbpVideoConfig)
    training: TrainingConfig = field(default_factory=lambda: faces_video.PRESETS["paper"].training)
    video_model: Path | None = None
    codes: Literal["inferred", "chains", "at_hand"] = "inferred"
    motion: Motion = "relative"
    compare: bool = True
    mocogan: MocoganLearnerConfig = field(default_factory=MocoganLearnerConfig)
    mocogan_training: TrainingConfig = field(default_factory=lambda: faces_video.PRESETS["paper"].training)
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    frame_network: RecognitionConfig = field(default_factory=lambda: RecognitionConfig(filters=(16, 32, 64)))
    folds: int = 10
    seed: int = 0


# Every clip's latents are inferred, of five times as many as `faces_video` infers: in fewer steps each.
SHORT_INFERENCE = replace(faces_video.DEMO.learner.langevin, inference_steps=100, average_last=50)

DEMO = ExpressionConfig(
    # Nobody is unseen here: more people would only leave each clip fewer steps.
    data=replace(faces_video.DEMO.data, synthetic=replace(faces_video.DEMO.data.synthetic, subjects=40)),
    # What tells anger from disgust is a tenth of what moves. So there is half the sigma, with steps as much shorter: a
    # sample's motion has less noise.
    learner=replace(
        faces_video.DEMO.learner,
        langevin=replace(SHORT_INFERENCE, step_size=SHORT_INFERENCE.step_size / 2),
        sigma=faces_video.DEMO.learner.sigma / 2,
    ),
    # All clips are learned from: their chains have taken more steps than inference from the prior takes.
    codes="at_hand",
    recognition=CLASSIFIER,
    frame_network=FRAME_NETWORK,
    # 26,250 steps: fine motion is learned last.
    training=replace(faces_video.DEMO.training, epochs=300, evaluate_every_epochs=100, checkpoint_every_epochs=25),
    # The generator has about as many weights as the dynamic one.
    mocogan=MocoganLearnerConfig(
        model=MocoganConfig(filters=64, critic_filters=16, output="sigmoid"),
        window=8,
        penalty_weight=0.5,
        critic_noise=0.05,
        optimiser=replace(GAN_OPTIMISER, learning_rate=1e-3),
        critic_optimiser=replace(GAN_OPTIMISER, learning_rate=5e-4),
    ),
    # 2,640 steps.
    mocogan_training=replace(
        faces_video.DEMO.training, batch_size=8, epochs=60, evaluate_every_epochs=20, checkpoint_every_epochs=10
    ),
)
TINY = replace(
    DEMO,
    data=replace(
        faces_video.TINY.data,
        synthetic=SyntheticClipConfig(subjects=4, test_subjects=2, expressions=("happy", "neutral", "surprise")),
    ),
    learner=faces_video.TINY.learner,
    training=faces_video.TINY.training,
    mocogan=replace(
        DEMO.mocogan,
        model=MocoganConfig(
            content_latents=12, motion_latents=8, motion_noise=3, filters=16, critic_filters=8, output="sigmoid"
        ),
    ),
    mocogan_training=faces_video.TINY.training,
    recognition=replace(CLASSIFIER, hidden=8, epochs=10, batch_size=6, components=8),
    frame_network=replace(FRAME_NETWORK, hidden=8, filters=(8, 8), epochs=5, batch_size=6),
    folds=3,
)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": ExpressionConfig()}


def main(config: ExpressionConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.videos.recognition import write_recognition_report

    if config.video_model is not None and config.codes == "chains":
        raise InputError("--codes", "inferred or at_hand, where a finished model without chains is taken", "chains")
    config = replace(config, video_model=finished_model(config.video_model))
    clip_set = load_clip_set(config.data)
    clips = joined(clip_set)
    folds = person_folds(clips, clip_set.classes.get("expression", ()), config.folds)
    check_model(config.learner.model, clip_set)
    trainings = []
    if config.video_model is None:
        check_training(config.training, clips.source, called="clips")
        trainings.append(config.training)
    if config.compare:
        mocogan_of(config, clip_set)  # refuses what it cannot be, before anything is trained
        check_training(config.mocogan_training, clips.source, "--mocogan-training", called="clips")
        trainings.append(config.mocogan_training)
    loaded = None
    if config.video_model is not None:
        devices = chosen_devices(options.devices)
        loaded = loaded_clips(config.learner, config.video_model, seed=config.seed, devices=devices)
    run = open_model_run(
        "expression_recognition",
        config,
        options,
        trainings=trainings,
        data=clip_set,
        sources=[clips.source],
    )
    examples = Examples(clips.source, clip_set.test.source, clips.names)
    dynamic = loaded or train_clips(run, "dynamic", config.learner, config.training, examples)
    mocogan = (
        train_mocogan(run, mocogan_of(config, clip_set), config.mocogan_training, examples) if config.compare else None
    )
    if jax.process_index() == 0:
        results = evaluate(run, config, clip_set, DealtClips(clips, folds), dynamic, mocogan)
        report_run(
            run,
            results.numbers,
            lambda command: write_recognition_report(run.folder, clip_set, results, command=command),
        )
    return 0


@dataclass(frozen=True)
class JoinedClips:
    """The clips of one source, and those of another after them."""

    first: ClipSource
    second: ClipSource

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Clip:
        beyond = index - len(self.first)
        clip = self.first[index] if beyond < 0 else self.second[beyond]
        return Clip(frames=clip["frames"], index=np.int32(index))  # type: ignore[typeddict-item]


def joined(clip_set: ClipSet) -> ClipSplit:
    """Both halves of a set as one; labels that only one of them has are dropped.

    Folds keep people apart for the classifier, and the generators see no labels.
    """
    one, other = clip_set.train, clip_set.test
    clips: ClipSource = JoinedClips(one.source, other.source)
    if isinstance(one.source, ArrayClips) and isinstance(other.source, ArrayClips):
        clips = ArrayClips(np.concatenate([one.source.pixels, other.source.pixels]))
    labels = {
        name: np.concatenate([one.labels[name], other.labels[name]]) for name in one.labels if name in other.labels
    }
    return ClipSplit(clips, [*one.names, *other.names], labels)


@dataclass(frozen=True)
class DealtClips:
    """Clips, and the fold that each is tested in, [clips]; no two folds share a person."""

    clips: ClipSplit
    folds: np.ndarray


def person_folds(clips: ClipSplit, expressions: Sequence[str], folds: int) -> np.ndarray:
    """Deals people out to folds, and checks that all of them can be tested, before anything is trained.

    Args:
      clips: with labels.
      expressions: their names.
      folds: how many.

    Returns:
      [clips], see `subject_folds`.

    Raises:
      InputError: a subject or an expression is not known, there are fewer than two expressions or too few people, a
        fold has one clip alone, or an expression is shown in one fold alone, so that its classifier learns nothing of
        it.
    """
    for label in ("subject", "expression"):
        if label not in clips.labels:
            raise InputError("--data", f"clips with the label {label}", "none")
        unknown = np.flatnonzero(clips.labels[label] < 0)
        if len(unknown):
            raise InputError(clips.names[unknown[0]], f"a known {label}", str(clips.labels[label][unknown[0]]))
    labels = clips.labels["expression"]
    if labels.max() >= len(expressions):
        first = int(np.argmax(labels >= len(expressions)))
        raise InputError(clips.names[first], f"one of {len(expressions)} expressions by number", str(labels[first]))
    shown = np.unique(labels)
    if len(shown) < 2:
        raise InputError("--data", "clips of two expressions or more", f"{expressions[shown[0]]} alone")
    try:
        dealt = subject_folds(clips.labels["subject"], folds)
    except InputError as error:
        raise InputError("--folds", error.expected, error.found) from error
    sizes = np.bincount(dealt)
    if sizes.min() < 2:
        alone = clips.names[int(np.argmax(dealt == sizes.argmin()))]
        raise InputError("--folds", "few enough that each tests two clips or more", f"one of {alone} alone")
    for expression in shown:
        if len(np.unique(dealt[labels == expression])) < 2:
            found = f"{expressions[expression]} in one alone"
            raise InputError("--folds", "every expression by people of two folds or more", found)
    return dealt


def mocogan_of(config: ExpressionConfig, clip_set: ClipSet) -> MocoganLearnerConfig:
    """The MoCoGAN of clips of this size."""
    model = replace(config.mocogan.model, size=clip_set.size, channels=clip_set.channels)
    return replace(config.mocogan, model=model)


# Of a MoCoGAN the codec is its inference alone: the latents of clips, and the clips that they make.
TrainedMocogan = TrainedModel[Callable[[np.ndarray], MotionCodes]]


def train_mocogan(
    run: ModelRun, config: MocoganLearnerConfig, training: TrainingConfig, examples: Examples
) -> TrainedMocogan:
    """Trains the MoCoGAN on all clips, from its last checkpoint if there is one."""

    def learner(**schedule: Any) -> Learner:
        return mocogan_learner(config, **schedule)

    return train_model(
        run,
        "mocogan",
        learner,
        training,
        examples,
        codec=lambda params: mocogan_codes(mocogan_functions(config), params, seed=run.seed, devices=run.devices),
        state_axes=None,
        evaluation_batch=training.evaluation_examples,
    )


def latents_of(config: ExpressionConfig, dynamic: TrainedClips, pixels: np.ndarray) -> DynamicLatents:
    """The latents of the clips: inferred from the prior, or from their chains on."""
    if config.codes == "inferred":
        return dynamic.codec.infer(pixels)
    return dynamic.codec.infer(pixels, start=dynamic.chains)


def evaluate(
    run: ModelRun,
    config: ExpressionConfig,
    clip_set: ClipSet,
    dealt: DealtClips,
    dynamic: TrainedClips,
    mocogan: TrainedMocogan | None,
) -> "RecognitionResults":
    """Cross-validates one classifier for each kind of features."""
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.videos.recognition import RecognitionResults

    pixels, labels = stack_clips(dealt.clips.source), dealt.clips.labels["expression"]
    subjects, expressions = dealt.clips.labels["subject"], clip_set.classes["expression"]
    say(run.options, "inferring latents")
    latents = latents_of(config, dynamic, pixels)
    numbers: dict[str, Any] = {
        "clips": len(pixels),
        "people": len(np.unique(subjects)),
        "frames": clip_set.frames,
        "expressions": list(expressions),
        "clips_per_fold": np.bincount(dealt.folds).tolist(),
        "device": device_label(run.devices),
        "dynamic": _of_model(dynamic, frame_errors(pixels, Decoded(dynamic.codec.decode, latents))),
    }
    say(run.options, "optical flow")
    features = geometric_features(dynamic.codec, latents) | {
        "frames": as_sequences(pixels),
        "frame_network": as_sequences(pixels),
        "optical_flow": optical_flow_features(pixels),
    }
    if mocogan is not None:
        say(run.options, "inferring MoCoGAN's latents")
        found = mocogan.codec(pixels)
        features["mocogan"] = found.motion
        numbers["mocogan"] = _of_model(mocogan, frame_errors(pixels, found.predictions))
    network = replace(config.frame_network, channels=clip_set.channels)
    results = recognised(run, replace(config, frame_network=network), features, labels, dealt.folds)
    chosen = results[config.motion]
    numbers |= {
        "motion": config.motion,
        "chance": chance(labels),
        "features": {name: sequences.shape[-1] for name, sequences in features.items()},
        "accuracy": table_3(results),
        "margin_of_ddf": {name: margin(chosen["ddf"], each) for name, each in chosen.items() if name != "ddf"},
        "confusions": {
            name: confusions(each.predictions, labels, len(expressions)).tolist() for name, each in chosen.items()
        },
    }
    rows = {"dynamic": dynamic.rows} | ({} if mocogan is None else {"mocogan": mocogan.rows})
    return RecognitionResults(
        numbers=numbers,
        codec=dynamic.codec,
        clips=pixels,
        latents=latents,
        labels=labels,
        subjects=subjects,
        expressions=expressions,
        recognised=chosen,
        rows={name: each for name, each in rows.items() if each},
    )


def recognised(
    run: ModelRun,
    config: ExpressionConfig,
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    folds: np.ndarray,
) -> dict[str, dict[str, FoldResults]]:
    """The classifier's results, by motion ("relative" or "absolute") and name of the features."""
    results: dict[str, dict[str, FoldResults]] = {motion: {} for motion in MOTIONS}
    for name, sequences in features.items():
        say(run.options, f"recognising expressions from {name}")
        classifier = config.frame_network if name == "frame_network" else config.recognition
        for motion in MOTIONS:
            results[motion][name] = classify_folds(
                motion_of(sequences, motion), labels, folds, jax.random.key(config.seed), classifier
            )
    return results


def _of_model(model: TrainedModel, errors: np.ndarray) -> dict[str, Any]:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    return {"parameters": parameters, "squared_error": summary(errors), **model.effort}


if __name__ == "__main__":
    run_experiment("expression_recognition", __doc__ or "", PRESETS, main, device_per_core=True)
