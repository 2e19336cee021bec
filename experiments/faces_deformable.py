"""What a face looks like, apart from its view and shape, learned from images alone (Xing et al., section 5.1).

Question   Do the two codes separate without labels: does the view change the geometric code and not the appearance?
Data       Synthetic photographs of the embedded face (or of `--data.face-model`), whose views are known; or real ones:
           `--data.kind celeba --data.folder CELEBA`, any folder of images by `--data.kind folder`.
Command    python -m experiments.faces_deformable                       (demo, two CPU cores, no data set)
           python -m experiments.faces_deformable --data.kind celeba --data.folder CELEBA --data.size 32
           python -m experiments.faces_deformable --preset paper --data.kind celeba --data.folder CELEBA
               --views.folder MULTI_PIE
Method     Alternating back-propagation, one persistent chain per image. Beside it, for as many epochs: the
           non-deformable ABP and a VAE on the same generators, whose one code is as long as the two together, and a
           deforming autoencoder with the same two codes (`--rivals` chooses, `--no-compare` leaves all out).
Output     report.html with Figures 2 to 7 and 11, results.json, figures/, and a folder per model.
Presets    tiny: the whole path in under a minute, nothing is learned well. demo: a quarter of an hour.
           paper: section 5.1 at 64 x 64, on an accelerator.
Expected   Eq. 21's covariance with the view is much larger for the geometric code than for the appearance (Figure 6).
           demo: 5.7 times as large; warps do not fold, and canonical images are frontal faces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from facedis_jax.data.images.image_set import ImageSet, images_of
from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.evaluation.canonical import canonical_truth, dense_correspondence, factor_probes, flow_results
from facedis_jax.evaluation.images import pca_errors, pose_difference, reconstructions, summary, view_results
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.learners import AbpConfig, LangevinConfig, OptimiserConfig
from facedis_jax.models import GeneratorConfig, Latents
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say
from facedis_jax.runs.images import (
    GENERATOR_RIVALS,
    SMALL_DEFORMING,
    DeformingRivalConfig,
    ImageDataConfig,
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

if TYPE_CHECKING:
    from facedis_jax.reports.images.deformable import DeformableResults


@dataclass(frozen=True)
class ViewsConfig:
    """Real images of known views, on which Eq. 21 is measured in place of the test images (Figures 6 and 7).

    Attributes:
      folder: of Multi-PIE; None measures on the test images, where their views are known.
      per_view: how many images of each view, a fixed choice.
      prepared: where prepared copies are kept; None for a cache in the user's home.
    """

    folder: Path | None = None
    per_view: int = 100
    prepared: Path | None = None

    def load(self, like: ImageSet) -> ImageSet | None:
        """The images, of the size and channels of another set; None without a folder."""
        if self.folder is None:
            return None
        data = ImageDataConfig(
            "multi_pie",
            self.folder,
            like.size,
            max_train=1,
            channels=like.channels,
            max_test_per_view=self.per_view,
            prepared=self.prepared,
        )
        return load_image_set(data, "--views")


@dataclass(frozen=True)
class FacesConfig:
    """The experiment.

    Attributes:
      data: the images.
      views: other images, for the covariance with the view.
      learner: the deformable generator and how it is learned.
      training: how long, for all models alike.
      compare: also train the rivals.
      rivals: which ones, by name.
      deforming: the settings of the deforming autoencoder; sizes of images and codes are the learner's.
      traversal_range: in the report, dimensions of the appearance code, and of the geometric code, go from minus this
        to this, in standard deviations of the prior.
      seed: of everything random.
    """

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    learner: AbpConfig = field(default_factory=AbpConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compare: bool = True
    rivals: tuple[str, ...] = GENERATOR_RIVALS
    deforming: DeformingRivalConfig = field(default_factory=DeformingRivalConfig)
    traversal_range: tuple[float, float] = (10.0, 8.0)
    seed: int = 0


# What minutes allow in place of the paper's days: small batches, so that there are enough steps, and a small deviation,
# so that the data soon outweigh the prior. Flows are smooth by construction, short, and zero at first, so that they
# turn and stretch faces that the appearance generator draws.
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
# Faces: canonical images are symmetric but for the light, so that the appearance cannot turn a head, and velocities are
# weighted sums of a few fields, which turn it one way and the other; integrated, they do not fold, and bending has its
# price. Geometry moves first, on the mean image. Chains begin close to zero, or the networks would have to unlearn the
# random codes of the start.
FACE_LEARNER = replace(
    SMOOTH_LEARNER,
    model=GeneratorConfig(
        size=32,
        appearance_latents=16,
        geometry_latents=16,
        filters=128,
        filter_balance=0.5,
        displacement=0.2,
        initial_flow=0.1,
        flow_scale=4,
        squarings=4,
        linear_flow=True,
        bending=0.05,
        asymmetry_scale=8,
    ),
    langevin=LangevinConfig(num_steps=4, inference_steps=200, average_last=100, initial_std=0.05),
    geometry_first_epochs=5,
)
# As many test images of every view as in the paper.
SMALL_IMAGES = SyntheticImageConfig(train_subjects=100, images_per_subject=8, test_subjects=100, max_yaw=35.0)

DEMO = FacesConfig(
    data=ImageDataConfig(size=32, synthetic=SMALL_IMAGES),
    learner=FACE_LEARNER,
    training=TrainingConfig(
        epochs=45, batch_size=20, evaluate_every_epochs=15, checkpoint_every_epochs=15, evaluation_examples=50
    ),
    deforming=SMALL_DEFORMING,
    traversal_range=(3.0, 3.0),
)
TINY = replace(
    DEMO,
    data=replace(
        DEMO.data,
        size=16,
        synthetic=SyntheticImageConfig(train_subjects=6, images_per_subject=5, test_subjects=3),
    ),
    learner=replace(
        FACE_LEARNER,
        model=replace(FACE_LEARNER.model, size=16, filters=32, flow_scale=2, asymmetry_scale=4),
        langevin=LangevinConfig(num_steps=4, inference_steps=10),
        geometry_first_epochs=1,
    ),
    deforming=replace(SMALL_DEFORMING, networks=replace(SMALL_DEFORMING.networks, flow_scale=2)),
    training=TrainingConfig(
        epochs=3, batch_size=10, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=10
    ),
)

# 10,000 images of CelebA (section 5.1); of synthetic ones as many.
PAPER_IMAGES = ImageDataConfig(max_train=10_000, synthetic=SyntheticImageConfig(train_subjects=625))
PAPER = FacesConfig(data=PAPER_IMAGES)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": PAPER}


def main(config: FacesConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.deformable import write_deformable_report

    check_rivals(config.rivals, GENERATOR_RIVALS)
    images = load_image_set(config.data)
    config = replace(config, learner=with_channels(config.learner, images))
    views = config.views.load(images)
    check_model(config.learner.model, images)
    check_training(config.training, images.train.source)
    rivals = rivals_of(config.learner, config.deforming, config.rivals) if config.compare else {}
    run = open_model_run(
        "faces_deformable",
        config,
        options,
        trainings=[config.training],
        data=images if views is None else {"images": images, "views": views},
        sources=[images.train.source],
    )
    models = {
        name: train_images(run, name, learner, config.training, Examples.of(images))
        for name, learner in {"deformable": config.learner, **rivals}.items()
    }
    if jax.process_index() == 0:
        say(options, "evaluating")
        results = evaluate(run, images, models, views)
        report_run(
            run,
            results.numbers,
            lambda command: write_deformable_report(
                run.folder, images, results, command=command, traversal_range=config.traversal_range
            ),
        )
    return 0


def evaluate(
    run: ModelRun, images: ImageSet, models: dict[str, TrainedImages], viewed: ImageSet | None = None
) -> "DeformableResults":
    """Measures every model on the test images, and covariances with the view where several views are known.

    Args:
      run: the run.
      images: the data.
      models: by name, "deformable" among them.
      viewed: a set whose test images covariances are measured on; the data's by default.
    """
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.deformable import DeformableResults

    test, labels = images_of(images.test.source), images.test.labels
    numbers: dict = {
        "images": {"train": len(images.train.source), "test": len(test)},
        "device": device_label(run.devices),
    }
    found: dict[str, tuple[Latents, Decoded]] = {}
    for name, model in models.items():
        codes, predictions, errors = reconstructions(model.codec, test)
        numbers[name] = {"squared_error": summary(errors), **model.effort}
        found[name] = codes, predictions
        if name != "deformable" and model.codec.geometry_latents:
            numbers[name] |= separation(model.codec, codes, test, labels, run.seed)
    latents, shown = found["deformable"]
    codec = models["deformable"].codec
    numbers["pca"] = {
        "squared_error": summary(
            pca_errors(
                images_of(images.train.source), test, codec.appearance_latents + codec.geometry_latents, seed=run.seed
            )
        )
    }
    numbers |= separation(codec, latents, test, labels, run.seed)
    covariances, seen = {}, viewed or images
    views = seen.test.labels.get("view", ())
    others = None if viewed is None else images_of(viewed.test.source)
    for name, model in models.items():
        if len(np.unique(views)) > 1 and model.codec.geometry_latents:
            codes = found[name][0] if others is None else model.codec.infer(others)
            covariances[name] = view_results(codes, np.asarray(views))
            own = numbers if name == "deformable" else numbers[name]
            own["view_covariance"] = {
                "data": seen.name,
                "images": len(views),
                "geometry": covariances[name]["geometry"]["largest"],
                "appearance": covariances[name]["appearance"]["largest"],
                "ratio": covariances[name]["ratio"],
            }
    return DeformableResults(
        numbers=numbers,
        codec=codec,
        images=test,
        latents=latents,
        predictions=shown,
        canonical=Decoded(codec.canonical, latents.appearance),
        covariances=covariances.get("deformable"),
        rows={name: model.rows for name, model in models.items()},
        labels={name: np.asarray(values) for name, values in labels.items()},
        rivals={name: (models[name].codec, codes) for name, (codes, _) in found.items() if name != "deformable"},
    )


def separation(
    codec: ImageCodec, latents: Latents, test: Pixels, labels: Mapping[str, np.ndarray], seed: int
) -> dict[str, Any]:
    """What a model with a warp keeps apart, of the test images and their codes; without what labels do not tell."""
    canonical = Decoded(codec.canonical, latents.appearance)
    sittings, views = (np.asarray(labels.get(name, ())) for name in ("sitting", "view"))
    numbers: dict[str, Any] = flow_results(codec, latents.geometry)
    numbers |= factor_probes(latents, canonical, labels.get("view"), labels.get("subject"), seed=seed)
    if len(sittings) and len(views):
        truth = canonical_truth(test, canonical, sittings, views)
        if truth is not None:
            numbers |= {"canonical_truth": truth["canonical"], "canonical_truth_of_images": truth["images"]}
    carried = dense_correspondence(codec, latents.geometry, labels)
    if carried is not None:
        numbers["dense_correspondence"] = carried
    if len(np.unique(sittings)) < len(sittings):
        numbers["pose_difference"] = pose_difference(test, canonical, sittings)
    return numbers


if __name__ == "__main__":
    run_experiment("faces_deformable", __doc__ or "", PRESETS, main, device_per_core=True)
