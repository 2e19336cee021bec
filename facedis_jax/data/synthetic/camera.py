"""Rendering images of a face model: each face becomes a lit portrait, seen by a camera, in some milliseconds.

The face looks along +z with y up, as the face model does, and the camera looks along -z. Poses turn the head: a
positive yaw points the nose to the viewer's right, a positive pitch up; a positive roll tilts the crown to the viewer's
left. The projection is scaled orthographic, as through a very long lens.

A clip is the same call for the faces of its frames, with one neutral face, look and light throughout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from facedis_jax.data.synthetic.anatomy import face_anatomy
from facedis_jax.data.synthetic.face_model import FaceModel
from facedis_jax.data.synthetic.portrait import MATERIALS, Portrait
from facedis_jax.rendering.surfaces import faces_away, vertex_normals, visible_fragments

SPAN = 236.0  # mm from the top of an image to its bottom at scale 1

# From between the eyes to the middle of the image, about which the head turns, mm: half way to the ears, so that a face
# moves within its image as it does in images that are cropped around faces.
_PIVOT = np.array([0.0, -26.0, -45.0])
_HAIR_EDGE = 5.0  # mm over which skin turns to hair
_TURNED_AWAY = 0.3  # the z of a normal from which on a side is seen well
_NEAR, _IN_FRONT = 3.0, 12.0  # mm: what hides a point lies beside it in the image, and so far in front of it
_LAYER_DISTANCE = 1e4  # mm, more than any head is deep

_Batch = TypeVar("_Batch", "Looks", "Poses", "Lights")


@dataclass(frozen=True)
class Looks:
    """The looks of [images] people and their backgrounds.

    Attributes:
      colors: [images, len(MATERIALS), 3], RGB in 0..1 under full light.
      background: [images, 2, 3], at the top and at the bottom.
      hairline: [images], mm above the upper end of the mesh; mostly negative, since it lies below.
      hair_length: [images], mm below the eyes.
    """

    colors: np.ndarray
    background: np.ndarray
    hairline: np.ndarray
    hair_length: np.ndarray


@dataclass(frozen=True)
class Poses:
    """The poses of [images] heads and their positions in the image.

    Attributes:
      degrees: [images, 3], yaw (the nose to the viewer's right), pitch (up), roll (crown to the viewer's left).
      shift: [images, 2], to the right and down, as a share of the image's height.
      scale: [images], 1 for `SPAN` mm from top to bottom.
    """

    degrees: np.ndarray
    shift: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Lights:
    """The lights of [images]: one lamp, and ambient light.

    Attributes:
      direction: [images, 3], unit vectors towards the lamp: to the viewer's right, up, and to the camera.
      strength: [images], of the lamp.
      ambient: [images], strength of the light from all sides.
      tint: [images, 3], the lamp's colour.
    """

    direction: np.ndarray
    strength: np.ndarray
    ambient: np.ndarray
    tint: np.ndarray


def rows(batch: _Batch, index: Sequence[int] | np.ndarray) -> _Batch:
    """The looks, poses or lights at some indices; `rows(looks, [3] * frames)` repeats one look for a clip."""
    return type(batch)(**{each.name: getattr(batch, each.name)[index] for each in fields(batch)})


class FaceCamera:
    """A camera for the faces of one model.

    Args:
      model: whose triangles the faces have.

    Raises:
      InputError: where the model's eyes, nose and mouth are not found; see `anatomy`.
    """

    def __init__(self, model: FaceModel):
        self.anatomy = face_anatomy(model)
        self._portrait = Portrait(model, self.anatomy)

    def render(
        self, faces: np.ndarray, neutrals: np.ndarray, looks: Looks, poses: Poses, lights: Lights, *, size: int
    ) -> np.ndarray:
        """Images of faces.

        Args:
          faces: [images, vertices, 3], mm.
          neutrals: [images, vertices, 3], the same people at rest. The pose and the other parts of the portrait follow
            these, so that an expression moves nothing but the face.
          looks, poses, lights: of [images].
          size: height and width in pixels.

        Returns:
          [images, size, size, 3] uint8.
        """
        images = np.empty((len(faces), size, size, 3), np.uint8)
        for i, (face, neutral) in enumerate(zip(faces, neutrals, strict=True)):
            portrait = self._portrait.vertices(face, neutral, float(looks.hair_length[i]))
            points = _turned((portrait - self._pivot(neutral)).astype(np.float32), poses.degrees[i])
            colors = self._albedo(looks, i) * _light(vertex_normals(points, self._portrait.triangles), lights, i)
            top, bottom = looks.background[i]
            background = np.linspace(top, bottom, 2 * size, dtype=np.float32)
            fine = self._filled(points, _projected(points, poses, i, 2 * size), colors.astype(np.float32), background)
            images[i] = np.round(255 * np.clip(_halved(fine), 0, 1))
        return images

    def landmarks(self, faces: np.ndarray, neutrals: np.ndarray, poses: Poses, *, size: int) -> np.ndarray:
        """The positions of `anatomy.LANDMARKS` in the images of `render`, visible or hidden.

        Returns:
          [images, 5, 2] float32 as (x, y) in pixels; the corner pixel has its centre at (0, 0).
        """
        found = np.empty((len(faces), 5, 2), np.float32)
        for i, (face, neutral) in enumerate(zip(faces, neutrals, strict=True)):
            turned = _turned(self.anatomy.points(face) - self._pivot(neutral), poses.degrees[i])
            found[i] = _projected(turned, poses, i, size)
        return found

    def surface_points(
        self, faces: np.ndarray, neutrals: np.ndarray, poses: Poses, chosen: np.ndarray, *, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where points of the faces are in the images of `render`, and whether they are seen.

        Args:
          faces, neutrals, poses, size: as of `render`.
          chosen: [points], indices of vertices of the face.

        Returns:
          [images, points, 2] float32 as (x, y) in pixels, as of `landmarks`; and [images, points] bool, whether the
          face turns that side to the camera and no other part of the face is in front of it.
        """
        found = np.empty((len(faces), len(chosen), 2), np.float32)
        seen = np.empty((len(faces), len(chosen)), bool)
        triangles = self._portrait.triangles
        triangles = triangles[
            (triangles < faces.shape[1]).all(axis=1) & (self._portrait.layer == self._portrait.layer.max())
        ]
        for i, (face, neutral) in enumerate(zip(faces, neutrals, strict=True)):
            turned = _turned(face - self._pivot(neutral), poses.degrees[i])
            found[i] = _projected(turned[chosen], poses, i, size)
            facing = vertex_normals(turned, triangles)[chosen, 2] > _TURNED_AWAY
            seen[i] = facing & ~_hidden(turned, triangles, turned[chosen])
        return found, seen

    def _pivot(self, neutral: np.ndarray) -> np.ndarray:
        return self.anatomy.points(neutral)[:2].mean(0) + _PIVOT

    def _filled(self, points: np.ndarray, pixels: np.ndarray, colors: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Draws the portrait with colours [vertices, 3] on a background [size, 3]: [size, size, 3] float32."""
        portrait, size = self._portrait, len(background)
        corners = pixels[portrait.triangles]
        # Backwards, since y is down here.
        shown = np.flatnonzero(portrait.two_sided | ~faces_away(corners[:, ::-1]))
        first, second, third = points[:, 2][portrait.triangles[shown].T]
        order = shown[np.argsort(first + second + third + _LAYER_DISTANCE * portrait.layer[shown], kind="stable")]
        seen = visible_fragments(corners[order], (size, size))
        image = background.repeat(size, 0)
        image[seen.pixel] = np.einsum("fc,fck->fk", seen.weights, colors[portrait.triangles[order[seen.triangle]]])
        return image.reshape(size, size, 3)

    def _albedo(self, looks: Looks, i: int) -> np.ndarray:
        """The colours [vertices, 3] of the portrait under full light, with the hair on the face."""
        colors = self._portrait.materials @ looks.colors[i]
        hair = np.clip((self.anatomy.scalp - looks.hairline[i]) / _HAIR_EDGE + 0.5, 0, 1)[:, None]
        face = colors[: len(hair)]
        face += hair * (looks.colors[i, MATERIALS.index("hair")] - face)
        return colors


def _hidden(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[points] bool, whether a vertex of the mesh lies in front of a point by more than it is deep, as a nose does.

    Args:
      vertices: [vertices, 3], mm, seen along z.
      triangles: [triangles, 3].
      points: [points, 3].
    """
    drawn = vertices[np.unique(triangles)]
    nearest = np.linalg.norm(drawn[None, :, :2] - points[:, None, :2], axis=-1) < _NEAR
    return (nearest & (drawn[None, :, 2] > points[:, None, 2] + _IN_FRONT)).any(axis=1)


def _turned(points: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Points [..., 3] of a head, turned by yaw, then pitch, then roll."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return points @ (roll @ pitch @ yaw).T.astype(points.dtype)


def _projected(points: np.ndarray, poses: Poses, i: int, size: int) -> np.ndarray:
    """Points [..., 3] about the pivot, mm, as (x, y) in pixels, y down."""
    scale = poses.scale[i] / SPAN * size
    middle = (poses.shift[i] + 0.5) * size - 0.5
    return points[..., :2] * np.array([scale, -scale], points.dtype) + middle.astype(points.dtype)


def _halved(image: np.ndarray) -> np.ndarray:
    """Means over squares of two by two pixels."""
    lines = image[::2] + image[1::2]
    return (lines[:, ::2] + lines[:, 1::2]) / 4


def _light(normals: np.ndarray, lights: Lights, i: int) -> np.ndarray:
    """Light [vertices, 3] on a matte surface: from the lamp, and from all sides, of which more comes from above."""
    lamp = lights.strength[i] * np.maximum(normals @ lights.direction[i], 0)
    around = lights.ambient[i] * (0.88 + 0.12 * normals[:, 1])
    return around[:, None] + lamp[:, None] * lights.tint[i]
