"""What a comparison of methods can be told: its faces, its methods, and the settings of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from facedis_jax.errors import InputError, check_least
from facedis_jax.learners import IbVaeConfig
from facedis_jax.learners.rivals.faces import (
    RIVALS,
    GuConfig,
    JiangConfig,
    Latents,
    MeshAeConfig,
    RivalTraining,
    SpiralNetConfig,
    WsdfConfig,
    ZhangConfig,
)
from facedis_jax.runs.face_config import FaceDataConfig, FaceRunConfig

OURS = "ib_vae"
TITLES: Mapping[str, str] = {
    OURS: "IB-VAE (ours)",
    **{name: kind.title for name, kind in RIVALS.items()},
    "linear": "linear, as FLAME",
    "pca": "PCA",
}
METHODS = tuple(TITLES)


@dataclass(frozen=True)
class OursConfig:
    """Our own method's settings beside its rivals.

    Attributes:
      learner: networks, weights, optimiser; the numbers of latents are the table's.
      epochs: how often the training set is seen.
      batch_size: faces of a step, over all devices.
      precompute: compute what the encoder needs of each mesh once.
    """

    learner: IbVaeConfig = field(default_factory=IbVaeConfig)
    epochs: float = 300
    batch_size: int = 32
    precompute: bool = False


@dataclass(frozen=True)
class RivalsConfig:
    """Methods that are compared on one data set.

    Attributes:
      data: the faces.
      methods: which ones, by name.
      identity_latents, expression_latents: lengths of the codes; of methods that do not tell these apart, their sum.
      seeds: how often each method is trained.
      seed: of the first time.
      ours: our own method.
      mesh_ae, spiral_net, jiang, zhang, gu, wsdf: the rivals.
      log_every_steps, evaluate_every_steps, checkpoint_every_steps: steps from one line of metrics, evaluation or
        checkpoint to the next.

    Raises:
      InputError: an unknown method, no methods, or one of them twice; no latents or seeds.
    """

    data: FaceDataConfig = field(default_factory=FaceDataConfig)
    methods: tuple[str, ...] = METHODS
    identity_latents: int = 4
    expression_latents: int = 4
    seeds: int = 3
    seed: int = 0
    ours: OursConfig = field(default_factory=OursConfig)
    mesh_ae: MeshAeConfig = field(default_factory=MeshAeConfig)
    spiral_net: SpiralNetConfig = field(default_factory=SpiralNetConfig)
    jiang: JiangConfig = field(default_factory=JiangConfig)
    zhang: ZhangConfig = field(default_factory=ZhangConfig)
    gu: GuConfig = field(default_factory=GuConfig)
    wsdf: WsdfConfig = field(default_factory=WsdfConfig)
    log_every_steps: int = 50
    evaluate_every_steps: int = 5000
    checkpoint_every_steps: int = 1000

    def __post_init__(self) -> None:
        check_least(self, identity_latents=1, expression_latents=1, seeds=1)
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown or not self.methods:
            raise InputError("methods", f"some of {', '.join(METHODS)}", unknown[0] if unknown else "none")
        if len(set(self.methods)) < len(self.methods):
            twice = next(name for name in self.methods if self.methods.count(name) > 1)
            raise InputError("methods", "each method once", f"{twice} twice")

    @property
    def latents(self) -> Latents:
        """Lengths of the codes."""
        return Latents(self.identity_latents, self.expression_latents)

    def training_of(self, method: str) -> OursConfig | RivalTraining | None:
        """How a method is trained; None for one that is fitted at once."""
        if method == OURS:
            return self.ours
        return getattr(self, method).training if method in RIVALS else None

    def ours_at(self, seed: int) -> FaceRunConfig:
        """The run of our own method."""
        model = replace(
            self.ours.learner.model,
            identity_latents=self.identity_latents,
            expression_latents=self.expression_latents,
        )
        learner = replace(self.ours.learner, model=model)
        return FaceRunConfig(
            data=self.data,
            learner=learner,
            epochs=self.ours.epochs,
            batch_size=self.ours.batch_size,
            seed=seed,
            precompute=self.ours.precompute,
            log_every_steps=self.log_every_steps,
            evaluate_every_steps=self.evaluate_every_steps,
            checkpoint_every_steps=self.checkpoint_every_steps,
        )
