"""What a run of the IB-VAE can be told: its faces, its learner, its length."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from facedis_jax.data.faces.layouts import NeutralRule
from facedis_jax.data.synthetic.faces import SyntheticFaceConfig
from facedis_jax.learners import IbVaeConfig
from facedis_jax.models.surfaces import CloudConfig

Arrangement = Literal["coma", "bu3dfe"]
Kind = Literal["coma", "bu3dfe", "meshes", "vocaset", "famos", "facescape"]


@dataclass(frozen=True)
class FaceDataConfig:
    """Which faces are learned from.

    Attributes:
      kind: of the real data set in `folder`: a public one, or `meshes`, registered meshes of one topology laid out as
        `pattern` says; None for the one that the experiment is named after.
      folder: the real data set as it is distributed; None for synthetic faces.
      pattern: where meshes lie in the folder, such as "{subject}/{expression}/{frame}.ply"; `*` for what does not
        matter, `{frame:digits}` to restrict. Without {frame}, they are single scans.
      unit: of the meshes, mm, cm, dm or m; None for the only one in which they are faces.
      neutral: what a person's neutral face is: an expression called so (name), the frames like the first of their
        sequence (level), or first frames (first); auto for name where there is such an expression, else level.
      neutral_name: of the expression that is neutral; None to guess.
      align: move each mesh rigidly onto the first; None for what the kind presets: True of vocaset and famos, whose
        people turn their heads, else False.
      face_model: what synthetic faces are made of: None for the embedded face, a .npz, or a checkout of ICT-FaceKit.
      recipes: a JSON file that says how a face model performs expressions with units of other names than ARKit's; or
        the word units, for each of its units as an expression.
      split: how test faces are chosen.
      landmarks: a text file of vertex indices, counted from 0, by which BU-3DFE's faces are registered (13 in the
        paper, which does not list them); None for all vertices, and for the expressions those that move least.
      prepared: where the prepared copy of a real data set is kept; None for a cache in the user's home.
      skip_damaged: skip meshes of a real data set that cannot be used; `skipped.json` lists them.
      links_out: follow links that lead out of a real set\'s folder; with the option\'s opposite they are refused.
      clouds: points that are drawn from the training faces' surfaces; by default none, as in the paper.
      synthetic: who synthetic faces are of, and what they perform.
    """

    kind: Kind | None = None
    folder: Path | None = None
    pattern: str | None = None
    unit: str | None = None
    neutral: NeutralRule = "auto"
    neutral_name: str | None = None
    align: bool | None = None
    face_model: Path | None = None
    recipes: Path | None = None
    split: Literal["paper", "sequence", "subject"] = "paper"
    landmarks: Path | None = None
    prepared: Path | None = None
    skip_damaged: bool = False
    links_out: bool = True
    verify: bool = False
    clouds: CloudConfig = field(default_factory=CloudConfig)
    synthetic: SyntheticFaceConfig = field(default_factory=SyntheticFaceConfig)


@dataclass(frozen=True)
class FaceRunConfig:
    """An IB-VAE experiment.

    Attributes:
      data: the faces.
      learner: networks, weights, optimiser.
      epochs: how often the training set is seen.
      batch_size: faces of a step, over all devices.
      seed: of the initial weights, the noise and the order of the faces.
      precompute: compute what the encoder needs of each mesh (its groups of points) once, on all cores, and keep it in
        memory (0.1 MB a mesh, 1.9 GB for CoMA); else in every step, on the device.
      register_predictions: also measure after moving each prediction rigidly onto its target, as some do on BU-3DFE.
      log_every_steps, evaluate_every_steps, checkpoint_every_steps: steps from one line of metrics, evaluation or
        checkpoint to the next.
    """

    data: FaceDataConfig = field(default_factory=FaceDataConfig)
    learner: IbVaeConfig = field(default_factory=IbVaeConfig)
    epochs: float = 300
    batch_size: int = 32
    seed: int = 0
    precompute: bool = False
    register_predictions: bool = False
    log_every_steps: int = 50
    evaluate_every_steps: int = 5000
    checkpoint_every_steps: int = 1000
