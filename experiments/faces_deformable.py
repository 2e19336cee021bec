"""What a face looks like apart from how it is bent, learned from photographs alone (Xing et al., section 5.1).

Question   Do the two codes come apart without a label: does the view bend the face and leave its appearance alone?
Data       Synthetic photographs of the embedded face (or of `--data.face-model`), whose views are known; or real ones:
           `--data.kind celeba --data.folder CELEBA`, any folder of images by `--data.kind folder`.
Command    python -m experiments.faces_deformable                       (demo, two CPU cores, no data set)
           python -m experiments.faces_deformable --data.kind celeba --data.folder CELEBA --data.size 32
           python -m experiments.faces_deformable --preset paper --data.kind celeba --data.folder CELEBA
Method     Alternating back-propagation, one persistent chain per photograph. Beside it, on the same generators and for
           as many epochs: the non-deformable ABP and a VAE, whose one code is as long as the two together.
Output     report.html with Figures 2 to 7 and 11, results.json, figures/, and a folder per model.
Expected   Eq. 21's covariance with the view is much larger for the geometric code than for the appearance (Figure 6).
"""

from dataclasses import dataclass, field, replace

import jax
import numpy as np

from facedis_jax.data.images.image_set import ImageSet, stack_images
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.evaluation.images import pose_difference, reconstructions, summary, view_results
from facedis_jax.learners import AbpConfig, ImageVaeConfig, LangevinConfig, OptimiserConfig
from facedis_jax.models import GeneratorConfig, Latents
from facedis_jax.reports.images.deformable import DeformableResults, write_deformable_report
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say, typed_command
from facedis_jax.runs.images import ImageDataConfig, TrainedImages, load_photographs, train_images, without_geometry
from facedis_jax.runs.model_run import (
    ModelRun,
    TrainingConfig,
    check_model,
    check_training,
    open_model_run,
    write_results,
)


@dataclass(frozen=True)
class FacesConfig:
    """The experiment.

    Attributes:
      data: the photographs.
      learner: the deformable generator and how it is learned.
      training: how long, for all models alike.
      compare: also train the non-deformable ABP and the VAE.
      traversal_range: in the report, dimensions of the appearance code, and of the geometric code, go from minus this
        to this, in standard deviations of the prior.
      seed: of everything random.
    """

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    learner: AbpConfig = field(default_factory=AbpConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compare: bool = True
    traversal_range: tuple[float, float] = (10.0, 8.0)
    seed: int = 0


# What minutes allow in place of the paper's days: small batches, so that there are enough steps, and a small deviation,
# so that the data soon outweigh the prior. Bends are smooth by construction, short, and none at first, so that they
# turn and stretch faces that the appearance draws.
SMOOTH_LEARNER = AbpConfig(
    model=GeneratorConfig(
        size=32,
        appearance_latents=16,
        geometry_latents=16,
        filters=64,
        filter_balance=1.0,
        geometry_gain=2.0,
        displacement=0.2,
        initial_flow=0.1,
        flow_scale=4,
    ),
    langevin=LangevinConfig(num_steps=4, inference_steps=100, average_last=50),
    sigma=0.2,
    early_sigma=0.4,
    early_epochs=3,
    optimiser=OptimiserConfig(learning_rate=2e-3, weight_decay=0.0, schedule="cosine"),
)
# The view leaves the appearance alone only where the geometric generator is well ahead of it, in filters, in freedom
# and in how far its code reaches, and where the appearance has few numbers. It then draws much of the face as well.
# Chains begin close to zero, or the networks would have to unlearn what every photograph was drawn at first.
SMALL_LEARNER = replace(
    SMOOTH_LEARNER,
    model=GeneratorConfig(
        size=32, appearance_latents=8, geometry_latents=16, filters=128, filter_balance=0.125, geometry_gain=4.0
    ),
    langevin=LangevinConfig(num_steps=6, inference_steps=100, average_last=50, initial_std=0.05),
)
# As many test photographs of every view as in the paper.
SMALL_PHOTOGRAPHS = SyntheticImageConfig(train_subjects=100, images_per_subject=8, test_subjects=100, max_yaw=35.0)

DEMO = FacesConfig(
    data=ImageDataConfig(size=32, photographs=SMALL_PHOTOGRAPHS),
    learner=SMALL_LEARNER,
    training=TrainingConfig(
        epochs=60, batch_size=20, evaluate_every_epochs=20, checkpoint_every_epochs=5, evaluation_examples=50
    ),
    traversal_range=(3.0, 3.0),
)
TINY = replace(
    DEMO,
    data=replace(
        DEMO.data,
        size=16,
        photographs=SyntheticImageConfig(train_subjects=6, images_per_subject=5, test_subjects=3),
    ),
    learner=replace(
        SMALL_LEARNER,
        model=replace(SMALL_LEARNER.model, size=16, filters=32, filter_balance=0.5),
        langevin=LangevinConfig(num_steps=4, inference_steps=10),
    ),
    training=TrainingConfig(
        epochs=3, batch_size=10, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=10
    ),
)

# 10,000 images of CelebA (section 5.1); of synthetic ones as many.
PAPER_IMAGES = ImageDataConfig(max_train=10_000, photographs=SyntheticImageConfig(train_subjects=625))
PAPER = FacesConfig(data=PAPER_IMAGES)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": PAPER}


def main(config: FacesConfig, options: RunOptions) -> int:
    images = load_photographs(config.data)
    check_model(config.learner.model, images)
    check_training(config.training, images.train.source)
    run = open_model_run(
        "faces_deformable",
        config,
        options,
        trainings=[config.training],
        sources=[images.train.source],
        content_hash=images.content_hash,
        skipped=images.skipped,
    )
    learners: dict[str, AbpConfig | ImageVaeConfig] = {"deformable": config.learner}
    if config.compare:
        learners |= without_geometry(config.learner)
    models = {
        name: train_images(
            run, name, learner, config.training, images.train.source, images.test.source, names=images.train.names
        )
        for name, learner in learners.items()
    }
    if jax.process_index() == 0:
        say(options, "evaluating")
        results = evaluate(run, images, models)
        write_results(run, results.numbers)
        say(options, "drawing the report")
        write_deformable_report(
            run.folder, images, results, command=typed_command(), traversal_range=config.traversal_range
        )
        say(options, f"report: {run.folder.report_file}")
    return 0


def evaluate(run: ModelRun, images: ImageSet, models: dict[str, TrainedImages]) -> DeformableResults:
    """Measures every model on the test images; all that depends on views only where several are known."""
    test = stack_images(images.test.source)
    numbers: dict = {
        "images": {"train": len(images.train.source), "test": len(test)},
        "device": device_label(run.devices),
    }
    latents: Latents | None = None
    for name, model in models.items():
        codes, predictions, errors = reconstructions(model.codec, test)
        numbers[name] = {
            "squared_error": summary(errors),
            "steps": model.steps,
            "seconds": round(model.seconds, 1),
        }
        if name == "deformable":
            latents, shown = codes, predictions
    assert latents is not None
    codec, labels = models["deformable"].codec, images.test.labels
    canonical = codec.canonical(latents.appearance)
    views, sittings = labels.get("view", ()), labels.get("sitting", ())
    covariances = None
    if len(np.unique(views)) > 1:
        covariances = view_results(latents, np.asarray(views))
        numbers["view_covariance"] = {
            "geometry": covariances["geometry"]["largest"],
            "appearance": covariances["appearance"]["largest"],
            "ratio": covariances["ratio"],
        }
    if len(np.unique(sittings)) < len(sittings):
        numbers["pose_difference"] = pose_difference(test, canonical, np.asarray(sittings))
    return DeformableResults(
        numbers=numbers,
        codec=codec,
        images=test,
        latents=latents,
        predictions=shown,
        canonical=canonical,
        covariances=covariances,
        rows={name: model.rows for name, model in models.items()},
        labels={name: np.asarray(values) for name, values in labels.items()},
    )


if __name__ == "__main__":
    run_experiment("faces_deformable", __doc__ or "", PRESETS, main, device_per_core=True)
