"""What a fit to a scan returns, how it is asked for, and when it is not to be trusted."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from facedis_jax.errors import check_least
from facedis_jax.inference.face_codes import FaceCodes
from facedis_jax.inference.fitting.refinement import (
    Agreement,
    Misfit,
)

__all__ = ["Distances", "FaceFit", "FitConfig", "Placement"]

Unit: TypeAlias = Literal["mm", "cm", "dm", "m"]

# mm from the face within which a point of the scan counts as face.
INSIDE_MM = 8.0
# A face within less than so many mm is one beyond doubt.
SURE_MM = 0.4
# Of a fit that is to be trusted: the least correlation between the relief of face and scan, the largest median distance
# in mm, the least share of the face that is covered, and how unlikely the codes may be.
_LEAST_RELIEF, _FAR_MM, _SMALL, _UNLIKELY = 0.75, 2.5, 0.22, 8.0
# A scan of less of the face has to lie within `SURE_MM`: it may have slid along the face. Of 51 parts of faces never
# seen, all that were in place did, and the one that was 9 mm off did not.
_PARTIAL = 0.6


@dataclass(frozen=True)
class FitConfig:
    """How a face is fitted.

    Attributes:
      coarse_points, points: drawn from the scan to find the face, and to fit it.
      places: where the face may lie that are looked at with the model's shapes at a time, until one is beyond doubt.
      looking: most vertices of the model that look for the scan.
      steps: of Gauss-Newton at the end.
      misfit: how far the scan may lie from the model.
      posterior_samples: of the codes, for the standard deviation of each vertex; 0 for none.
      detail: also move the fitted face onto the scan, as far as its codes cannot.
      seed: of the points that are drawn.

    Raises:
      InputError: for numbers that are too small.

    Example:
      >>> FitConfig(posterior_samples=200, detail=True).points
      2048
    """

    coarse_points: int = 1024
    points: int = 2048
    places: int = 4
    looking: int = 2048
    steps: int = 6
    misfit: Misfit = field(default_factory=Misfit)
    posterior_samples: int = 0
    detail: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_least(self, coarse_points=256, points=256, places=1, looking=64, steps=1, posterior_samples=0, seed=0)


@dataclass(frozen=True)
class Placement:
    """Where the model's face lies in a scan: `points @ rotation.T + translation`, in mm, over `scale`.

    Attributes:
      rotation: [3, 3].
      translation: [3] mm.
      scale: millimetres in the scan's unit.

    Example:
      >>> place = Placement(np.eye(3), translation=np.array([0.0, 0.0, 300.0]), scale=1000.0)  # of a scan in metres
      >>> in_scan = place.to_scan(np.array([10.0, 20.0, 30.0]))
      >>> in_scan.round(3).tolist(), place.to_model(in_scan).round(3).tolist()
      ([0.01, 0.02, 0.33], [10.0, 20.0, 30.0])
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float

    def to_scan(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] in mm from the model's place, in the scan's place and unit.

        Example:
          >>> Placement(np.eye(3), np.array([0.0, 0.0, 300.0]), scale=1000.0).to_scan(np.zeros(3)).tolist()  # in metres
          [0.0, 0.0, 0.3]
        """
        return (points @ self.rotation.T + self.translation) / self.scale

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] from the scan's place and unit, in mm in the model's place.

        Example:
          >>> place = Placement(np.eye(3), np.array([0.0, 0.0, 300.0]), scale=1000.0)
          >>> place.to_model(np.array([0.0, 0.0, 0.5])).tolist()  # mm
          [0.0, 0.0, 200.0]
        """
        return (points * self.scale - self.translation) @ self.rotation


class Distances(NamedTuple):
    """Distances between a scan and the face that was fitted to it, in mm.

    Attributes:
      scan_to_face, face_to_scan: median; from the scan over points that count as face, from the face over what of it
        lies over the scan.
      scan_to_face_trimmed, face_to_scan_trimmed: mean of the nearest nine tenths of them.
      covered: share of the face that lies over the scan and within 5 mm of it.

    Example:
      >>> far = Distances(0.33, 0.41, 0.30, 0.38, covered=0.95)
      >>> f"{far.scan_to_face} mm, {far.covered:.0%} of the face"
      '0.33 mm, 95% of the face'
    """

    scan_to_face: float
    face_to_scan: float
    scan_to_face_trimmed: float
    face_to_scan_trimmed: float
    covered: float


@dataclass(frozen=True)
class FaceFit:
    """A face that was fitted to a scan.

    Attributes:
      codes: its mean and deviation, of no batch: [latents].
      vertices: [vertices, 3] float64, the face in the model's topology, in the scan's place and unit.
      pose: from the model's place to the scan's.
      unit: of the scan, as it was named or found.
      distances: between scan and face, mm.
      inside: [points] which points of the scan count as face.
      is_bad: whether the fit is not to be trusted, for a `reason` in one line, empty where it is good.
      is_inside_out: whether the scan's triangles face inwards.
      relief: correlation between the relief of the face and that of the scan, 1 at best.
      vertex_mm: [vertices] how far each vertex lies from the scan; infinite where the scan has a hole.
      detail: [vertices, 3] the face with what its codes cannot hold, where it was asked for.
      std_mm: [vertices] standard deviation along each axis, where samples of the posterior were asked for.

    Example:
      >>> place = Placement(np.eye(3), np.array([0.0, 0.0, 300.0]), scale=1.0)
      >>> from facedis_jax.inference.face_codes import Code
      >>> nothing = Code(np.zeros(4), np.ones(4))
      >>> fit = FaceFit(
      ...     FaceCodes(nothing, nothing, None),
      ...     vertices=np.array([[0.0, 0.0, 300.0]]),
      ...     pose=place,
      ...     unit="mm",
      ...     distances=Distances(0.33, 0.41, 0.30, 0.38, 0.95),
      ...     inside=np.array([True, False]),
      ...     is_bad=False,
      ...     reason="",
      ...     is_inside_out=False,
      ...     relief=0.97,
      ...     vertex_mm=np.array([0.2]),
      ... )
      >>> fit.pose.to_model(fit.vertices).tolist()  # the face where the training faces lie
      [[0.0, 0.0, 0.0]]
    """

    codes: FaceCodes
    vertices: np.ndarray
    pose: Placement
    unit: str
    distances: Distances
    inside: np.ndarray
    is_bad: bool
    reason: str
    is_inside_out: bool
    relief: float
    vertex_mm: np.ndarray
    detail: np.ndarray | None = None
    std_mm: np.ndarray | None = None


def distances_of(agreed: Agreement) -> Distances:
    """The distances of an estimate."""
    of_scan = np.asarray(agreed.scan_to_face)[agreed.scan_to_face < INSIDE_MM]
    of_face = np.asarray(agreed.face_to_scan)[np.isfinite(agreed.face_to_scan)]
    return Distances(_median(of_scan), _median(of_face), _trimmed(of_scan), _trimmed(of_face), float(agreed.covered))


def is_clear(agreed: Agreement, most_mm: float = 1.2) -> bool:
    """Whether an estimate is a face, with median distances of at most so many mm."""
    scan = np.asarray(agreed.scan_to_face)[agreed.scan_to_face < INSIDE_MM]
    far = max(_median(scan), _median(np.asarray(agreed.face_to_scan)))
    return bool(far < most_mm and agreed.relief > 0.8 and agreed.covered > 0.3)


def farthest(distances: Distances) -> float:
    return max(distances.scan_to_face, distances.face_to_scan)


def fault(distances: Distances, agreed: Agreement) -> str:
    """What is wrong with a fit; nothing where all is well."""
    if distances.covered < _SMALL:
        return f"the scan covers {distances.covered:.0%} of the face"
    if distances.covered < _PARTIAL and farthest(distances) > SURE_MM:
        return f"a scan of {distances.covered:.0%} of the face lies {farthest(distances):.1f} mm away from it"
    if farthest(distances) > _FAR_MM:
        return f"scan and face lie {farthest(distances):.1f} mm apart"
    if agreed.relief < _LEAST_RELIEF:
        return f"a surface without the relief of a face (correlation {agreed.relief:.2f})"
    if agreed.unlikely > _UNLIKELY:
        return "a face unlike those that the model was trained on"
    return ""


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("inf")


def _trimmed(values: np.ndarray) -> float:
    kept = np.sort(values)[: max(1, round(0.9 * len(values)))]
    return float(kept.mean()) if len(values) else float("inf")
