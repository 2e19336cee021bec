"""What differs from the papers, setting by setting: `python -m experiments.differences` prints the table as Markdown.

It is made from the `paper` presets: every setting in one of them has an entry here, which says what the paper or the
authors' code has, and where. A setting is *stated* there, *left out* there, *ours* (a choice that the papers do not
know, and that the preset must leave off), or *practical* (it does not change what comes out). The table has the stated
settings in which a preset differs, and all that are left out.
"""

import argparse
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

EXPERIMENTS = (
    "coma_ib",
    "coma_cvae",
    "coma_ablation",
    "coma_rivals",
    "bu3dfe_ib",
    "bu3dfe_rivals",
    "faces_deformable",
    "geometry_transfer",
    "faces_adversarial",
    "objects_deformable",
    "landmarks",
    "faces_video",
    "expression_recognition",
)

IB_VAE, CODE = "Sun et al., ", "the authors' code"
XING = "Xing et al., "


@dataclass(frozen=True)
class Entry:
    """What the paper says of a setting.

    Attributes:
      kind: "stated", "left out", "ours" or "practical".
      value: of a stated setting what the paper has; of one of ours what leaves it off.
      source: where it stands; of a setting that is left out, why ours is what it is.
    """

    kind: str
    value: Any = None
    source: str = ""


class Setting(NamedTuple):
    """A setting of a `paper` preset: its experiment, the keys that its entry may have, and its value."""

    experiment: str
    path: str
    keys: tuple[str, ...]
    value: Any


ENTRIES: dict[str, Entry] = {}


def _stated(owner: str, source: str, **values: Any) -> None:
    ENTRIES.update({f"{owner}.{name}": Entry("stated", value, source) for name, value in values.items()})


def _left_out(owner: str, *names: str, why: str) -> None:
    ENTRIES.update({f"{owner}.{name}": Entry("left out", source=why) for name in names})


def _ours(owner: str, **off: Any) -> None:
    ENTRIES.update({f"{owner}.{name}": Entry("ours", value) for name, value in off.items()})


def _practical(owner: str, *names: str) -> None:
    ENTRIES.update({f"{owner}.{name}": Entry("practical") for name in names})


# What stands in where no folder is given, and what it needs: not the papers' data at all.
STAND_INS = ("SyntheticFaceConfig", "SyntheticImageConfig", "SyntheticClipConfig", "DigitConfig")
# Wherever they occur.
ANYWHERE = (
    "seed",
    "folder",
    "face_model",
    "recipes",
    "prepared",
    "skip_damaged",
    "links_out",
    "verify",
    "kind",
    "category",
)

# The IB-VAE.
_stated(
    "FaceVaeConfig",
    IB_VAE + "3.5",
    identity_latents=4,
    expression_latents=4,
    head=(256, 64),
    decoder_hidden=256,
)
_left_out("FaceVaeConfig", "initial_logvar", why="posteriors begin with a variance of 1")
_stated("PctConfig", "Guo et al.'s PCT", embedding=64, width=256, attention_layers=4, global_features=1024)
_stated("PctConfig", "Guo et al.'s PCT", normalisation="batch", pooling="max")
_left_out("PctConfig", "between_layers", "position_embedding", why="public copies differ; which one was run is unknown")
_ours("FaceVaeConfig", linear=False, linear_identity=True)
_ours("SurfaceConfig", anchors=0, components=(80, 40), steps=20)
_ours("CloudConfig", points=0, least=700, noise=0.4, hole=15.0, border=0.1, uneven=3.0, tilt=0.5, shift=0.3)
_ours("RecombinationConfig", share=0.0, new_people=1.0, exchange=1.0, pairs=0.0, own_ways=False, same_person=0.0)
_ours("PctConfig", frequencies=0, moment_features=256, compute="float32")
_stated("PointFeatureConfig", "Guo et al.'s PCT", centres=(512, 256), neighbours=32, start="first")
_ours("PointFeatureConfig", harmonics=0, period=1.0)
_stated("IbVaeWeights", IB_VAE + "3.5", lambda_1=6.6e-2, lambda_2=3e-3, beta_id=10.0, beta_mi=50.0)
_stated("bu3dfe_ib:IbVaeWeights", IB_VAE + "4.3", beta_id=1.0)
_left_out("IbVaeConfig", "reduction", why="lambda_1 fits a sum over coordinates, as in the co-author's later code")
_stated("IbVaeConfig", IB_VAE + "3.4 (Eq. 11)", estimator="mws")
_stated("IbVaeConfig", CODE, decay_epochs=350.0)
_stated("IbVaeConfig", CODE + ", a fragment, exempts neutral faces; the paper does not", exempt_neutral=False)
_stated("IbVaeConfig", IB_VAE + "3.3, red parts of Figure 2 for coma_cvae", conditional=False)
_stated("coma_cvae:IbVaeConfig", IB_VAE + "3.3", conditional=True)
_ours("IbVaeConfig", rise_epochs=0.0)
_stated("IbVaeConfig.optimiser", IB_VAE + "3.5", name="adam", learning_rate=5e-5, weight_decay=1e-4)
_stated("IbVaeConfig.optimiser", IB_VAE + "3.5", schedule="staircase", decay_rate=0.7, decay_epochs=50.0, beta_1=0.9)
_ours("IbVaeConfig.optimiser", steps=(), warmup_steps=0, geometry_warmup=0)
_stated("FaceRunConfig", IB_VAE + "3.5", epochs=300, batch_size=32)
_practical("FaceRunConfig", "precompute", "log_every_steps", "evaluate_every_steps", "checkpoint_every_steps")
_ours("FaceRunConfig", register_predictions=False)
_stated("bu3dfe_ib:FaceRunConfig", "Jiang et al.'s measure, beside the plain one", register_predictions=True)
_stated("FaceDataConfig", IB_VAE + "4.1", split="paper")
_practical("FaceDataConfig", "pattern", "unit", "neutral", "neutral_name", "align")
_left_out("FaceDataConfig", "landmarks", why="the paper does not list its 13 points; `--data.landmarks` names them")
_stated("AblationConfig", IB_VAE + "4.4", beta_mi=(0.0, 10.0, 25.0, 50.0, 75.0, 100.0), beta_id=(0.0, 1.0, 10.0))
_left_out("AblationConfig", "seeds", why="three, for an interval")

# The rivals of the IB-VAE, each as its own paper or public code has it.
_practical("RivalsConfig", "methods", "log_every_steps", "evaluate_every_steps", "checkpoint_every_steps")
_stated("RivalsConfig", IB_VAE + "4.2 and 4.3", identity_latents=4, expression_latents=4)
_left_out("RivalsConfig", "seeds", why="three, for an interval")
_stated("OursConfig", IB_VAE + "3.5", epochs=300, batch_size=32)
_practical("OursConfig", "precompute")
COMA_CODE, SPIRAL_CODE, GU_CODE = "Ranjan et al.'s later public code", "Gong et al.'s public code", "Gu et al.'s code"
JIANG_CODE = "Jiang et al.'s public code"
_stated("MeshAeConfig.model", COMA_CODE, filters=(16, 16, 16, 32), size=6, factor=4.0)
_stated("SpiralNetConfig.model", SPIRAL_CODE, filters=(32, 32, 32, 64), size=9, factor=4.0)
_left_out("ZhangConfig.model", "filters", "size", "factor", why="graph convolutions of unknown sizes: MeshAE's")
_left_out("ZhangConfig", "critic_hidden", "kl_weight", "independence_weight", why="neither code nor weights are public")
_left_out("ZhangConfig.training", "epochs", "batch_size", why="as MeshAE")
_stated("MeshAeConfig.training", COMA_CODE, epochs=300, batch_size=16)
_stated("SpiralNetConfig.training", SPIRAL_CODE, epochs=300, batch_size=32)
_stated("JiangConfig.training", JIANG_CODE + ": each of three stages, here all at once", epochs=20, batch_size=1)
_stated("JiangConfig", JIANG_CODE, filters=(128, 64, 64, 64), hidden=300, fusion=(256, 128, 64))
_stated("JiangConfig", JIANG_CODE, residual_layers=3, orders=3)
_stated("JiangConfig", JIANG_CODE + ": 1e-5 of twice the divergence", kl_weight=2e-5)
_left_out("JiangConfig", "join_pieces", why="CoMA's eyeballs are pieces of their own; each is placed by its neighbour")
_stated("GuConfig", GU_CODE, widths=(64, 64, 64, 128, 1024), hidden=256)
_stated("GuConfig", GU_CODE, reconstruction_weight=5000.0, neutral_weight=5.0, kl_weight=3e-3, again_weight=7e-3)
_stated("bu3dfe_rivals:GuConfig", GU_CODE, reconstruction_weight=250.0, neutral_weight=0.5, again_weight=5e-2)
_stated("bu3dfe_rivals:GuConfig", GU_CODE, kl_weight=3e-5)
_stated("GuConfig.training", GU_CODE, epochs=300, batch_size=32)
_stated("bu3dfe_rivals:gu.RivalTraining", GU_CODE, epochs=280, batch_size=8)
WSDF_CODE = "WSDF's public code"
_stated("WsdfConfig.model", WSDF_CODE, filters=(16, 32), size=9, factor=4.0)
_stated("WsdfConfig", WSDF_CODE, width=64, residual_layers=2, hidden=128, mixed=16, decoder_hidden=(256, 256, 256))
_stated("WsdfConfig", WSDF_CODE, kl_weight=1.0, neutral_weight=10.0, information_weight=10.0)
_stated("WsdfConfig", WSDF_CODE, jacobian_weight=10.0, steepest=5000.0)
_stated("WsdfConfig.training", WSDF_CODE, epochs=100, batch_size=32)
for _experiment in ("coma_rivals", "bu3dfe_rivals"):
    for _method, _rate, _source in (
        ("mesh_ae", 8e-3, COMA_CODE),
        ("spiral_net", 1e-3, SPIRAL_CODE),
        ("jiang", 1e-4, JIANG_CODE),
    ):
        _stated(f"{_experiment}:{_method}.OptimiserConfig", _source, learning_rate=_rate, weight_decay=0.0)
    for _method, _source in (("mesh_ae", COMA_CODE), ("spiral_net", SPIRAL_CODE)):
        _stated(f"{_experiment}:{_method}.OptimiserConfig", _source, decay_rate=0.99, decay_epochs=1.0)
    for _name in ("learning_rate", "weight_decay", "decay_rate", "decay_epochs"):
        _left_out(f"{_experiment}:zhang.OptimiserConfig", _name, why="as SpiralNet++")
    _stated(f"{_experiment}:gu.OptimiserConfig", GU_CODE, learning_rate=1e-4, weight_decay=1e-4)
    _stated(f"{_experiment}:wsdf.OptimiserConfig", WSDF_CODE, learning_rate=1e-4, weight_decay=1e-5)
_stated("RivalTraining.optimiser", "each rival's public code", name="adam", schedule="staircase", beta_1=0.9)
_ours("RivalTraining.optimiser", steps=(), decay_rate=0.7, decay_epochs=50.0)

# The deformable generator.
_stated(
    "GeneratorConfig",
    XING + "Table 4",
    size=64,
    channels=3,
    appearance_latents=64,
    geometry_latents=64,
    filters=128,
    filter_balance=0.625,
)
_stated("GeneratorConfig", "Table 4 says tanh; the authors' code has a sigmoid, for images in [0, 1]", output="sigmoid")
_stated("GeneratorConfig", CODE + ": 20 of 64 pixels", displacement=20 / 64)
_stated("GeneratorConfig", XING + "5.7: the second scheme is for videos", weight_balance=None)
_stated("GeneratorConfig", XING + "Figure 1 shows a refiner as optional", refine=False)
_stated("GeneratorConfig", CODE + ", where weights are balanced", he_fan_in="kernel")
_ours("GeneratorConfig", flow_scale=1, geometry_gain=1.0, initial_flow=1.0, squarings=0, asymmetry_scale=0)
_ours("GeneratorConfig", linear_flow=False, bending=0.0, compute="float32")
_stated("faces_adversarial:GeneratorConfig", XING + "5.3", size=256)
_left_out("faces_adversarial:GeneratorConfig", "filters", why="Table 4's, doubled with each doubling of the size")
_left_out("objects_deformable:digit_learner.GeneratorConfig", "size", "channels", why="MNIST's 28 x 28 grey pixels")
_stated("objects_deformable:digit_learner.GeneratorConfig", XING + "5.4: one-hot labels", appearance_latents=10)
_stated("AbpConfig", CODE + " (as its batch of 100 makes it, see LangevinConfig)", sigma=1.0, early_sigma=1.5)
_stated("AbpConfig", CODE + ": `epoch <= 100`, from 0", early_epochs=101.0)
_ours("AbpConfig", frozen=(), geometry_first_epochs=0.0)
_left_out("faces_adversarial:AbpConfig", "early_epochs", why="a tenth of the run, as at 64 x 64")
_left_out(
    "objects_deformable:digit_learner.AbpConfig",
    "sigma",
    "early_sigma",
    why="half: a digit has a third of the channels",
)
_stated("LangevinConfig", XING + "Algorithm 1; the authors' code moves both at once", scheme="alternating")
_stated("LangevinConfig", CODE, num_steps=20, step_size=0.1, initial_std=1.0)
_stated("LangevinConfig", XING + "5.3", inference_steps=300)
_ours("LangevinConfig", block=1, average_last=0, restarts=1)
_stated("AbpConfig.optimiser", CODE, name="adam", learning_rate=1e-3, weight_decay=0.0, schedule="steps", beta_1=0.9)
_stated(
    "AbpConfig.optimiser",
    CODE + ": `epoch <= 100` and so on, from 0",
    steps=((101, 8e-4), (201, 6e-4), (301, 5e-4), (401, 4e-4), (501, 3e-4), (701, 2e-4), (901, 1e-4)),
)
_ours("OptimiserConfig", decay_rate=0.7, decay_epochs=50.0, warmup_steps=0, geometry_warmup=0)
_stated("TrainingConfig", CODE, epochs=1001, batch_size=100)
_practical(
    "TrainingConfig", "log_every_epochs", "evaluate_every_epochs", "checkpoint_every_epochs", "evaluation_examples"
)
_stated("ImageDataConfig", XING + "5.1", size=64, max_train=10_000, max_test=None, max_test_per_view=None)
_left_out(
    "ImageDataConfig", "crop", "channels", "views", why="each set's own, in its docstring (`facedis_jax.data.images`)"
)
_stated("ViewsConfig", XING + "5.1", per_view=100)
_practical("FacesConfig", "compare", "rivals")
_stated("FacesConfig", CODE, traversal_range=(10.0, 8.0))

_practical("TransferConfig", "rivals")
_stated("TransferConfig", XING + "5.2", frontal=1000, runs=10)
_stated("TransferConfig", CODE, traversal_range=8.0)
_left_out("geometry_transfer:fine_tuning.TrainingConfig", "epochs", why="300, of 1,000 images")
_left_out("geometry_transfer:target.ImageDataConfig", "max_train", why="all of its frontal faces are candidates")
_stated("geometry_transfer:target.ImageDataConfig", XING + "5.2", max_test_per_view=1000)

# Its rivals, each as its own paper or public code has it.
DAE_CODE, DVE_CODE = "Shu et al.'s public code", "Thewlis et al.'s public code"
_stated("DeformingNetworks", DAE_CODE, filters=32, most_filters=256)
_left_out("DeformingNetworks", "growth", why="public code runs no dense connections, though it has them")
_left_out("DeformingNetworks", "affine", why="the paper has it, public code has not")
_ours("DeformingNetworks", flow_scale=1)
_stated("DeformingTraining", DAE_CODE, reconstruction="l1", mean_warp=0.01)
_left_out("DeformingTraining", "smoothness", why="public code's, of a sum over 100 images of 64 x 64, as one of means")
_stated("DeformingTraining.optimiser", DAE_CODE, name="adam", learning_rate=2e-4, weight_decay=0.0, beta_1=0.5)
_stated("DeformingTraining.optimiser", DAE_CODE, schedule="steps", steps=())
_stated("EmbeddingNetworks", DVE_CODE + ", without a third image", dimensions=3)
_left_out("EmbeddingNetworks", "filters", "taps", why="public code's are for faces of 70 pixels, and dilated")
_left_out("WarpConfig", "rotation", "scale", "shift", "bend", "light", why="of both images of a pair at once")
_stated("EmbeddingConfig", DVE_CODE, third_image=False, epochs=100)
_stated("EmbeddingConfig.optimiser", DVE_CODE, name="adam", learning_rate=1e-3, beta_1=0.9)
_left_out("EmbeddingConfig.optimiser", "weight_decay", "schedule", "steps", why="no decay, a cosine")
_left_out(
    "MaskedNetworks",
    "patch",
    "width",
    "layers",
    "heads",
    "decoder_width",
    "decoder_layers",
    why="SCE-MAE's backbone is a large one, and its code is not public",
)
_stated("MaskedAutoencoderConfig", "He et al.", masked=0.75)
_left_out("MaskedAutoencoderConfig", "epochs", why="SCE-MAE's code is not public")
_stated("MaskedAutoencoderConfig.optimiser", "He et al.", name="adamw", schedule="cosine", weight_decay=0.05)
_left_out(
    "MaskedAutoencoderConfig.optimiser",
    "learning_rate",
    "warmup_steps",
    "steps",
    "beta_1",
    why="for small batches and a small network",
)

_stated("AdversarialConfig", XING + "5.3", likelihood_weight=0.001, penalty_weight=10.0, critic_sees="prior")
_left_out("AdversarialConfig.critic_optimiser", "learning_rate", "beta_1", why="usual for critics with R1")
_left_out("AdversarialConfig.critic_optimiser", "name", "weight_decay", "schedule", "steps", why="plain Adam")
_stated("AdversarialFacesConfig", CODE + ", for 64 x 64", traversal_range=(10.0, 8.0))
_stated("faces_adversarial:ImageDataConfig", XING + "5.3", size=256, max_train=40_000)
_left_out("faces_adversarial:TrainingConfig", "epochs", "batch_size", why="200 of 40,000 images, and 32 of 256 x 256")

_practical("ObjectsConfig", "faces_model")
_stated("ObjectsConfig", CODE, traversal_range=8.0)
_left_out("objects_deformable:cars.ImageDataConfig", "max_train", why="all of the category")
_left_out("objects_deformable:cars.ImageDataConfig", "size", why="CIFAR-10's 32 x 32")
_left_out("objects_deformable:target.ImageDataConfig", "max_train", why="none are learned from")
_left_out("DigitDataConfig", "max_train", "max_test", why="all of MNIST")

_stated("RegressionConfig", XING + "5.5", hidden=100)
_left_out(
    "RegressionConfig",
    "batch_size",
    "epochs",
    "learning_rate",
    "validation_share",
    "weight_decays",
    why="chosen among by people who are held out",
)
_practical("LandmarksConfig", "rivals")
_stated("LandmarksConfig", XING + "5.5, with MAFL", generator_images="celeba")
_left_out("LandmarksConfig", "codes", "samples", why="codes inferred anew, once, for images to learn from and to test")
_left_out("landmarks:ImageDataConfig", "max_train", why="all of CelebA")

# The dynamic deformable generator.
_stated(
    "DynamicConfig",
    XING + "Table 5",
    size=64,
    channels=3,
    appearance_latents=60,
    geometry_latents=30,
    appearance_noise=3,
    geometry_noise=10,
    transition_hidden=20,
    appearance_filters=512,
    geometry_filters=256,
    output="tanh",
    weight_balance=0.3,
)
_stated("DynamicConfig", CODE + " for images, of which the paper states none", he_fan_in="kernel")
_stated("DynamicConfig", "a dynamic generator of the same group; Table 5 prints no residual", transition="residual")
_stated("DynamicConfig", CODE + " for images", displacement=20 / 64)
_ours("DynamicConfig", flow_scale=1, geometry_gain=1.0, initial_flow=1.0, squarings=0, compute="float32")
_practical("DynamicConfig", "frames_at_once")
_left_out("AbpVideoConfig", "sigma", why="1, as in a dynamic generator of the same group")
_ours("AbpVideoConfig", noise_step=1.0)
_left_out("AbpVideoConfig.langevin", "num_steps", "step_size", why="as in a dynamic generator of the same group")
_left_out("AbpVideoConfig.optimiser", "learning_rate", "beta_1", why="as in a dynamic generator of the same group")
_left_out("AbpVideoConfig.optimiser", "name", "weight_decay", "schedule", "steps", why="plain Adam")
_left_out("FacesVideoConfig", "pairs", why="as many as tell means apart")
_stated("FacesVideoConfig", CODE + " for images: 8 for the geometric code", traversal_range=(10.0, 8.0))
_practical("FacesVideoConfig", "compare")
_left_out("faces_video:TrainingConfig", "epochs", "batch_size", why="as in a dynamic generator of the same group")
_left_out("expression_recognition:TrainingConfig", "epochs", "batch_size", why="as in faces_video")
_ours("RecognitionConfig", filters=(), channels=3)
_left_out("ExpressionConfig.frame_network", "filters", why="a ceiling that the paper does not have, learned by labels")
_stated("VideoDataConfig", XING + "5.6", size=64, frames=60)
_left_out(
    "VideoDataConfig", "crop", "cut", "stride", "expressions", why="OpenFace's crops are not at hand; first frames"
)
_left_out(
    "VideoDataConfig", "max_train", "max_test", "num_test_subjects", why="the paper tests on what it learned from"
)

_stated("ExpressionConfig", XING + "5.6", folds=10)
_left_out(
    "ExpressionConfig", "codes", "motion", why="not said how codes of a clip are found; both motions are measured"
)
_practical("ExpressionConfig", "video_model", "compare")
_stated("RecognitionConfig", XING + "5.6", dense=30, components=None)
_left_out("RecognitionConfig", "hidden", "pooling", "scaling", "batch_size", "epochs", why="not said")
_left_out("RecognitionConfig.optimiser", "name", "learning_rate", "weight_decay", "schedule", why="not said")
_left_out("RecognitionConfig.optimiser", "steps", "beta_1", why="not said")
_stated("MocoganConfig", "Tulyakov et al.'s code", content_latents=50, motion_latents=10, motion_noise=10, size=64)
_stated("MocoganConfig", "Tulyakov et al.'s code", filters=512, critic_filters=64, output="tanh", channels=3)
_left_out("MocoganConfig", "encoder_units", why="the paper does not say how codes of clips are found")
_stated("MocoganLearnerConfig", "Tulyakov et al.'s code", window=16, penalty_weight=0.0, critic_noise=0.0)
_stated("MocoganLearnerConfig.optimiser", "Tulyakov et al.'s code", name="adam", learning_rate=2e-4, beta_1=0.5)
_stated("MocoganLearnerConfig.optimiser", "Tulyakov et al.'s code", weight_decay=1e-5, schedule="steps", steps=())
_stated("MocoganLearnerConfig.critic_optimiser", "Tulyakov et al.'s code", name="adam", learning_rate=2e-4, beta_1=0.5)
_stated(
    "MocoganLearnerConfig.critic_optimiser", "Tulyakov et al.'s code", weight_decay=1e-5, schedule="steps", steps=()
)

# What no setting says: what it is, the paper, here, and why.
BEYOND_SETTINGS = (
    (
        "encoder's output",
        "standard deviation",
        "log-variance",
        "the authors' code",
    ),
    (
        "warp outside the image (Eq. 4)",
        "zero",
        "the border's pixel",
        "the authors' code clips coordinates",
    ),
    (
        "warp at zero displacement",
        "a grid of i * 64 / 63 in the authors' code",
        "the identity",
        "a flow of zero must change nothing",
    ),
    (
        "warp's gradient at whole pixels",
        "zero (floor and ceil) in the authors' code",
        "the mean of both sides",
        "flows that begin at zero would never learn",
    ),
    (
        "sampled posterior",
        "depends on the batch size in the authors' code",
        "that of one image",
        "their batch of 100 gives the sigma here",
    ),
    (
        "critic's loss (Eq. 22)",
        "maximised with a positive penalty; gradient of D",
        "R1 subtracted; gradient of the logit",
        "Mescheder et al., whom the paper cites",
    ),
    (
        "stratified sampling of mutual information",
        "1/N in column 0 of public code",
        "the form of its paper's appendix",
        "public code is off by up to 6.6 nats",
    ),
    (
        "self-intersections",
        "counted by another tool",
        "our count",
        "counts of tools differ by 2 to 5 %",
    ),
    (
        "MoCoGAN's norms; codes of given clips",
        "batch norm; not said",
        "none; by an encoder learned on its own clips",
        "see `models/mocogan.py`",
    ),
    (
        "face crops",
        "OpenFace",
        "each set's own crop",
        "OpenFace is not part of this project",
    ),
)


def settings_of(experiment: str) -> Iterator[Setting]:
    """All settings of an experiment's `paper` preset."""
    presets = importlib.import_module(f"experiments.{experiment}").PRESETS
    return _settings(presets["paper"], experiment, (), "")


def _settings(config: Any, experiment: str, path: tuple[str, ...], owner: str) -> Iterator[Setting]:
    kind = type(config).__name__
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield from _settings(value, experiment, (*path, field.name), f"{kind}.{field.name}")
            continue
        owners = [f"{experiment}:{name}.{kind}" for name in path] + [f"{experiment}:{kind}", owner, kind]
        keys = tuple(f"{each}.{field.name}" for each in owners if each)
        yield Setting(experiment, ".".join((*path, field.name)), keys, value)


def entry_of(setting: Setting) -> Entry | None:
    """What is said of a setting; the most particular of its entries."""
    kind, name = setting.keys[-1].rsplit(".", 1)
    if kind in STAND_INS or name in ANYWHERE:
        return Entry("practical")
    return next((ENTRIES[key] for key in setting.keys if key in ENTRIES), None)


def rows_of(*, all_settings: bool = False) -> list[dict[str, str]]:
    """Rows of the table: stated settings in which a preset differs and all that are left out; or all settings."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for experiment in EXPERIMENTS:
        for setting in settings_of(experiment):
            entry = entry_of(setting)
            if entry is None:
                raise KeyError(f"{experiment}: {setting.path} has no entry")
            same = entry.kind in ("practical", "ours") or (entry.kind == "stated" and entry.value == setting.value)
            if same and not all_settings:
                continue
            paper = {"stated": str(entry.value), "left out": "not stated", "ours": "none, ours; off"}
            row = (setting.path, paper.get(entry.kind, "changes no result"), str(setting.value), entry.source)
            rows.setdefault(row, []).append(experiment)
    names = ("setting", "paper", "preset", "source or reason")
    return [{**dict(zip(names, row, strict=True)), "experiments": ", ".join(where)} for row, where in rows.items()]


def markdown(*, all_settings: bool = False) -> str:
    """The page: what is no setting, then the settings."""
    beyond = [dict(zip(("what", "paper", "here", "why"), row, strict=True)) for row in BEYOND_SETTINGS]
    return (
        "# What differs from the papers\n\n"
        "Made by `python -m experiments.differences`, from the `paper` presets; `--all` lists every setting.\n\n"
        f"## What is no setting\n\n{_table(beyond)}\n## Settings\n\n{_table(rows_of(all_settings=all_settings))}"
    )


def _table(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.differences", description=__doc__)
    parser.add_argument("--all", action="store_true", help="list every setting, also those that are as the paper's")
    print(markdown(all_settings=parser.parse_args().all), end="")
