"""What a deformable generator's two parts hold: how its flows bend, and what canonical images and codes tell."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.evaluation.images import parts_of, to_unit_range
from facedis_jax.inference.codecs import Decoded, ImageCodec, VideoCodec
from facedis_jax.metrics import bending_energy, canonical_error, fold_share
from facedis_jax.models import Latents

# Images of a class, on average, for a classifier of views or of people.
_FEWEST_OF_A_VIEW, _FEWEST_OF_A_PERSON = 4, 3
_COMPONENTS = 40  # of images, from which classifiers read them: as many numbers as a code has, or some more
_FRONTAL = 1.0  # degrees: how far from the front a frontal image may be seen


def flow_results(codec: ImageCodec | VideoCodec, geometry: np.ndarray) -> dict[str, float]:
    """`folds`, the share of pixels where flows fold, and `bending_energy` in pixels^-2: means over all flows.

    Args:
      codec: of the generator.
      geometry: codes [n, ..., latents].
    """
    folds, bending = [], []
    for rows in parts_of(len(geometry)):
        flows = jnp.asarray(codec.flow(geometry[rows]))
        folds.append(np.asarray(fold_share(flows)).reshape(-1))
        bending.append(np.asarray(bending_energy(flows)).reshape(-1))
    return {"folds": float(np.concatenate(folds).mean()), "bending_energy": float(np.concatenate(bending).mean())}


def canonical_truth(
    images: Pixels, canonical: np.ndarray | Decoded, sittings: np.ndarray, views: np.ndarray
) -> dict[str, float] | None:
    """How far canonical images are from the true frontal images of the same sittings, see `metrics.canonical_error`.

    Args:
      images: [images, size, size, channels], uint8 or in [0, 1].
      canonical: of the same images, in [0, 1].
      sittings: [images], equal for images that differ in nothing but the view.
      views: [images], degrees.

    Returns:
      "canonical", the error of canonical images, and "images", that of the images themselves; None where fewer than two
      sittings have a frontal image.
    """
    front = {sittings[row]: row for row in np.flatnonzero(np.abs(views) < _FRONTAL)}
    rows = np.flatnonzero(np.isin(sittings, list(front)))
    if len(front) < 2:
        return None
    truth = to_unit_range(images[np.array([front[sitting] for sitting in sittings[rows]])])
    if not truth.var(axis=0).mean() > 0:
        return None
    shown = {"canonical": np.asarray(canonical[rows]), "images": to_unit_range(images[rows])}
    return {name: canonical_error(values, truth)[0] for name, values in shown.items()}


def carried_points(flow: np.ndarray, other: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where points of one image are in another one, by the canonical image that both are warped from.

    A point is carried to the canonical image by the flow of its own image, and from there to the place of the other
    image that reads nearest to it, to an eighth of a pixel.

    Args:
      flow, other: [height, width, 2] in pixels, of either image.
      points: [points, 2], (x, y) in pixels.

    Returns:
      [points, 2].

    Example:
      >>> right, left = np.full([8, 8, 2], [1.0, 0.0]), np.full([8, 8, 2], [-1.0, 0.0])
      >>> carried_points(right, left, np.array([[3.0, 4.0]])).tolist()
      [[5.0, 4.0]]
    """
    return image_places(other, _read_places(flow, points))


def image_places(flow: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """Where in an image places [points, 2] of its canonical image are read from; `flow` as of `carried_points`."""
    from scipy.spatial import cKDTree

    height, width = flow.shape[:2]
    fine = np.stack(np.meshgrid(np.arange(0, width - 0.99, 0.125), np.arange(0, height - 0.99, 0.125)), -1)
    _, nearest = cKDTree(_read_places(flow, fine).reshape(-1, 2)).query(canonical)
    return fine.reshape(-1, 2)[nearest]


def _read_places(flow: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The places of the canonical image that places [..., 2] of an image are read from."""
    from scipy.ndimage import map_coordinates

    at = [places[..., 1], places[..., 0]]
    return places + np.stack([map_coordinates(flow[..., i], at, order=1, mode="nearest") for i in range(2)], -1)


def dense_correspondence(
    codec: ImageCodec, geometry: np.ndarray, labels: Mapping[str, np.ndarray], *, turn: float = 30.0
) -> dict[str, float] | None:
    """How far points of faces are carried past their true places, from frontal images to the same faces turned.

    Args:
      codec: of the generator.
      geometry: [images, latents], codes of the images.
      labels: of the images: "sitting", "view" in degrees, "points" [images, points, 2] in pixels and "points_seen".
      turn: how far faces are turned, to either side, degrees.

    Returns:
      Of the points that are seen in both images, in pixels: "median" and "mean" of the distance; "unmoved", the median
      distance of points that stay where they were; "pairs" of images. None without the labels or such pairs.
    """
    if not {"sitting", "view", "points", "points_seen"} <= set(labels):
        return None
    sittings, views, points = (np.asarray(labels[name]) for name in ("sitting", "view", "points"))
    seen = np.asarray(labels["points_seen"]) > 0
    front = {sittings[row]: row for row in np.flatnonzero(np.abs(views) < _FRONTAL)}
    turned = np.flatnonzero(np.abs(np.abs(views) - turn) < _FRONTAL)
    pairs = [(front[sittings[row]], row) for row in turned if sittings[row] in front]
    if not pairs:
        return None
    distances, unmoved = [], []
    for first, second in pairs:
        both = seen[first] & seen[second]
        if not both.any():
            continue
        flows = np.asarray(codec.flow(geometry[[first, second]]))
        carried = carried_points(flows[0], flows[1], points[first][both])
        distances.append(np.linalg.norm(carried - points[second][both], axis=-1))
        unmoved.append(np.linalg.norm(points[first][both] - points[second][both], axis=-1))
    if not distances:
        return None
    all_of_them = np.concatenate(distances)
    return {
        "median": float(np.median(all_of_them)),
        "mean": float(all_of_them.mean()),
        "unmoved": float(np.median(np.concatenate(unmoved))),
        "pairs": len(distances),
    }


def factor_probes(
    latents: Latents,
    canonical: np.ndarray | Decoded,
    views: np.ndarray | None = None,
    people: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracies of linear classifiers of view and person, on images that they have not seen.

    Views are told on people who are not among those of the fit. Canonical images are read by their principal
    components.

    Args:
      latents: [images, latents] of the images.
      canonical: of the same images, in [0, 1].
      views, people: [images], in degrees and by number; None where they are not known.
      seed: of the splits.

    Returns:
      "view_from_appearance", "view_from_geometry" and "view_from_canonical", the same for "person", from 0 to 1, and
      "chance", of "view" and of "person". Without what is not known, or known of too few images.
    """
    from facedis_jax.evaluation.probes import probe

    read = {"appearance": latents.appearance, "geometry": latents.geometry}
    read = {name: np.asarray(code) for name, code in read.items() if code is not None}
    read["canonical"] = _components(np.concatenate([canonical[rows] for rows in parts_of(len(canonical))]), seed)
    factors: Mapping[str, tuple[np.ndarray | None, np.ndarray | None, int]] = {
        "view": (views, people, _FEWEST_OF_A_VIEW),
        "person": (people, None, _FEWEST_OF_A_PERSON),
    }
    found: dict[str, Any] = {}
    for factor, (values, groups, fewest) in factors.items():
        if values is None:
            continue
        known, classes = np.unique(values, return_inverse=True)
        if len(known) < 2 or len(values) < fewest * len(known):
            continue
        groups = None if groups is None or len(np.unique(groups)) < 4 else groups
        probes = {name: probe(code, classes, groups=groups, seed=seed) for name, code in read.items()}
        accuracies = {f"{factor}_from_{name}": each.accuracy for name, each in probes.items() if each is not None}
        if accuracies:
            found |= accuracies
            found.setdefault("chance", {})[factor] = 1 / len(known)
    return found


def _components(images: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    flat = images.reshape(len(images), -1)
    if not np.ptp(flat, axis=0).any():
        return flat[:, :1]  # nothing that a classifier could tell, and no variance to divide by
    return PCA(min(_COMPONENTS, len(flat) - 1, flat.shape[1]), random_state=seed).fit_transform(flat)
