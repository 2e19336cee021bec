"""The methods that the IB-VAE's paper compares with, as learners of the same contract, trained by the same loop."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from facedis_jax.learners.rivals.faces.additive import GuConfig, ZhangConfig, gu, zhang
from facedis_jax.learners.rivals.faces.jiang import JiangConfig, deformation_space, jiang, jiang_features
from facedis_jax.learners.rivals.faces.mesh_autoencoders import MeshAeConfig, SpiralNetConfig, mesh_ae, spiral_net
from facedis_jax.learners.rivals.faces.rival import (
    Latents,
    Rival,
    RivalConstants,
    RivalTraining,
    rival_learner,
    split,
)
from facedis_jax.learners.rivals.faces.wsdf import WsdfConfig, wsdf


class RivalKind(NamedTuple):
    """A rival by its name.

    Attributes:
      title: what tables call it.
      config: the class of its settings.
      make: (settings, constants, latents) -> the rival; raises an InputError for a topology that it cannot take.

    Example:
      >>> RIVALS["jiang"].title, RIVALS["jiang"].config is JiangConfig
      ('Jiang et al.', True)
    """

    title: str
    config: type
    make: Callable[[Any, RivalConstants, Latents], Rival]


RIVALS: Mapping[str, RivalKind] = {
    "mesh_ae": RivalKind("MeshAE", MeshAeConfig, mesh_ae),
    "spiral_net": RivalKind("SpiralNet++", SpiralNetConfig, spiral_net),
    "jiang": RivalKind("Jiang et al.", JiangConfig, jiang),
    "zhang": RivalKind("in the manner of Zhang et al.", ZhangConfig, zhang),
    "gu": RivalKind("Gu et al.", GuConfig, gu),
    "wsdf": RivalKind("in the manner of WSDF", WsdfConfig, wsdf),
}
"""The rivals by the names that options give them.

Example:
  >>> sorted(RIVALS)
  ['gu', 'jiang', 'mesh_ae', 'spiral_net', 'wsdf', 'zhang']
"""

__all__ = [
    "RIVALS",
    "GuConfig",
    "JiangConfig",
    "Latents",
    "MeshAeConfig",
    "Rival",
    "RivalConstants",
    "RivalKind",
    "RivalTraining",
    "SpiralNetConfig",
    "WsdfConfig",
    "ZhangConfig",
    "deformation_space",
    "jiang_features",
    "rival_learner",
    "split",
]
