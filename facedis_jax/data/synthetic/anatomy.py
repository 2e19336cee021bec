"""The features of a face model, found on its mesh: eyes, nose, mouth, lips, brows and the hairline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facedis_jax.data.synthetic.expressions import split_side
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.errors import InputError
from facedis_jax.rendering.surfaces import boundary_loops

LANDMARKS = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")

_EYES_APART = 61.0  # mm between the eyes' middles, on which the measures below are based


@dataclass(frozen=True)
class FaceAnatomy:
    """The features of a face model; left and right are the viewer's.

    Attributes:
      eyes: the rims of the two eye holes, left first, vertex indices; none where the mesh has no such holes.
      mouth: the rim of the mouth hole; empty where the mesh has none.
      outline: the mesh's outer boundary.
      landmarks: [5, 2] vertex indices; each of `LANDMARKS` lies in the middle between two vertices.
      lips, brows, lids: [vertices] float32, how much of each vertex is lip, brow or the edge of a lid, 0..1.
      scalp: [vertices] float32, height in mm above the upper end of the mesh, plus the depth behind the eyes; hair
        grows where this exceeds a subject's hairline.
    """

    eyes: Sequence[np.ndarray]
    mouth: np.ndarray
    outline: np.ndarray
    landmarks: np.ndarray
    lips: np.ndarray
    brows: np.ndarray
    lids: np.ndarray
    scalp: np.ndarray

    def points(self, vertices: np.ndarray) -> np.ndarray:
        """The landmarks [..., 5, 3] of faces [..., vertices, 3], mm."""
        return vertices[..., self.landmarks, :].mean(-2)


def face_anatomy(model: FaceModel) -> FaceAnatomy:
    """The features of a face model, found on its neutral face.

    Eyes and mouth are the model's named landmarks where it has them, else the holes of its mesh, else the vertices that
    its units `eyeBlink` and `mouthSmile` move most; the nose is a landmark, or the foremost vertex between them.

    Raises:
      InputError: where a model's features are found in none of these ways.
    """
    face = model.neutral
    loops = boundary_loops(model.triangles, len(face))
    if not loops:
        raise InputError(f"face model {model.name}", "an open mesh, as a face without a head is", "a closed one")
    eyes, mouth = _eyes_and_mouth(face, loops[:-1])
    landmarks = np.array(
        [
            _eye(model, "left", eyes[:1]),
            _eye(model, "right", eyes[1:]),
            (0, 0),
            (_mouth_corner(model, "left", mouth),) * 2,
            (_mouth_corner(model, "right", mouth),) * 2,
        ]
    )
    points = face[landmarks].mean(1)
    landmarks[2] = _nose(model, points)

    left, right, _, *corners = points
    middle = (left + right) / 2
    scale = np.linalg.norm(right - left) / _EYES_APART
    x, up, behind = ((face - middle) / scale).T * np.array([[1], [1], [-1]])
    return FaceAnatomy(
        eyes=eyes,
        mouth=mouth,
        outline=loops[-1],
        landmarks=landmarks,
        lips=_lips((face - middle) / scale, (np.stack(corners) - middle) / scale),
        brows=_brows(x, up, behind),
        lids=_lids((face - middle) / scale, (points[:2] - middle) / scale),
        scalp=(up - up[loops[-1]].max() + np.maximum(behind - 15, 0)).astype(np.float32),
    )


def _eyes_and_mouth(face: np.ndarray, holes: Sequence[np.ndarray]) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The rims of the eye holes, left first, and of the mouth hole, as far as the mesh has them."""
    low, high = face[:, 0].min(), face[:, 0].max()
    x = np.array([(face[hole, 0].mean() - low) / (high - low) - 0.5 for hole in holes])
    on_midline = [hole for hole, place in zip(holes, x, strict=True) if abs(place) < 0.1]
    left = [hole for hole, place in zip(holes, x, strict=True) if place <= -0.1]
    right = [hole for hole, place in zip(holes, x, strict=True) if place >= 0.1]
    eyes = (max(left, key=len), max(right, key=len)) if left and right else ()
    return eyes, max(on_midline, key=len, default=np.array([], np.int64))


def _eye(model: FaceModel, side: str, rims: Sequence[np.ndarray]) -> tuple[int, int]:
    """Two vertices; the middle of the eye on the viewer's `side` lies half way between them."""
    # Landmarks and units are named by the sides of the person.
    own = {"left": "right", "right": "left"}[side]
    names = f"{own}_eye_outer", f"{own}_eye_inner"
    if all(name in model.landmarks for name in names):
        return model.landmarks[names[0]], model.landmarks[names[1]]
    if rims:
        x = model.neutral[rims[0], 0]
        return int(rims[0][x.argmin()]), int(rims[0][x.argmax()])
    moves = _movement(model, "eyeBlink", own)
    middle = np.average(model.neutral, axis=0, weights=moves**2)
    nearest = int(np.linalg.norm(model.neutral - middle, axis=-1).argmin())
    return nearest, nearest


def _mouth_corner(model: FaceModel, side: str, rim: np.ndarray) -> int:
    own = {"left": "right", "right": "left"}[side]
    if f"mouth_{own}" in model.landmarks:
        return model.landmarks[f"mouth_{own}"]
    if len(rim):
        x = model.neutral[rim, 0]
        return int(rim[x.argmin() if side == "left" else x.argmax()])
    return int(_movement(model, "mouthSmile", own).argmax())


def _nose(model: FaceModel, points: np.ndarray) -> int:
    if "nose_tip" in model.landmarks:
        return model.landmarks["nose_tip"]
    left, right, _, *corners = points
    x, y, z = model.neutral.T
    off_midline = np.abs(x - (left[0] + right[0]) / 2) / (right[0] - left[0])
    is_between = (off_midline < 0.25) & (y < left[1]) & (y > corners[0][1])
    if not is_between.any():
        raise InputError(f"face model {model.name}", "vertices between eyes and mouth", "none")
    return int(np.where(is_between, z, -np.inf).argmax())


def _movement(model: FaceModel, unit: str, side: str) -> np.ndarray:
    """How far a unit of one side moves each vertex, mm."""
    for name, offsets in zip(model.expression_names, model.expression, strict=True):
        if split_side(name) == (unit, side) and np.any(offsets):
            return np.linalg.norm(offsets, axis=-1)
    expected = f"landmarks, holes for eyes and mouth, or the unit {unit} of each side"
    raise InputError(f"face model {model.name}", expected, ", ".join(model.expression_names) or "no unit")


def _lips(face: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """An ellipse about the mouth, fuller below than above."""
    x, y, z = (face - corners.mean(0)).T
    half_width = (corners[1, 0] - corners[0, 0]) / 2 + 2
    half_height = np.where(y > 0, 10.0, 12.0)
    return _edge(np.hypot(x / half_width, y / half_height), 1.05, 0.85) * (z > -12)


def _brows(x: np.ndarray, up: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """An arc above each eye, thinner towards the temples."""
    along = np.clip((np.abs(x) - 13) / 36, -0.5, 1.5)
    arc = 14 + 5 * (1 - (2 * along - 1.2) ** 2 / 1.4)
    half_height = 4.6 - 1.8 * along
    on_arc = np.exp(-(((up - arc) / half_height) ** 2))
    return (on_arc * _edge(np.abs(along - 0.5), 0.6, 0.45) * (behind < 40)).astype(np.float32)


def _lids(face: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """The rims of the eyes, and the eyes themselves on a mesh that has no holes for them."""
    half = np.array([11.0, 4.0])
    distance = np.stack([np.hypot(*((face - eye)[:, :2] / half).T) for eye in eyes]).min(0)
    return _edge(distance, 1.55, 1.05) * (face[:, 2] > -20)


def _edge(value: np.ndarray, outside: float, inside: float) -> np.ndarray:
    """From 0 at `outside` to 1 at `inside`, smoothly: float32."""
    t = np.clip((value - outside) / (inside - outside), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
