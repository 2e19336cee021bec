"""A portrait built around a face mesh: eyes, teeth, hair, a neck, shoulders, and the material of each part."""

from collections.abc import Sequence

import numpy as np

from facedis_jax.data.synthetic.anatomy import FaceAnatomy
from facedis_jax.data.synthetic.face_model import FaceModel

MATERIALS = ("skin", "lips", "hair", "brow", "iris", "eye", "tooth", "dark", "clothes")

LAYERS = ("torso", "hair", "neck", "socket", "eye", "mouth", "tooth", "face")  # from back to front
_TWO_SIDED = ("socket", "mouth", "tooth")
# (radius in half widths of the neck, mm above the eyes) of its rings, from under the hair to the shoulders.
_NECK = (
    (0.0, 10.0),
    (0.7, -8.0),
    (0.95, -40.0),
    (1.0, -70.0),
    (0.98, -110.0),
    (1.02, -130.0),
    (1.3, -150.0),
    (2.0, -170.0),
)
# Polar angles in degrees and materials of an eyeball's rings: pupil, iris, white, and what the lids shade.
_EYE = ((0, "dark"), (9, "dark"), (11, "iris"), (26, "iris"), (30, "eye"), (50, "eye"), (85, "skin"))


class Portrait:
    """One mesh of a face with hair, eyes, teeth, neck and shoulders; the face's own vertices come first.

    Args:
      model: the face.
      anatomy: where its features are.

    Attributes:
      triangles: [triangles, 3] of all parts.
      layer: [triangles], a higher one hides a lower one at any depth: eyes are behind lids, hair behind the face.
      two_sided: [triangles] bool, whether a triangle is drawn from behind as well.
      materials: [vertices, len(MATERIALS)] float32, shares of each material, without the hair on the face.
    """

    def __init__(self, model: FaceModel, anatomy: FaceAnatomy):
        self._anatomy = anatomy
        self._ball, ball = _revolved([(np.sin(t), np.cos(t)) for t in np.linspace(0, np.pi, 13)], 24)
        self._ball = _upright(self._ball)
        self._tube, tube = _revolved(_NECK, 14)
        self._tube = _upright(self._tube)
        self._eye, eye = _revolved([(np.sin(t), np.cos(t)) for t in np.radians([t for t, _ in _EYE])], 16)
        self._teeth, teeth = _arch()
        mouth = anatomy.mouth
        self._upper_lip = _upper_rim(model.neutral, mouth)

        parts = [
            ("face", model.triangles, _face_materials(anatomy)),
            ("hair", ball, _pure("hair", len(self._ball))),
            ("torso", ball, _pure("clothes", len(self._ball))),
            ("neck", tube, _mixed("skin", "dark", 0.2, len(self._tube))),
        ]
        for rim in anatomy.eyes:
            parts.append(("socket", _fan(len(rim)), _mixed("skin", "dark", 0.5, len(rim) + 1)))
            parts.append(("eye", eye, np.repeat(np.concatenate([_pure(name, 1) for _, name in _EYE]), 16, 0)))
        if len(mouth):
            inside = np.concatenate([_mixed("lips", "dark", 0.5, len(mouth)), _pure("dark", 1)])
            parts.append(("mouth", _fan(len(mouth)), inside))
            parts.append(("tooth", teeth, _pure("tooth", len(self._teeth))))

        starts = np.cumsum([0] + [len(materials) for _, _, materials in parts])
        self.triangles = np.concatenate([t + start for (_, t, _), start in zip(parts, starts, strict=False)])
        self.layer = np.concatenate([np.full(len(t), LAYERS.index(name)) for name, t, _ in parts])
        self.two_sided = np.concatenate([np.full(len(t), name in _TWO_SIDED) for name, t, _ in parts])
        self.materials = np.concatenate([materials for _, _, materials in parts])

    def vertices(self, face: np.ndarray, neutral: np.ndarray, hair_length: float) -> np.ndarray:
        """The portrait's vertices [vertices, 3] around those of a face, mm.

        Args:
          face: [vertices, 3], mm.
          neutral: [vertices, 3], the same face at rest, which places the parts that expressions do not move.
          hair_length: how far hair reaches below the eyes, mm.
        """
        anatomy = self._anatomy
        eyes = anatomy.points(neutral)[:2].mean(0)
        outline = neutral[anatomy.outline]
        half_width, top = np.ptp(outline[:, 0]) / 2, outline[:, 1].max() - eyes[1]

        hair = self._ball * (half_width + 9, 1, 98)
        hair[:, 1] *= np.where(hair[:, 1] > 0, top - 8, hair_length + 20)
        torso = self._ball * (1.25 * half_width + 90, 90, 80)
        neck = self._tube * (0.7 * half_width, 1, 0.75 * half_width)
        parts = [face, hair + eyes + (0, 20, -74), torso + eyes + (0, -206, -85), neck + eyes + (0, 0, -66)]
        for rim in anatomy.eyes:
            middle, width = neutral[rim].mean(0), np.ptp(neutral[rim, 0])
            parts += [face[rim], (middle - (0, 0, 0.3 * width))[None]]
            parts.append(self._eye * (0.57 * width) + middle - (0, 0, 0.47 * width))
        if len(anatomy.mouth):
            rim = face[anatomy.mouth]
            width = np.ptp(neutral[anatomy.mouth, 0])
            parts += [rim, (rim.mean(0) - (0, 0, 0.4 * width))[None]]
            parts.append(self._teeth * width + face[self._upper_lip].mean(0))
        return np.concatenate(parts)


def _face_materials(anatomy: FaceAnatomy) -> np.ndarray:
    """Shares [vertices, materials] of the face itself: lips, lids and brows are painted on skin."""
    shares = _pure("skin", len(anatomy.lips))
    for name, share in (("lips", anatomy.lips), ("dark", 0.55 * anatomy.lids), ("brow", anatomy.brows)):
        shares += share[:, None] * (_pure(name, 1) - shares)
    return shares


def _upper_rim(face: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """The vertices of a mouth's rim in the middle of the upper lip."""
    x, y = face[rim, 0] - face[rim, 0].mean(), face[rim, 1]
    return rim[(y > y.mean()) & (np.abs(x) < 0.2 * np.ptp(x))] if len(rim) else rim


def _pure(material: str, count: int) -> np.ndarray:
    shares = np.zeros((count, len(MATERIALS)), np.float32)
    shares[:, MATERIALS.index(material)] = 1
    return shares


def _mixed(material: str, other: str, share: float, count: int) -> np.ndarray:
    return (1 - share) * _pure(material, count) + share * _pure(other, count)


def _fan(rim: int) -> np.ndarray:
    """Triangles that close a hole with a rim of this many vertices, with one more vertex in the middle."""
    i = np.arange(rim)
    return np.stack([i, (i + 1) % rim, np.full(rim, rim)], -1)


def _revolved(rings: Sequence[tuple[float, float]], around: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of rings (radius, z) about the z axis, of falling z, the outside facing outwards."""
    angle = np.arange(around) * (2 * np.pi / around)
    vertices = [np.stack([r * np.cos(angle), r * np.sin(angle), np.full(around, z)], -1) for r, z in rings]
    j = np.arange(around)
    ring = np.stack([j, j + around, (j + 1) % around + around, (j + 1) % around], -1)
    quads = np.concatenate([ring + k * around for k in range(len(rings) - 1)])
    return np.concatenate(vertices), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _upright(vertices: np.ndarray) -> np.ndarray:
    """Turns the z axis of `_revolved` into y, and keeps its handedness."""
    return vertices[:, [1, 2, 0]]


def _arch() -> tuple[np.ndarray, np.ndarray]:
    """Upper teeth that face +z: vertices, in widths of the mouth from the upper lip's edge, and triangles."""
    x = np.linspace(-0.36, 0.36, 7)
    z = -0.1 - 1.2 * x**2
    vertices = np.concatenate([np.stack([x, np.full(len(x), y), z], -1) for y in (-0.03, -0.2)])
    i, low = np.arange(len(x) - 1), len(x)
    return vertices, np.concatenate([np.stack([i, i + low, i + low + 1], -1), np.stack([i, i + low + 1, i + 1], -1)])
