"""Where eyes, nose and mouth are, read off deformation fields that were learned without a label (section 5.5).

Question   Does the geometry of the deformable generator, learned from images alone, know where landmarks are?
Data       Synthetic photographs of the embedded face (or of `--data.face-model`), whose landmarks are known; or real
           ones: `--data.kind celeba --data.folder CELEBA`, or mafl in its place.
Command    python -m experiments.landmarks                              (demo, two CPU cores, no data set)
           python -m experiments.landmarks --data.kind celeba --data.folder CELEBA
           python -m experiments.landmarks --preset paper --data.kind mafl --data.folder CELEBA
Method     The deformable generator learns the training images without their landmarks; for MAFL, the paper preset's
           learns all of CelebA but MAFL's test images. A two-layer perceptron then learns the landmarks from the
           deformation field of each training image; beside it the same one from the codes, from both, and from raw
           pixels, and the mean shape. Of rivals that learn the same images (`--rivals`): from the fields of a deforming
           autoencoder, from a dense equivariant embedding, and from the tokens of a masked autoencoder.
           Points are also carried from face to face by the canonical image, without labels.
Output     report.html with Figure 14 and Table 2, results.json, figures/, and the model's folder.
Presets    tiny: the whole path in under a minute, nothing is learned well. demo: some minutes on two cores.
           paper: section 5.5, on an accelerator.
Expected   The error from deformation fields is below half of the mean shape's, and below that from raw pixels.
           demo, in % of the inter-ocular distance: 10.1 from fields, 10.6 from pixels, 34.9 by the mean shape; of the
           rivals 9.4 from a dense embedding, 10.3 from a masked autoencoder, 17.2 from a deforming autoencoder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.faces_deformable import FACE_LEARNER, SMALL_IMAGES
from experiments.faces_deformable import TINY as TINY_FACES
from facedis_jax.data.images.image_set import ImageSet, stack_images
from facedis_jax.errors import InputError
from facedis_jax.evaluation.canonical import dense_correspondence, flow_results
from facedis_jax.evaluation.images import summary, to_unit_range
from facedis_jax.inference.codecs import ImageCodec, squared_errors
from facedis_jax.learners import AbpConfig, RegressionConfig, fit_regressor
from facedis_jax.learners.rivals.images import (
    DeformingAutoencoderConfig,
    EmbeddingConfig,
    EmbeddingNetworks,
    MaskedAutoencoderConfig,
    MaskedNetworks,
)
from facedis_jax.metrics import landmark_error
from facedis_jax.models import Latents
from facedis_jax.runs.command_line import RunOptions, device_label, run_experiment, say
from facedis_jax.runs.images import (
    SMALL_DEFORMING,
    DeformingRivalConfig,
    ImageDataConfig,
    TrainedImages,
    check_rivals,
    deforming_autoencoder_like,
    load_image_set,
    train_features,
    train_images,
    with_channels,
)
from facedis_jax.runs.pixels import (
    Examples,
    ModelRun,
    TrainedModel,
    TrainingConfig,
    check_model,
    check_training,
    open_model_run,
    report_run,
)

if TYPE_CHECKING:
    from facedis_jax.reports.images.landmarks import LandmarkResults


RIVALS = ("deforming_autoencoder", "equivariant_embedding", "masked_autoencoder")


@dataclass(frozen=True)
class LandmarksConfig:
    """The experiment.

    Attributes:
      data: the images, with their landmarks.
      learner: the deformable generator and how it is learned.
      training: for how long.
      rivals: other models, by name, of which landmarks are read as well.
      deforming: the deforming autoencoder, trained as long; sizes of images and codes are the learner's.
      embedding: the dense equivariant embedding.
      masked: the masked autoencoder.
      generator_images: what the generator learns: the "data", or where these are MAFL's, all images of "celeba" but
        MAFL's test images; the regressors learn from MAFL's training images then. Of other data it is the data.
      codes: of the training images, from which the regressor learns: "inferred" anew as those of unseen ones are,
        so that both come from one distribution, or the last ones of their "chains", which cost nothing.
      samples: how often codes are inferred for an image; what the regressor sees is the mean over them, with less
        of the sampler's noise the more they are.
      regression: how the regressor is fitted.
      seed: of everything random.
    """

    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    learner: AbpConfig = field(default_factory=AbpConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    rivals: tuple[str, ...] = RIVALS
    deforming: DeformingRivalConfig = field(default_factory=DeformingRivalConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    masked: MaskedAutoencoderConfig = field(default_factory=MaskedAutoencoderConfig)
    generator_images: Literal["data", "celeba"] = "data"
    codes: Literal["inferred", "chains"] = "inferred"
    samples: int = 1
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    seed: int = 0


DEMO = LandmarksConfig(
    data=ImageDataConfig(size=32, synthetic=replace(SMALL_IMAGES, test_subjects=40)),
    learner=FACE_LEARNER,
    training=TrainingConfig(
        epochs=45, batch_size=20, evaluate_every_epochs=15, checkpoint_every_epochs=15, evaluation_examples=50
    ),
    deforming=SMALL_DEFORMING,
    # The best of a few short runs, see TRIALS.md.
    embedding=EmbeddingConfig(EmbeddingNetworks(dimensions=16), third_image=True, epochs=45),
    masked=MaskedAutoencoderConfig(epochs=300),
    # Codes are means over half of 200 steps already.
    samples=1,
)
TINY = replace(
    DEMO,
    data=TINY_FACES.data,
    learner=TINY_FACES.learner,
    training=TINY_FACES.training,
    deforming=TINY_FACES.deforming,
    embedding=replace(DEMO.embedding, networks=EmbeddingNetworks(4, (8, 8), (3, 3)), epochs=3),
    masked=MaskedAutoencoderConfig(MaskedNetworks(width=16, layers=1), epochs=3),
    samples=2,
    regression=RegressionConfig(hidden=8, epochs=3, batch_size=10, weight_decays=(0.3, 3.0)),
)

PRESETS = {"tiny": TINY, "demo": DEMO, "paper": LandmarksConfig(generator_images="celeba")}


def main(config: LandmarksConfig, options: RunOptions) -> int:
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.landmarks import write_landmark_report

    if config.samples < 1:
        raise InputError("--samples", "at least 1", str(config.samples))
    check_rivals(config.rivals, RIVALS)
    images = load_image_set(config.data)
    config = replace(config, learner=with_channels(config.learner, images))
    check_landmarks(images)
    learned = load_generator_images(config, images)
    check_model(config.learner.model, images)
    check_training(config.training, learned.train.source)
    learners = rival_learners(config)
    run = open_model_run(
        "landmarks",
        config,
        options,
        trainings=[config.training],
        data=images if learned is images else {"images": images, "generator": learned},
        sources=[learned.train.source],
    )
    model = train_images(run, "deformable", config.learner, config.training, Examples.of(learned))
    rivals = {name: train_rival(run, name, each, config, Examples.of(learned)) for name, each in learners.items()}
    if jax.process_index() == 0:
        results = evaluate(run, config, images, model, lambda line: say(options, line), rivals)
        results.numbers["images"]["generator"] = len(learned.train.source)
        report_run(
            run,
            results.numbers,
            lambda command: write_landmark_report(run.folder, images, results, command=command),
        )
    return 0


def load_generator_images(config: LandmarksConfig, images: ImageSet) -> ImageSet:
    """What the generator learns; `images` themselves unless `LandmarksConfig.generator_images` says otherwise.

    Raises:
      InputError: it learns others, and codes of the images are to come from its chains; or they cannot be used.
    """
    if config.generator_images == "data" or config.data.kind != "mafl":
        return images
    if config.codes == "chains":
        raise InputError("--codes", "inferred, where the generator learns other images", "chains")
    return load_image_set(replace(config.data, kind="celeba_without_mafl"))


def check_landmarks(images: ImageSet) -> None:
    """Checks that errors can be measured, before anything is trained.

    Raises:
      InputError: there are no landmarks, both eyes of a face are at one place, or all faces to learn from are one
        person's, so that nobody else is there to choose the regressors by.
    """
    for split in (images.train, images.test):
        if "landmarks" not in split.labels:
            expected = "images with landmarks (celeba or a folder with a list of them, mafl, or synthetic)"
            raise InputError("--data.kind", expected, f"{images.name} without any")
    people = images.train.labels.get("subject", range(len(images.train.source)))
    if len(np.unique(people)) < 2:
        raise InputError("--data", "images of two people or more to train on", "of one alone")
    eyes = images.test.labels["landmarks"][:, :2]
    at_once = np.flatnonzero(np.all(eyes[:, 0] == eyes[:, 1], axis=-1))
    if len(at_once):
        raise InputError(images.test.names[at_once[0]], "eyes apart from each other", "both at one place")


@dataclass(frozen=True)
class Codes:
    """Codes of images, `samples` of each.

    Attributes:
      latents: [samples, images, latents].
      codec: whose they are.
    """

    latents: Latents
    codec: ImageCodec

    @staticmethod
    def infer(codec: ImageCodec, images: np.ndarray, samples: int) -> "Codes":
        # An image's noise depends on its place in the call: in one call, repeats are independent samples.
        repeated = np.tile(images, (samples, 1, 1, 1))
        return Codes(jax.tree.map(lambda z: z.reshape(samples, len(images), -1), codec.infer(repeated)), codec)

    def features(self) -> dict[str, np.ndarray]:
        """What regressors see, means over the samples: [images, features] by name."""
        appearance, geometry = (z.mean(axis=0) for z in self.latents)
        fields = np.mean([self.codec.flow(z) for z in self.latents.geometry], axis=0)
        fields = fields.reshape(len(fields), -1)
        return {
            "deformation_fields": fields,
            "geometric_latents": geometry,
            "fields_and_latents": np.concatenate([fields, geometry], axis=-1),
            "both_latents": np.concatenate([appearance, geometry], axis=-1),
        }


def training_codes(config: LandmarksConfig, model: TrainedImages, images: np.ndarray) -> Codes:
    """Codes of the training images."""
    if config.codes == "chains":
        return Codes(jax.tree.map(lambda z: z[None], model.chains), model.codec)
    return Codes.infer(model.codec, images, config.samples)


RivalConfig = DeformingAutoencoderConfig | EmbeddingConfig | MaskedAutoencoderConfig


@dataclass(frozen=True)
class Rival:
    """A trained rival, and the function from images [images, ...] to the features that landmarks are read from."""

    model: TrainedModel[Any]
    features: Callable[[np.ndarray], np.ndarray]


def rival_learners(config: LandmarksConfig) -> dict[str, RivalConfig]:
    """The settings of the rivals, by name.

    Raises:
      InputError: they do not fit the images.
    """
    patch, size = config.masked.networks.patch, config.data.size
    if "masked_autoencoder" in config.rivals and (size % patch or size < 2 * patch):
        raise InputError("--masked.networks.patch", f"a part of {size} pixels, at most half of them", str(patch))
    features: dict[str, RivalConfig] = {"equivariant_embedding": config.embedding, "masked_autoencoder": config.masked}
    return {
        name: features[name] if name in features else deforming_autoencoder_like(config.learner, config.deforming)
        for name in config.rivals
    }


def train_rival(run: ModelRun, name: str, learner: RivalConfig, config: LandmarksConfig, examples: Examples) -> Rival:
    """A rival, trained on what the generator learns."""
    if isinstance(learner, DeformingAutoencoderConfig):
        model = train_images(run, name, learner, config.training, examples)
        return Rival(model, partial(_fields, model.codec))
    found = train_features(run, name, learner, config.training, examples)
    return Rival(found, found.codec)


def _fields(codec: ImageCodec, images: np.ndarray) -> np.ndarray:
    """Deformation fields [images, numbers] of images."""
    return codec.flow(codec.infer(images).geometry).reshape(len(images), -1)


def evaluate(
    run: ModelRun,
    config: LandmarksConfig,
    images: ImageSet,
    model: TrainedImages,
    report: Callable[[str], None],
    rivals: Mapping[str, Rival],
) -> "LandmarkResults":
    """Fits a regressor on each kind of features and measures all of them on the test images."""
    # Imported here, or `--help` would wait for it.
    from facedis_jax.reports.images.landmarks import LandmarkResults

    train, test = stack_images(images.train.source), stack_images(images.test.source)
    report("inferring codes")
    seen = Codes.infer(model.codec, test, config.samples)
    learned = training_codes(config, model, train).features() | {"pixels": to_unit_range(train).reshape(len(train), -1)}
    measured = seen.features() | {"pixels": to_unit_range(test).reshape(len(test), -1)}
    learned |= {name: rival.features(train) for name, rival in rivals.items()}
    measured |= {name: rival.features(test) for name, rival in rivals.items()}

    shapes, truth = images.train.labels["landmarks"], images.test.labels["landmarks"]
    landmarks = {"mean_shape": np.repeat(shapes.mean(axis=0)[None], len(truth), axis=0)}
    chosen = {}
    for name, features in learned.items():
        report(f"fitting landmarks to {name.replace('_', ' ')}")
        fitted = fit_regressor(
            features,
            shapes.reshape(len(shapes), -1),
            config.regression,
            jax.random.key(config.seed),
            groups=images.train.labels.get("subject"),
        )
        landmarks[name] = fitted.predict(measured[name]).reshape(truth.shape)
        chosen[name] = {
            "features": features.shape[1],
            "weight_decay": fitted.weight_decay,
            "epochs": fitted.epochs,
            "validation_error_pixels": fitted.validation_error,
        }
    distance = jax.vmap(landmark_error)
    errors = {name: np.asarray(distance(jnp.asarray(points), jnp.asarray(truth))) for name, points in landmarks.items()}
    latents = Latents(*(z[0] for z in seen.latents))
    predictions = model.codec.decode(latents)
    numbers = {
        "images": {"train": len(train), "test": len(test)},
        "device": device_label(run.devices),
        "deformable": {
            "squared_error": summary(squared_errors(test, predictions)),
            **model.effort,
        },
        "landmark_error_percent": {name: summary(each) for name, each in errors.items()},
        "regressors": chosen,
        "rivals": {name: rival.model.effort for name, rival in rivals.items()},
        **flow_results(model.codec, latents.geometry),
    }
    carried = dense_correspondence(model.codec, seen.latents.geometry.mean(axis=0), images.test.labels)
    if carried is not None:
        numbers["dense_correspondence"] = carried
    return LandmarkResults(
        numbers=numbers,
        codec=model.codec,
        images=test,
        latents=latents,
        predictions=predictions,
        truth=truth,
        landmarks=landmarks,
        errors=errors,
        rows=model.rows,
        rival_rows={name: rival.model.rows for name, rival in rivals.items()},
    )


if __name__ == "__main__":
    run_experiment("landmarks", __doc__ or "", PRESETS, main, device_per_core=True)
