"""Geometry learned on one set of faces, transferred to another of which only frontal faces are seen (section 5.2).

Question   Does a model whose geometry was learned elsewhere reconstruct views that it has never seen of these people?
Data       Synthetic photographs in two styles, of different people; or real ones:
           `--source.kind celeba --source.folder CELEBA --target.kind multi_pie --target.folder MULTI_PIE`.
Command    python -m experiments.geometry_transfer                      (demo, two CPU cores, no data set)
           python -m experiments.geometry_transfer --preset paper --source.kind celeba --source.folder CELEBA
               --target.kind multi_pie --target.folder MULTI_PIE
           python -m experiments.geometry_transfer --target.face-model ICT_FACE.npz  (to another face model's people)
Method     The deformable generator, the non-deformable ABP, a VAE and a deforming autoencoder of as many latents learn
           the source equally long, then frontal faces of the target: those with a warp keep its decoder as it is, the
           others learn with all they have. `--rivals` chooses.
Output     report.html with Table 1, results.json, figures/, and a folder per independent run, with one per model in it.
Presets    tiny: the whole path in under a minute, nothing is learned well. demo: one run, five minutes on two cores.
           paper: ten runs, section 5.2, on an accelerator.
Expected   At 30 degrees to either side the deformable generator's error is at least 15 % below the others' (Table 1).
           demo: 10.2 and 10.7; ABP 14.2 and 14.7; VAE 19.1 and 18.7.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments.faces_deformable import PAPER_IMAGES, SMALL_IMAGES, SMOOTH_LEARNER
from experiments.faces_deformable import TINY as TINY_FACES
from facedis_jax.data.images.image_set import ArrayImages, ImageSet, stack_images
from facedis_jax.data.splits import first_by_hash
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.images import TransferSets, transfer_images
from facedis_jax.errors import InputError
from facedis_jax.evaluation.images import reconstruction_by_view, reconstructions
from facedis_jax.evaluation.transfer import errors_over_runs, margins
from facedis_jax.inference.codecs import Decoded
from facedis_jax.learners import AbpConfig
from facedis_jax.learners.abp import Part
from facedis_jax.learners.rivals.images import DeformingAutoencoderConfig
from facedis_jax.models import Latents
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say
from facedis_jax.runs.images import (
    GENERATOR_RIVALS,
    SMALL_DEFORMING,
    DeformingRivalConfig,
    ImageDataConfig,
    ImageLearnerConfig,
    TrainedImages,
    check_rivals,
    load_image_set,
    rivals_of,
    train_images,
    with_channels,
)
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainingConfig,
    check_model,
    check_training,
    open_model_run,
    report_run,
)
from facedis_jax.training import RunFolder

if TYPE_CHECKING:
    from facedis_jax.reports.images.transfer import TransferResults


@dataclass(frozen=True)
class TransferConfig:
    """The experiment.

    Attributes:
      source: the images that geometry is learned from.
      target: those that it is transferred to. If both are synthetic, the target is made like the source, of other
        people in another style, and takes no settings but its size and a face model of its own.
      frontal: how many frontal faces of the target's training half are seen, a fixed choice; None for all.
      learner: the deformable generator and how it is learned.
      rivals: what it is compared with, by name; one or more.
      deforming: the settings of the deforming autoencoder; sizes of images and codes are the learner's.
      training: how long the source is learned, by all models alike.
      fine_tuning: how long the frontal faces are, by all models alike.
      runs: independent ones, each with weights, noise and an order of the images of its own.
      traversal_range: in the report, dimensions of the geometric code go from minus this to this, in standard
        deviations of the prior.
      seed: of the first run; the others' follow.
    """

    source: ImageDataConfig = field(default_factory=ImageDataConfig)
    target: ImageDataConfig = field(default_factory=ImageDataConfig)
    frontal: int | None = 1000
    learner: AbpConfig = field(default_factory=AbpConfig)
    rivals: tuple[str, ...] = GENERATOR_RIVALS
    deforming: DeformingRivalConfig = field(default_factory=DeformingRivalConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    fine_tuning: TrainingConfig = field(default_factory=lambda: TrainingConfig(epochs=300, evaluate_every_epochs=25))
    runs: int = 10
    traversal_range: float = 8.0
    seed: int = 0


PAPER = TransferConfig(
    source=PAPER_IMAGES,
    target=ImageDataConfig(max_test_per_view=1000),
)
DEMO = TransferConfig(
    source=ImageDataConfig(size=32, synthetic=replace(SMALL_IMAGES, test_subjects=40)),
    target=ImageDataConfig(size=32),
    frontal=200,
    learner=SMOOTH_LEARNER,
    deforming=SMALL_DEFORMING,
    training=TrainingConfig(
        epochs=30, batch_size=20, evaluate_every_epochs=10, checkpoint_every_epochs=5, evaluation_examples=50
    ),
    fine_tuning=TrainingConfig(
        epochs=30, batch_size=20, evaluate_every_epochs=10, checkpoint_every_epochs=10, evaluation_examples=50
    ),
    runs=1,
    traversal_range=3.0,
)
TINY = replace(
    DEMO,
    source=TINY_FACES.data,
    target=ImageDataConfig(size=TINY_FACES.data.size),
    frontal=20,
    learner=TINY_FACES.learner,
    deforming=TINY_FACES.deforming,
    training=TINY_FACES.training,
    fine_tuning=TINY_FACES.training,
)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": PAPER}


def main(config: TransferConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.transfer import write_transfer_report

    if config.runs < 1:
        raise InputError("--runs", "at least 1", str(config.runs))
    check_rivals(config.rivals, GENERATOR_RIVALS)
    if not config.rivals:
        raise InputError("--rivals", f"one or more of {', '.join(GENERATOR_RIVALS)}", "none")
    sets = load_sets(config)
    config = replace(config, learner=with_channels(config.learner, sets.source))
    front = frontal_faces(config, sets.target)
    check_model(config.learner.model, sets.source)
    check_training(config.training, sets.source.train.source)
    models = {"deformable": config.learner, **rivals_of(config.learner, config.deforming, config.rivals)}
    run = open_model_run(
        "geometry_transfer",
        config,
        options,
        trainings=[config.training, config.fine_tuning],
        data={"source": sets.source, "target": sets.target},
        sources=[sets.source.train.source, front],
    )
    test, views = sets.target.test.source, sets.target.test.labels["view"]
    errors, shown = [], None
    for number in range(config.runs):
        say(options, f"run {number + 1} of {config.runs}")
        stages = transferred(nth_run(run, number), models, config, sets, front)
        if jax.process_index() == 0:
            say(options, "reconstructing unseen views")
            unseen = {name: reconstructions(stage.target.codec, stack_images(test)) for name, stage in stages.items()}
            errors.append({name: reconstruction_by_view(each, views) for name, (_, _, each) in unseen.items()})
            shown = shown or Shown(stages, unseen)
    if shown is not None:
        results = results_of(run, sets, front, errors, shown)
        report_run(
            run,
            results.numbers,
            lambda command: write_transfer_report(
                run.folder, sets.source, sets.target, results, command=command, traversal_range=config.traversal_range
            ),
        )
    return 0


def load_sets(config: TransferConfig) -> TransferSets:
    """Both sets, read or synthetic.

    Raises:
      InputError: their sizes or channels differ, a synthetic target has settings of its own beside a synthetic source,
        or a set of real images cannot be used.
    """
    source, target = config.source, config.target
    if source.size != target.size:
        raise InputError("--target.size", f"{source.size}, as of the source", str(target.size))
    if source.kind == target.kind == "synthetic":
        # How many images are tested is a setting of real sets, which the paper preset has.
        plain = replace(target, max_test=None, max_test_per_view=None, face_model=None, recipes=None)
        if plain != ImageDataConfig(size=target.size):
            expected = "no settings but a face model where both sets are synthetic: it follows --source"
            raise InputError("--target", expected, "some")
        model = load_face_model(source.face_model, source.recipes)
        other = None if target.face_model is None else load_face_model(target.face_model, target.recipes)
        return transfer_images(model, source.synthetic, size=source.size, target_model=other)
    sets = TransferSets(load_image_set(source, "--source"), load_image_set(target, "--target"))
    if sets.source.channels != sets.target.channels:
        found = f"{sets.source.channels} and {sets.target.channels}"
        raise InputError("--target.kind", "images with as many colour channels as the source's", found)
    return sets


def frontal_faces(config: TransferConfig, target: ImageSet) -> ArrayImages:
    """The frontal faces of the target that are learned from.

    Raises:
      InputError: its views are not known, or there are fewer frontal faces than a batch has.
    """
    for split in (target.train, target.test):
        if "view" not in split.labels:
            raise InputError(
                "--target.kind",
                "images of known views (multi_pie, synthetic, or a folder whose labels.csv has them)",
                target.name,
            )
    rows = np.flatnonzero(target.train.labels["view"] == 0)
    rows = first_by_hash(rows, target.train.names, config.frontal)
    if len(rows) < config.fine_tuning.batch_size:
        expected = f"{config.fine_tuning.batch_size} or more frontal faces to learn from, a batch"
        raise InputError(target.name, expected, str(len(rows)))
    return ArrayImages(np.stack([target.train.source[int(row)]["image"] for row in rows]))


def nth_run(run: ModelRun, number: int) -> ModelRun:
    """An independent run in a folder of its own."""
    folder = RunFolder.open(run.folder.path / f"run_{number}", {**run.folder.config, "run": number})
    return replace(run, folder=folder, seed=run.seed + number)


@dataclass(frozen=True)
class Stages:
    """One model after the source, and after the frontal faces of the target."""

    source: TrainedImages
    target: TrainedImages


def transferred(
    run: ModelRun,
    models: Mapping[str, ImageLearnerConfig],
    config: TransferConfig,
    sets: TransferSets,
    front: ArrayImages,
) -> dict[str, Stages]:
    """Trains all models on the source, then on the frontal faces."""
    stages = {}
    for name, learner in models.items():
        first = train_images(run, name, learner, config.training, Examples.of(sets.source))
        frontal = Examples(front, sets.target.test.source)
        second = train_images(
            run, f"{name}_fine_tuned", fine_tuned(learner), config.fine_tuning, frontal, params=first.params
        )
        stages[name] = Stages(first, second)
    return stages


def fine_tuned(learner: ImageLearnerConfig) -> ImageLearnerConfig:
    """The learner of the target: its geometry frozen, if it has one, and sigma as at the end of the first stage."""
    if isinstance(learner, DeformingAutoencoderConfig):
        return replace(learner, frozen=("geometry",))
    if not isinstance(learner, AbpConfig):
        return learner
    frozen: tuple[Part, ...] = ("geometry",) if learner.model.deformable else ()
    return replace(learner, early_epochs=0.0, geometry_first_epochs=0.0, frozen=frozen)


@dataclass(frozen=True)
class Shown:
    """The run that the report shows: its models, and codes, reconstructions and errors of unseen views, by model."""

    stages: dict[str, Stages]
    unseen: dict[str, tuple[Latents, Decoded, np.ndarray]]


def results_of(
    run: ModelRun, sets: TransferSets, front: ArrayImages, errors: list[dict[str, dict[str, float]]], shown: Shown
) -> "TransferResults":
    """Table 1 from the errors of every run, and what the figures are made from."""
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.transfer import TransferResults

    test = sets.target.test
    table = {name: errors_over_runs([each[name] for each in errors]) for name in shown.stages}
    numbers = {
        "images": {"source": len(sets.source.train.source), "frontal": len(front), "test": len(test.source)},
        "device": device_label(run.devices),
        "runs": len(errors),
        "squared_error": table,
        "margin": margins(table),
        "training": {
            name: {stage: trained.effort for stage, trained in (("source", stages.source), ("frontal", stages.target))}
            for name, stages in shown.stages.items()
        },
    }
    return TransferResults(
        numbers=numbers,
        codec=shown.stages["deformable"].target.codec,
        front=front.pixels,
        images=stack_images(test.source),
        latents=shown.unseen["deformable"][0],
        predictions={name: predictions for name, (_, predictions, _) in shown.unseen.items()},
        source_rows={name: stages.source.rows for name, stages in shown.stages.items()},
        target_rows={name: stages.target.rows for name, stages in shown.stages.items()},
        labels=test.labels,
    )


if __name__ == "__main__":
    run_experiment("geometry_transfer", __doc__ or "", PRESETS, main, device_per_core=True)
