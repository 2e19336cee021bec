"""Shaded images of faces, and heat maps on them, without a display, OpenGL or a system library.

Gouraud-shaded triangles are filled from back to front, which is accurate enough for meshes of small triangles. The same
face gives the same image on every machine, also on one without a graphics driver.

Faces stand upright (y up) and look along +z, as they do in CoMA, BU-3DFE, ICT-FaceKit and MakeHuman.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from facedis_jax.rendering.surfaces import boundary_loops, faces_away, unit, vertex_normals, visible_fragments

SKIN = "#e6c3ad"
HEAT_MAP = "viridis"

FIELD_OF_VIEW = 14.0  # degrees, top to bottom: a portrait lens, so that noses do not swell
SUPERSAMPLING = 2
AMBIENT = 0.17
# Direction in the camera's frame (right, up, towards the camera), strength, colour.
LIGHTS = (
    ((-0.50, 0.65, 0.80), 0.66, (1.00, 0.97, 0.93)),  # key light: from above and the left
    ((0.85, 0.05, 0.55), 0.26, (0.91, 0.95, 1.00)),  # fill light: from the right, a little cooler
    ((0.00, 0.10, 1.00), 0.12, (1.00, 1.00, 1.00)),  # from the camera, so that no side is black
)
GLOSS, GLOSS_EXPONENT = 0.10, 18.0
HEAT_MAP_RELIEF = 0.25  # by how much a heat map is darker where the surface is seen edge-on
INSIDE = "#4d3a36"
MOUTH = ("#3a2826", "#261b1a")  # at the rim, in the middle
EYE = ("#6f5d54", "#d3c6bb")


@dataclass(frozen=True)
class Camera:
    """The part of space that an image shows; with one camera for several images, sizes can be compared.

    Attributes:
      centre: the point in the middle of the image, mm.
      height: of the image at that point, mm.

    Example:
      >>> face = np.array([[-80.0, -100.0, 0.0], [80.0, -100.0, 0.0], [0.0, 100.0, 40.0]])
      >>> camera = Camera.framing(face)  # shows all of it
      >>> camera.centre, round(camera.height, 1)
      ((0.0, 0.0, 20.0), 216.9)
    """

    centre: tuple[float, float, float]
    height: float

    @classmethod
    def framing(
        cls,
        vertices: np.ndarray,
        *,
        view: tuple[float, float] = (0.0, 0.0),
        size: tuple[int, int] = (320, 400),
        margin: float = 0.03,
    ) -> "Camera":
        """A camera that sees all of `vertices` [..., 3], mm, from `view`, in an image of `size`.

        Example:
          >>> face = np.array([[-80.0, -100.0, 0.0], [80.0, -100.0, 0.0], [0.0, 100.0, 40.0]])
          >>> wide = Camera.framing(face, size=(400, 200))  # the sides have room, so that the height decides
          >>> round(Camera.framing(face).height, 1), wide.height < 400
          (216.9, True)
        """
        rotation = _rotation(view)
        points = np.asarray(vertices, np.float64).reshape(-1, 3) @ rotation.T
        low, high = points.min(0), points.max(0)
        width, height, _ = high - low
        # What is closer than the centre looks larger: this leaves room for the nearest point.
        height = max(height, width * size[1] / size[0]) * (1 + 2 * margin)
        height += (high - low)[2] * np.tan(np.radians(FIELD_OF_VIEW / 2))
        centre = (low + high) / 2 @ rotation
        return cls((float(centre[0]), float(centre[1]), float(centre[2])), float(max(height, 1e-6)))


def render_face(
    vertices: np.ndarray,
    triangles: np.ndarray,
    *,
    size: tuple[int, int] = (320, 400),
    color: str = SKIN,
    scalars: np.ndarray | None = None,
    clim: tuple[float, float] | None = None,
    cmap: str = HEAT_MAP,
    view: tuple[float, float] = (0.0, 0.0),
    camera: Camera | None = None,
    background: str | None = "white",
) -> np.ndarray:
    """Shaded image of one face; see `render_faces` for the other arguments.

    Args:
      vertices: [vertices, 3], mm.
      triangles: [triangles, 3].
      scalars: [vertices], such as an error in mm.

    Returns:
      [height, width, 3] uint8, or [height, width, 4] without a background.

    Example:
      >>> triangle = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
      >>> render_face(triangle, np.array([[0, 1, 2]]), size=(32, 40)).shape
      (40, 32, 3)
    """
    return render_faces(
        np.asarray(vertices)[None],
        triangles,
        size=size,
        color=color,
        scalars=None if scalars is None else np.asarray(scalars)[None],
        clim=clim,
        cmap=cmap,
        view=view,
        camera=camera,
        background=background,
    )[0]


def render_faces(
    faces: np.ndarray | Sequence[np.ndarray],
    triangles: np.ndarray,
    *,
    size: tuple[int, int] = (320, 400),
    color: str = SKIN,
    scalars: np.ndarray | Sequence[np.ndarray] | None = None,
    clim: tuple[float, float] | None = None,
    cmap: str = HEAT_MAP,
    view: tuple[float, float] = (0.0, 0.0),
    camera: Camera | None = None,
    background: str | None = "white",
) -> np.ndarray:
    """Shaded images of faces of one topology, by one camera and, for heat maps, on one scale.

    Holes inside the mesh are filled in the image: on the midline as an open mouth, beside it as eyes.

    Args:
      faces: [faces, vertices, 3], mm.
      triangles: [triangles, 3], counter-clockwise seen from outside.
      size: width and height of an image in pixels.
      color: of the skin; any colour of matplotlib.
      scalars: [faces, vertices], shown as colours of `cmap` in place of skin.
      clim: the scalars at both ends of `cmap`; by default 0 and the largest one.
      view: yaw and pitch in degrees: how far the camera is turned towards the face's +x side, and up.
      camera: by default one that sees all `faces`.
      background: a colour, or None for a transparent background.

    Returns:
      [faces, height, width, 3] uint8, or [faces, height, width, 4] without a background.

    Raises:
      ValueError: faces or scalars that are not finite or of another shape.

    Example:
      >>> face = np.array([[-80.0, -100.0, 0.0], [80.0, -100.0, 0.0], [0.0, 100.0, 40.0]])
      >>> images = render_faces([face, 0.9 * face], np.array([[0, 1, 2]]), size=(32, 40), background=None)
      >>> images.shape, images.dtype
      ((2, 40, 32, 4), dtype('uint8'))
    """
    faces, triangles = np.asarray(faces, np.float64), np.asarray(triangles)
    if faces.ndim != 3 or faces.shape[-1] != 3 or not np.isfinite(faces).all():
        raise ValueError(f"faces must be finite and [faces, vertices, 3], got {faces.shape}")
    if scalars is not None:
        scalars = np.asarray(scalars, np.float64)
        if scalars.shape != faces.shape[:2] or not np.isfinite(scalars).all():
            raise ValueError(f"scalars must be finite and {faces.shape[:2]}, got {scalars.shape}")
        low, high = (0.0, scalars.max()) if clim is None else clim
    camera = camera or Camera.framing(faces, view=view, size=size)
    holes = boundary_loops(triangles, faces.shape[1])[:-1]
    rotation = _rotation(view)
    images = []
    for i, vertices in enumerate(faces):
        points = (vertices - camera.centre) @ rotation.T
        normals = vertex_normals(points, triangles)
        if scalars is None:
            colors = _lit(normals, _rgb(color))
        else:
            shown = _colours_of(scalars[i], low, high, cmap)
            colors = shown * (1 - HEAT_MAP_RELIEF * (1 - np.abs(normals[:, 2:])))
        corners, corner_colors = points[triangles], colors[triangles]
        pixels = _project(corners, camera.height, size)
        corner_colors[faces_away(pixels)] = _rgb(INSIDE)
        for plug, plug_colors in (_plug(vertices, hole) for hole in holes):
            plug = (plug - camera.centre) @ rotation.T
            corners = np.concatenate([corners, plug])
            pixels = np.concatenate([pixels, _project(plug, camera.height, size)])
            corner_colors = np.concatenate([corner_colors, plug_colors])
        back_to_front = np.argsort(corners[..., 2].mean(1), kind="stable")
        images.append(_rasterise(pixels[back_to_front], corner_colors[back_to_front], size, background))
    return np.stack(images)


def _rotation(view: tuple[float, float]) -> np.ndarray:
    """The rows are the camera's right, its up, and the direction from the face to the camera."""
    yaw, pitch = np.radians(view)
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    return np.stack([right, np.cross(towards, right), towards])


def _project(points: np.ndarray, height: float, size: tuple[int, int]) -> np.ndarray:
    """Points [..., 3] in the camera's frame to pixels [..., 2] of the supersampled image, y up."""
    distance = height / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    depth = np.maximum(distance - points[..., 2:], 1e-3 * distance)
    pixels = points[..., :2] * (distance / depth) * (size[1] / height)
    return (pixels + np.array(size) / 2) * SUPERSAMPLING


def _rgb(color: str) -> np.ndarray:
    # Imported where it is used: whoever asks an experiment for its `--help` should not wait for it.
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(color))


def _colours_of(scalars: np.ndarray, low: float, high: float, cmap: str) -> np.ndarray:
    import matplotlib
    from matplotlib.colors import Normalize

    return matplotlib.colormaps[cmap](Normalize(low, high)(scalars))[:, :3]


def _lit(normals: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Blinn-Phong colours [vertices, 3] of a matte skin with a little gloss, from normals [vertices, 3]."""
    light = np.full(normals.shape, AMBIENT)
    for direction, strength, tint in LIGHTS:
        light += strength * np.maximum(normals @ unit(np.array(direction)), 0)[:, None] * np.array(tint)
    halfway = unit(unit(np.array(LIGHTS[0][0])) + np.array([0.0, 0.0, 1.0]))
    gloss = GLOSS * np.maximum(normals @ halfway, 0)[:, None] ** GLOSS_EXPONENT
    return np.clip(light * color + gloss, 0, 1)


def _plug(vertices: np.ndarray, hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [n, 3, 3] that close a hole, with colours: a mouth is a dark hollow, an eye a pale dome."""
    rim = vertices[hole]
    middle = rim.mean(0)
    low, high = vertices[:, 0].min(), vertices[:, 0].max()
    is_mouth = abs(middle[0] - (low + high) / 2) < 0.1 * (high - low)
    outer_color, inner_color = (_rgb(c) for c in (MOUTH if is_mouth else EYE))
    span = np.ptp(rim[:, 0])
    rise = -0.25 if is_mouth else 0.09  # along z, in widths of the hole
    rings, colors = [], []
    for t in (0.0, 0.3, 0.65, 1.0):
        ring = middle + (1 - t) * (rim - middle)
        ring[:, 2] += span * rise * (1 - (1 - t) ** 2)
        rings.append(ring)
        colors.append(outer_color + min(1.0, 1.6 * t) * (inner_color - outer_color))
    plug, plug_colors = [], []
    for (a, b), (ca, cb) in zip(pairwise(rings), pairwise(colors), strict=True):
        a_next, b_next = np.roll(a, -1, 0), np.roll(b, -1, 0)
        plug += [np.stack([a, a_next, b_next], 1), np.stack([a, b_next, b], 1)]
        plug_colors += [np.tile([ca, ca, cb], (len(a), 1, 1)), np.tile([ca, cb, cb], (len(a), 1, 1))]
    return np.concatenate(plug), np.concatenate(plug_colors)


def _rasterise(corners: np.ndarray, colors: np.ndarray, size: tuple[int, int], background: str | None) -> np.ndarray:
    """Fills triangles [n, 3, 2] with colours [n, 3, 3] in their order, then averages down to `size`."""
    width, height = size
    fine_size = width * SUPERSAMPLING, height * SUPERSAMPLING
    # From y up and corners of pixels to y down and their centres.
    seen = visible_fragments(corners * (1, -1) + (-0.5, fine_size[1] - 0.5), fine_size)
    fine = np.zeros((fine_size[0] * fine_size[1], 4), np.float32)
    fine[seen.pixel, :3] = np.einsum("fc,fck->fk", seen.weights, colors.astype(np.float32)[seen.triangle])
    fine[seen.pixel, 3] = 1
    image = fine.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 4).mean((1, 3))
    alpha = image[..., 3:]
    if background is None:
        image[..., :3] /= np.maximum(alpha, 1e-6)
    else:
        image = image[..., :3] + (1 - alpha) * _rgb(background).astype(np.float32)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
