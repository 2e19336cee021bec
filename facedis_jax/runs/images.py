"""Runs on images: from a data set to trained generators."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax

from facedis_jax.data.images.image_set import ImageSet
from facedis_jax.data.synthetic.face_model import load_face_model
from facedis_jax.data.synthetic.images import SyntheticImageConfig, synthetic_images
from facedis_jax.errors import InputError
from facedis_jax.inference.chunks import on_host
from facedis_jax.inference.codecs import ImageCodec, image_codec
from facedis_jax.inference.generator_models import TrainedImageModel
from facedis_jax.learners import (
    ABP_STATE_AXES,
    ADVERSARIAL_STATE_AXES,
    AbpConfig,
    AdversarialConfig,
    ImageFunctions,
    ImageVaeConfig,
    Learner,
    OptimiserConfig,
    abp_functions,
    abp_learner,
    adversarial_learner,
    image_vae_functions,
    image_vae_learner,
)
from facedis_jax.learners.rivals.images import (
    DeformingAutoencoderConfig,
    DeformingConfig,
    DeformingNetworks,
    DeformingTraining,
    EmbeddingConfig,
    MaskedAutoencoderConfig,
    deforming_autoencoder_functions,
    deforming_autoencoder_learner,
    embedding_features,
    embedding_learner,
    masked_autoencoder_learner,
    masked_features,
    unit_range,
)
from facedis_jax.models.deformable import with_principal_fields
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

TrainedImages = TrainedModel[ImageCodec]
ImageLearnerConfig = AbpConfig | AdversarialConfig | DeformingAutoencoderConfig | ImageVaeConfig
Kind = Literal[
    "synthetic",
    "celeba",
    "mafl",
    "celeba_without_mafl",
    "ck_plus",
    "multi_pie",
    "ffhq",
    "cifar10",
    "mnist",
    "folder",
]

# Images whose latents are inferred at once for the curves.
_EVALUATION_BATCH = 50


@dataclass(frozen=True)
class ImageDataConfig:
    """Which images are learned from.

    Attributes:
      kind: a set of real images in its public layout, or synthetic ones.
      folder: of the real set.
      size: height and width in pixels, a power of two.
      max_train, max_test: a fixed choice of so many images of a real set's halves; None for all.
      category: of CIFAR-10's objects.
      crop: of a real set's images, see `facedis_jax.formats.images.Framing`; None for the set's own.
      channels: of a real set's images, 3 or 1; None for the set's own, in a folder the files' own.
      views: of Multi-PIE, in degrees; None for the set's own.
      max_test_per_view: of Multi-PIE, a fixed choice of so many test images of each view; None for all.
      prepared: where prepared copies of real sets are kept; None for a cache in the user's home.
      skip_damaged: skip images of a real set that cannot be used; `skipped.json` lists them.
      links_out: follow links that lead out of a real set\'s folder; with the option\'s opposite they are refused.
      face_model: what synthetic images show: None for the embedded face, a .npz, or a checkout of ICT-FaceKit.
      recipes: a JSON file that says how a face model performs expressions with units of other names than ARKit's.
      synthetic: who synthetic images show, and how.
    """

    kind: Kind = "synthetic"
    folder: Path | None = None
    size: int = 64
    max_train: int | None = None
    max_test: int | None = None
    category: str | None = None
    crop: str | None = None
    channels: int | None = None
    views: tuple[int, ...] | None = None
    max_test_per_view: int | None = None
    prepared: Path | None = None
    skip_damaged: bool = False
    links_out: bool = True
    verify: bool = False
    face_model: Path | None = None
    recipes: Path | None = None
    synthetic: SyntheticImageConfig = field(default_factory=SyntheticImageConfig)


def load_image_set(data: ImageDataConfig, option: str = "--data") -> ImageSet:
    """The images of a real set, or synthetic ones.

    Args:
      data: which.
      option: the option that they are given by, for errors.

    Raises:
      InputError: a real set without its folder, or one that cannot be used.
    """
    folder = synthetic_or_folder(data.kind, data.folder, option, "images")
    if folder is None:
        return synthetic_images(load_face_model(data.face_model, data.recipes), data.synthetic, size=data.size)
    names = ("max_train", "max_test", "category", "crop", "channels", "views", "max_test_per_view")
    settings = {name: getattr(data, name) for name in names}
    how: dict[str, Any] = {"skip_damaged": data.skip_damaged, "links_out": data.links_out, "verify": data.verify}
    # Imported here, or `--help` would wait for TFDS.
    from facedis_jax.data.images.load import load_images

    return load_images(data.kind, folder, size=data.size, prepared_dir=data.prepared, **how, **settings)


def with_channels(learner: AbpConfig, images: ImageSet) -> AbpConfig:
    """The learner, whose generator makes grey images where the data are grey; its colours are the preset's else."""
    if images.channels == 1 and learner.model.channels == 3:
        return replace(learner, model=replace(learner.model, channels=1))
    return learner


def without_geometry(learner: AbpConfig) -> dict[str, AbpConfig | ImageVaeConfig]:
    """The models that Table 1 compares with, of one code as long as the two codes of the deformable one together.

    Their generator is as wide as the deformable model's geometric one, which is the wider of its two; without a warp to
    turn heads, its images need not be symmetric.
    """
    model = learner.model
    latents = model.appearance_latents + model.geometry_latents
    plain = replace(
        model,
        appearance_latents=latents,
        geometry_latents=0,
        filter_balance=max(1.0, model.filter_balance),
        asymmetry_scale=0,
    )
    return {
        "abp": replace(learner, model=plain, geometry_first_epochs=0.0),
        "vae": ImageVaeConfig(plain, sigma=learner.sigma, optimiser=learner.optimiser),
    }


@dataclass(frozen=True)
class DeformingRivalConfig:
    """The deforming autoencoder beside the deformable generator: what does not follow from the latter.

    Attributes:
      networks: sizes of its networks.
      training: losses and optimiser.
    """

    networks: DeformingNetworks = field(default_factory=DeformingNetworks)
    training: DeformingTraining = field(default_factory=DeformingTraining)


# What a few minutes allow: smaller networks, a smooth warp, and steps that are as large as those of the other models.
SMALL_DEFORMING = DeformingRivalConfig(
    DeformingNetworks(filters=16, growth=8, flow_scale=4),
    DeformingTraining(
        reconstruction="l2",
        smoothness=1e-4,
        mean_warp=1e-3,
        optimiser=OptimiserConfig(learning_rate=2e-3, weight_decay=0.0, schedule="cosine"),
    ),
)

GENERATOR_RIVALS = ("abp", "vae", "deforming_autoencoder")


def check_rivals(names: Sequence[str], known: Sequence[str], where: str = "--rivals") -> None:
    """Raises an `InputError` for a rival that does not exist, or is named twice."""
    for i, name in enumerate(names):
        if name not in known or name in names[:i]:
            raise InputError(where, f"some of {', '.join(known)}, each once", ascii(name)[1:-1][:60])


def rivals_of(
    learner: AbpConfig, deforming: DeformingRivalConfig, names: Sequence[str] = GENERATOR_RIVALS
) -> dict[str, AbpConfig | DeformingAutoencoderConfig | ImageVaeConfig]:
    """The models that a deformable generator is compared with, of as many latents, in the order of their names."""
    plain = without_geometry(learner)
    return {name: plain[name] if name in plain else deforming_autoencoder_like(learner, deforming) for name in names}


def deforming_autoencoder_like(learner: AbpConfig, deforming: DeformingRivalConfig) -> DeformingAutoencoderConfig:
    """A deforming autoencoder with the two codes of a deformable generator, of the same images.

    Where the images are so small that its warp would have fewer than 8 x 8 steps, it is made of finer ones.
    """
    model, networks = learner.model, deforming.networks
    networks = replace(networks, flow_scale=min(networks.flow_scale, max(1, model.size // 8)))
    sizes = DeformingConfig(model.size, model.channels, model.appearance_latents, model.geometry_latents, networks)
    return DeformingAutoencoderConfig(sizes, deforming.training)


FeatureConfig = EmbeddingConfig | MaskedAutoencoderConfig
Features = Callable[[Any], Any]


def train_features(
    run: ModelRun, name: str, config: FeatureConfig, training: TrainingConfig, examples: Examples
) -> TrainedModel[Features]:
    """Trains a network whose features landmarks are read from; arguments as of `train_images`.

    It learns for as many epochs as its own settings say. Its codec is the function from images on the host, uint8 or in
    [0, 1], to features [images, ...].
    """
    learner: Callable[..., Learner]
    if isinstance(config, EmbeddingConfig):
        learner, features = partial(embedding_learner, config), partial(embedding_features, config)
    else:
        learner, features = partial(masked_autoencoder_learner, config), partial(masked_features, config)
    return train_model(
        run,
        name,
        learner,
        replace(training, epochs=config.epochs, evaluate_every_epochs=config.epochs / 3),
        examples,
        codec=lambda params: on_host(lambda params, images: features(params, unit_range(images)), params, 50),
        state_axes=None,
        evaluation_batch=_EVALUATION_BATCH,
    )


def train_images(
    run: ModelRun,
    name: str,
    config: ImageLearnerConfig,
    training: TrainingConfig,
    examples: Examples,
    *,
    params: Any = None,
) -> TrainedImages:
    """Trains one model of a run, from its last checkpoint if there is one.

    Args:
      run: the run.
      name: of the model, and of its folder in the run's.
      config: what is learned; its type says by which method.
      training: for how long.
      examples: images.
      params: weights to start from.

    Raises:
      InputError: there are fewer images than a batch has.
      RunInterrupted: on Ctrl-C.
    """
    num_images = len(examples.train)

    def learner(**schedule: Any) -> Learner:
        schedule["params"] = params
        if isinstance(config, AbpConfig):
            return abp_learner(config, num_images=num_images, codes=examples.codes, **schedule)
        if isinstance(config, AdversarialConfig):
            return adversarial_learner(config, num_images=num_images, **schedule)
        if isinstance(config, DeformingAutoencoderConfig):
            return deforming_autoencoder_learner(config, **schedule)
        return image_vae_learner(config, **schedule)

    functions: ImageFunctions
    if isinstance(config, AbpConfig):
        functions, axes = abp_functions(config), ABP_STATE_AXES
    elif isinstance(config, AdversarialConfig):
        functions, axes = abp_functions(config.abp), ADVERSARIAL_STATE_AXES
    elif isinstance(config, DeformingAutoencoderConfig):
        functions, axes = deforming_autoencoder_functions(config), None
    else:
        functions, axes = image_vae_functions(config), None
    trained = train_model(
        run,
        name,
        learner,
        training,
        examples,
        codec=lambda params: image_codec(functions, params, seed=run.seed, devices=run.devices),
        state_axes=axes,
        evaluation_batch=_EVALUATION_BATCH,
        finish=_in_principal_fields if functions.config.deformable and functions.config.linear_flow else None,
    )
    generator = config.abp if isinstance(config, AdversarialConfig) else config
    save_model(run, name, TrainedImageModel, generator, trained)
    return trained


def _in_principal_fields(weights: Any, chains: Any) -> tuple[Any, Any]:
    weights, geometry = with_principal_fields(weights, None if chains is None else chains.geometry)
    return weights, None if chains is None else chains._replace(geometry=geometry)


def loaded_images(
    config: AbpConfig, path: Path, *, seed: int, devices: Sequence[jax.Device] | None = None
) -> TrainedImages:
    """A generator of images that another run has trained; see `loaded_model`."""
    functions = abp_functions(config)

    def codec(params: Any) -> ImageCodec:
        return image_codec(functions, params, seed=seed, devices=devices)

    return loaded_model(TrainedImageModel, config, functions, codec, path)
