"""What is measured of a trained deformable generator: reconstruction, and what its codes have to do with the view."""

from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from facedis_jax.inference.images import ImageCodec, squared_errors
from facedis_jax.metrics import view_covariance
from facedis_jax.models import Latents


def summary(errors: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and median of errors per image."""
    return {"mean": float(errors.mean()), "std": float(errors.std()), "median": float(np.median(errors))}


def reconstruction_by_view(errors: np.ndarray, views: np.ndarray) -> dict[str, float]:
    """Mean error per image for each view in degrees, and over all images."""
    by_view = {f"{view:g}": float(errors[views == view].mean()) for view in np.unique(views)}
    return {**by_view, "all": float(errors.mean())}


def view_results(latents: Latents, views: np.ndarray) -> dict[str, Any]:
    """Eq. 21 for both codes.

    Args:
      latents: [images, latents] of images of known views.
      views: [images], degrees; every view as often as any other, of the same people.

    Returns:
      "angles", the views; for either code "mean" [views, latents], "covariance" [latents] and "largest"; and "ratio",
      of the geometric code's largest covariance to the appearance code's.
    """
    angles = np.unique(views)
    results: dict[str, Any] = {"angles": angles}
    for name, code in zip(Latents._fields, latents, strict=True):
        if code is None:
            continue
        mean = np.stack([code[views == angle].mean(axis=0) for angle in angles])
        covariance = np.asarray(view_covariance(jnp.asarray(mean), jnp.asarray(angles)))
        results[name] = {"mean": mean, "covariance": covariance, "largest": float(covariance.max())}
    if "geometry" in results:
        results["ratio"] = results["geometry"]["largest"] / results["appearance"]["largest"]
    return results


def pose_spread(images: np.ndarray, canonical: np.ndarray, subjects: np.ndarray) -> dict[str, float]:
    """By how much one person's images at several poses differ, as they are and as canonical images.

    Args:
      images: [images, size, size, channels], uint8 or in [0, 1].
      canonical: of the same images, in [0, 1].
      subjects: [images], who is on them.

    Returns:
      "input" and "canonical", the mean squared difference of pixels over all pairs of images of one person, and
      "ratio", of the latter to the former.
    """
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    spreads: dict[str, list[float]] = {"input": [], "canonical": []}
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        for a, b in combinations(rows, 2):
            for name, pictures in (("input", images), ("canonical", canonical)):
                spreads[name].append(float(np.mean(np.square(pictures[a] - pictures[b]))))
    means = {name: float(np.mean(values)) for name, values in spreads.items()}
    return {**means, "ratio": means["canonical"] / means["input"]}


def sharpness(images: np.ndarray) -> np.ndarray:
    """Root mean square of each image's Laplacian [images], for pixels in [0, 1]: what blur takes away first."""
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    inner = images[:, 1:-1, 1:-1]
    neighbours = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
    return np.sqrt(np.square(neighbours - 4 * inner).mean(axis=(1, 2, 3)))


def reconstructions(codec: ImageCodec, images: np.ndarray) -> tuple[Latents, np.ndarray, np.ndarray]:
    """Codes, reconstructed images in [0, 1] and squared errors per image of unseen images."""
    latents = codec.infer(images)
    predictions = codec.decode(latents)
    return latents, predictions, squared_errors(images, predictions)


def strongest_dimensions(
    codec: ImageCodec, which: str, base: Latents, traversal_range: float, count: int
) -> np.ndarray:
    """Indices of the dimensions of a code whose traversal changes the image most, largest change first.

    Args:
      codec: of the model.
      which: "appearance" or "geometry".
      base: latents [latents] of one image, around which the dimension moves.
      traversal_range: a dimension goes from minus this to this, added to `base`.
      count: how many dimensions.
    """
    width = len(getattr(base, which))
    ends = [_moved(base, which, np.eye(width, dtype=np.float32) * side * traversal_range, width) for side in (-1, 1)]
    low, high = (codec.decode(latents) for latents in ends)
    return np.argsort(-np.square(high - low).sum(axis=(1, 2, 3)), kind="stable")[:count]


def traversal(codec: ImageCodec, which: str, base: Latents, dimension: int, values: np.ndarray) -> np.ndarray:
    """Images of one dimension of a code set to `values`, the others as in `base` (Figures 3 to 5)."""
    code = np.repeat(np.asarray(getattr(base, which))[None], len(values), axis=0)
    code[:, dimension] = values
    latents = Latents(*(np.repeat(np.asarray(z)[None], len(values), axis=0) for z in base))
    return codec.decode(latents._replace(**{which: code}))


def _moved(base: Latents, which: str, offsets: np.ndarray, count: int) -> Latents:
    latents = Latents(*(np.repeat(np.asarray(z)[None], count, axis=0) for z in base))
    return latents._replace(**{which: getattr(latents, which) + offsets})
