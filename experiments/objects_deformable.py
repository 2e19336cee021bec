"""Beyond faces: digits, cars, and flows of faces transferred to other images (Xing et al., section 5.4).

Question   Do ten canonical images, warped, explain digits well enough to classify them, and are flows that were learned
           on one set of use on another?
Data       Digits: synthetic ones, or MNIST by `--digits.folder MNIST`. Cars: `--cars.folder CIFAR10` (the binary
           version); none without it. Faces: synthetic photographs, or `--faces.kind ... --faces.folder ...`. What their
           flows are transferred to: synthetic photographs in another style, or
           `--target.kind folder --target.folder IMAGES`.
Command    python -m experiments.objects_deformable                       (demo, two CPU cores, no data set)
           python -m experiments.objects_deformable --digits.folder MNIST --cars.folder CIFAR10
Method     The appearance of a digit is known, its one-hot label, so that ten canonical images are learned, and one
           geometric code per image. A held-out digit is classified by the one that explains it with the lowest energy.
Output     report.html with Figures 12 and 13, results.json, figures/, and a folder per model.
Presets    tiny: the whole path in under a minute, nothing is learned well. demo: three minutes on two cores.
           paper: section 5.4, on an accelerator.
Expected   demo: 99 % of 200 held-out synthetic digits are classified correctly, 93 % of MNIST's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from experiments.faces_deformable import DEMO as FACES_DEMO
from experiments.faces_deformable import PAPER_IMAGES, SMOOTH_LEARNER
from experiments.faces_deformable import TINY as FACES_TINY
from facedis_jax.data.images.image_set import ImageSet, stack_images
from facedis_jax.data.synthetic.digits import DigitConfig, synthetic_digits
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.inference.energies import classify_by_energy
from facedis_jax.learners import AbpConfig, LangevinConfig, OptimiserConfig
from facedis_jax.models import GeneratorConfig
from facedis_jax.runs.command_line import RunOptions, chosen_devices, device_label, run_experiment, say
from facedis_jax.runs.images import (
    ImageDataConfig,
    TrainedImages,
    load_image_set,
    loaded_images,
    train_images,
    with_channels,
)
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainingConfig,
    check_model,
    check_shape,
    check_training,
    finished_model,
    open_model_run,
    report_run,
)

if TYPE_CHECKING:
    from facedis_jax.reports.images.objects import Digits, ObjectResults


@dataclass(frozen=True)
class DigitDataConfig:
    """Which digits are learned.

    Attributes:
      folder: MNIST's idx files; None for synthetic digits.
      max_train, max_test: a fixed choice of so many of MNIST's images; None for all.
      prepared: where the prepared copy of MNIST is kept; None for a cache in the user's home.
      synthetic: how synthetic digits are drawn.
    """

    folder: Path | None = None
    max_train: int | None = None
    max_test: int | None = None
    prepared: Path | None = None
    synthetic: DigitConfig = field(default_factory=DigitConfig)


@dataclass(frozen=True)
class ObjectsConfig:
    """The experiment.

    Attributes:
      digits: the digits.
      digit_learner: the deformable generator of digits; its appearance code has ten numbers.
      digit_training: how long.
      cars: objects of one category; none without their folder.
      faces: where flows are learned.
      faces_model: the folder of a finished deformable model, or its file, of the same `learner.model`, in place of
        learning anew.
      target: images that the flows of faces are transferred to.
      learner: the deformable generator for cars and faces.
      training: how long, for either.
      traversal_range: in the report, dimensions of the geometric code go from minus this to this, in standard
        deviations of the prior.
      seed: of everything random.
    """

    digits: DigitDataConfig = field(default_factory=DigitDataConfig)
    digit_learner: AbpConfig = field(default_factory=AbpConfig)
    digit_training: TrainingConfig = field(default_factory=TrainingConfig)
    cars: ImageDataConfig = field(
        default_factory=lambda: ImageDataConfig(kind="cifar10", category="automobile", size=32)
    )
    faces: ImageDataConfig = field(default_factory=ImageDataConfig)
    faces_model: Path | None = None
    target: ImageDataConfig = field(default_factory=ImageDataConfig)
    learner: AbpConfig = field(default_factory=AbpConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    traversal_range: float = 8.0
    seed: int = 0


GARDEN = SyntheticImageConfig(train_subjects=1, images_per_subject=1, test_subjects=4, style="garden", seed=1)

DEMO = ObjectsConfig(
    digits=DigitDataConfig(max_train=5000, max_test=200, synthetic=DigitConfig(train=3000)),
    digit_learner=AbpConfig(
        # Few, short and smooth flows: free ones turn any canonical image into any digit.
        model=GeneratorConfig(
            size=32,
            channels=1,
            appearance_latents=10,
            geometry_latents=8,
            filters=64,
            displacement=0.2,
            initial_flow=0.05,
            flow_scale=4,
        ),
        langevin=LangevinConfig(num_steps=6, inference_steps=100, average_last=30),
        sigma=0.5,
        early_sigma=0.75,
        early_epochs=2,
        optimiser=OptimiserConfig(learning_rate=2e-3, weight_decay=0.0, schedule="cosine"),
    ),
    digit_training=TrainingConfig(
        epochs=12, batch_size=20, evaluate_every_epochs=5, checkpoint_every_epochs=5, evaluation_examples=50
    ),
    faces=FACES_DEMO.data,
    target=replace(FACES_DEMO.data, synthetic=GARDEN),
    learner=SMOOTH_LEARNER,
    training=replace(FACES_DEMO.training, epochs=20),
    traversal_range=3.0,
)
TINY = replace(
    DEMO,
    digits=DigitDataConfig(max_train=40, max_test=20, synthetic=DigitConfig(train=40, test=20)),
    digit_learner=replace(
        DEMO.digit_learner,
        model=replace(DEMO.digit_learner.model, size=16, filters=32, flow_scale=2),
        langevin=LangevinConfig(num_steps=3, inference_steps=5),
    ),
    digit_training=TrainingConfig(
        epochs=2, batch_size=10, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=10
    ),
    cars=replace(DEMO.cars, max_train=40, max_test=10),
    faces=FACES_TINY.data,
    target=replace(FACES_TINY.data, synthetic=GARDEN),
    learner=FACES_TINY.learner,
    training=FACES_TINY.training,
)
PAPER = ObjectsConfig(
    digit_learner=AbpConfig(
        model=GeneratorConfig(size=32, channels=1, appearance_latents=10), sigma=0.5, early_sigma=0.75
    ),
    faces=PAPER_IMAGES,
    target=ImageDataConfig(synthetic=GARDEN),
)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": PAPER}


def main(config: ObjectsConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.objects import ObjectResults, TransferredDeformations, write_objects_report

    sets = load_sets(config)
    config = replace(config, faces_model=finished_model(config.faces_model))
    models: dict[str, TrainedImages] = {}
    if config.faces_model is not None:
        devices = chosen_devices(options.devices)
        models["faces"] = loaded_images(config.learner, config.faces_model, seed=config.seed, devices=devices)
    learned = {"faces": sets.faces, "cars": sets.cars}
    run = open_model_run(
        "objects_deformable",
        config,
        options,
        trainings=[config.digit_training, config.training],
        data={"digits": sets.digits, "cars": sets.cars, "faces": sets.faces, "target": sets.target},
        sources=[images.train.source for images in (sets.digits, sets.cars, sets.faces) if images],
    )
    halves = {"codes": sets.digits.train, "test_codes": sets.digits.test}
    codes = {name: np.eye(10, dtype=np.float32)[half.labels["category"]] for name, half in halves.items()}
    digits = Examples.of(sets.digits, **codes)
    digit_model = train_images(run, "digits", config.digit_learner, config.digit_training, digits)
    for name, images in learned.items():
        if images is not None:
            learner = learner_of(config, images)
            models[name] = train_images(run, name, learner, config.training, Examples.of(images))
    if jax.process_index() == 0:
        say(options, "classifying digits")
        results = ObjectResults(
            digits=classified(sets.digits, digit_model.codec, config.digit_learner.sigma),
            cars=models["cars"].codec if sets.cars else None,
            transferred=TransferredDeformations(
                models["faces"].codec, stack_images(sets.target.test.source), sets.target.name
            ),
            rows={"digits": digit_model.rows, **{name: model.rows for name, model in models.items() if model.rows}},
        )
        report_run(
            run,
            numbers_of(run, sets.digits, digit_model, results, models),
            lambda command: write_objects_report(
                run.folder,
                results,
                command=command,
                traversal_range=config.traversal_range,
                device=device_label(run.devices),
            ),
        )
    return 0


@dataclass(frozen=True)
class ObjectSets:
    """The sets of the experiment; None for one that is not learned from. `target` is what flows are transferred to."""

    digits: ImageSet
    cars: ImageSet | None
    faces: ImageSet | None
    target: ImageSet


def load_sets(config: ObjectsConfig) -> ObjectSets:
    """Reads or makes all sets, and checks that the models fit them, before anything is trained.

    Raises:
      InputError: a set cannot be used, or a model or a training does not fit its set.
    """
    codes_of_digits = config.digit_learner.model.appearance_latents
    if codes_of_digits != 10:
        raise InputError("--digit-learner.model.appearance-latents", "10, one for each digit", str(codes_of_digits))
    digits = load_digits(config.digits, config.digit_learner.model.size)
    check_model(config.digit_learner.model, digits, "--digit-learner.model")
    check_training(config.digit_training, digits.train.source, "--digit-training")
    cars = load_image_set(config.cars, "--cars") if config.cars.folder else None
    faces = load_image_set(config.faces, "--faces") if config.faces_model is None else None
    target = load_image_set(config.target, "--target")
    for images in (faces, cars):
        if images is not None:
            check_model(learner_of(config, images).model, images)
            check_training(config.training, images.train.source)
    learner = config.learner if faces is None else learner_of(config, faces)
    check_shape("--target", target, learner.model, "the faces")
    return ObjectSets(digits, cars, faces, target)


def numbers_of(
    run: ModelRun,
    digits: ImageSet,
    digit_model: TrainedImages,
    results: "ObjectResults",
    models: Mapping[str, TrainedImages],
) -> dict[str, Any]:
    """What was measured, for results.json."""
    return {
        "device": device_label(run.devices),
        "digits": {
            "accuracy": results.digits.accuracy,
            "images": {"train": len(digits.train.source), "test": len(digits.test.source)},
            **digit_model.effort,
        },
        **{name: model.effort for name, model in models.items()},
    }


def learner_of(config: ObjectsConfig, images: ImageSet) -> AbpConfig:
    """The learner of faces and of cars, for images of this size."""
    return with_channels(replace(config.learner, model=replace(config.learner.model, size=images.size)), images)


def load_digits(data: DigitDataConfig, size: int) -> ImageSet:
    """Reads MNIST, or makes synthetic digits."""
    if data.folder is None:
        return synthetic_digits(data.synthetic, size=size)
    mnist = ImageDataConfig("mnist", data.folder, size, data.max_train, data.max_test, prepared=data.prepared)
    return load_image_set(mnist, "--digits")


def classified(digits: ImageSet, codec: ImageCodec, sigma: float) -> "Digits":
    """Every held-out digit, classified by the canonical image of lowest energy."""
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.objects import Digits

    images = stack_images(digits.test.source)
    predicted, energies, geometry = classify_by_energy(codec, images, np.eye(10, dtype=np.float32), sigma=sigma)
    return Digits(codec, images, digits.test.labels["category"], predicted, energies, geometry, digits.name)


if __name__ == "__main__":
    run_experiment("objects_deformable", __doc__ or "", PRESETS, main, device_per_core=True)
