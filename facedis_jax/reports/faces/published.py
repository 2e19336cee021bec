"""Numbers that the IB-VAE paper reports, with the tables that they are from.

They were measured on the real CoMA and BU-3DFE scans, so that beside results on other data they only show the scale.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Paper = Literal["coma", "bu3dfe"]


class Published(NamedTuple):
    """A published number and the table or section that it is from: `Published(0.663, "Table 2")`."""

    value: float
    where: str


class Method(NamedTuple):
    """A row of the paper's tables, in mm; None where the paper gives no number."""

    name: str
    disentanglement: float | None = None
    disentanglement_median: float | None = None
    reconstruction: float | None = None
    reconstruction_std: float | None = None
    reconstruction_median: float | None = None
    neutral: float | None = None
    neutral_std: float | None = None
    neutral_median: float | None = None


COMA_METHODS = (
    Method("MeshAE", None, None, 0.845, 0.994, 0.496),
    Method("SpiralNet++", None, None, 0.543, 0.663, 0.320),
    Method("FLAME", 0.599, 0.591, 1.451, 1.649, 0.871),
    Method("Jiang et al.", 0.064, 0.062, 1.413, 1.639, 1.017),
    Method("Zhang et al.", 0.019, 0.020, 0.665, 0.748, 0.434),
    Method("IB-VAE, no IB", 0.025, 0.022, 0.614, 0.192, 0.594, 0.065, 0.021, 0.065),
    Method("IB-VAE, beta_mi = 0", 0.016, 0.013, 0.604, 0.183, 0.581, 0.054, 0.020, 0.049),
    Method("IB-VAE", 0.006, 0.005, 0.663, 0.215, 0.643, 0.051, 0.021, 0.048),
)
"""Tables 1 and 2. The deviations and medians of others are over vertices, those of IB-VAE over meshes."""

BU3DFE_METHODS = (
    Method("FLAME", 0.600, 0.632, 2.596, 2.055, 2.055),
    Method("Jiang et al.", 0.611, 0.590, 2.054, 1.199, 1.814),
    Method("Zhang et al.", 0.361, 0.327, 1.551, 0.924, 1.375),
    Method("IB-VAE", 0.328, 0.296, 1.628, 0.333, 1.589),
)
"""Table 3."""

DATA_NAMES: Mapping[Paper, str] = {"coma": "CoMA", "bu3dfe": "BU-3DFE"}


def methods(paper: Paper) -> Sequence[Method]:
    """All methods that the paper compares on one data set, its own last."""
    return {"coma": COMA_METHODS, "bu3dfe": BU3DFE_METHODS}[paper]


def published(paper: Paper, *, conditional: bool = False) -> dict[str, Published]:
    """Numbers of the paper's own model, by the names of `evaluate`'s results.

    Args:
      paper: the data set.
      conditional: for the conditional model of section 4.6, which the paper trains on CoMA only.

    Example:
      >>> published("coma")["reconstruction_mm.mean"]
      Published(value=0.663, where='Table 2')
    """
    if conditional:
        if paper != "coma":
            return {}
        return {
            "reconstruction_mm.mean": Published(0.740, "§4.6"),
            "disentanglement_mm.mean": Published(0.008, "§4.6"),
            "collapsed_latents.expression": Published(3, "§4.6"),
        }
    ours = methods(paper)[-1]
    first, second = ("Table 1", "Table 2") if paper == "coma" else ("Table 3", "Table 3")
    figures = {
        "reconstruction_mm.mean": (ours.reconstruction, second),
        "reconstruction_mm.std": (ours.reconstruction_std, second),
        "reconstruction_mm.median": (ours.reconstruction_median, second),
        "neutral_mm.mean": (ours.neutral, second) if paper == "coma" else (2.264, "§4.4"),
        "neutral_mm.std": (ours.neutral_std, second),
        "neutral_mm.median": (ours.neutral_median, second),
        "disentanglement_mm.mean": (ours.disentanglement, first),
        "disentanglement_mm.median": (ours.disentanglement_median, first),
        "self_intersections.true": (548.60 if paper == "coma" else 0.012, "§4.4"),
        "self_intersections.reconstructed": (510.06 if paper == "coma" else 0.020, "§4.4"),
    }
    return {name: Published(value, where) for name, (value, where) in figures.items() if value is not None}
