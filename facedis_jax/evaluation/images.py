"""Measures of a trained deformable generator: reconstruction errors, and how its codes depend on the view."""

from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.inference.codecs import Decoded, ImageCodec, VideoCodec, squared_errors
from facedis_jax.metrics import view_covariance
from facedis_jax.models import Latents
from facedis_jax.progress import track

# As many as a codec decodes at once.
_IMAGES_AT_A_TIME = 50
_SMALLEST_COVARIANCE = 1e-6  # of a code that does not follow the view at all
# That principal components are fitted to, evenly spaced: of 64 x 64 pixels in colour, 250 MB.
_MOST_IMAGES_FOR_PCA = 5_000


def to_unit_range(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float32 in [0, 1], from uint8 or from values that are in [0, 1] already.

    Example:
      >>> to_unit_range(np.array([0, 51, 255], np.uint8))
      array([0. , 0.2, 1. ], dtype=float32)
    """
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else np.asarray(pixels, np.float32)


def summary(errors: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and median of errors [n]."""
    return {"mean": float(errors.mean()), "std": float(errors.std()), "median": float(np.median(errors))}


def reconstruction_by_view(errors: np.ndarray, views: np.ndarray) -> dict[str, float]:
    """Mean of errors [images] by view [images] in degrees, and over all images ("all").

    Example:
      >>> reconstruction_by_view(np.array([1.0, 2.0, 6.0]), np.array([-30.0, 0.0, 0.0]))
      {'-30': 1.0, '0': 4.0, 'all': 3.0}
    """
    by_view = {f"{view:g}": float(errors[views == view].mean()) for view in np.unique(views)}
    return {**by_view, "all": float(errors.mean())}


def view_results(latents: Latents, views: np.ndarray) -> dict[str, Any]:
    """Covariances of both codes with the view (Eq. 21).

    Args:
      latents: [images, latents] of images of known views.
      views: [images], degrees; every view as often as any other, of the same people.

    Returns:
      "angles", the views; for each code "mean" [views, latents], "covariance" [latents] and "largest", the maximum over
      dimensions; and "ratio", the geometric code's largest covariance over the appearance code's.
    """
    angles = np.unique(views)
    results: dict[str, Any] = {"angles": angles}
    for name, code in zip(Latents._fields, latents, strict=True):
        if code is None:
            continue
        mean = np.stack([code[views == angle].mean(axis=0) for angle in angles])
        # Where angles do not sum to zero, as the paper's do, a code that never changes would have a covariance too.
        centred = jnp.asarray(mean - mean.mean(axis=0))
        covariance = np.asarray(view_covariance(centred, jnp.asarray(angles)))
        results[name] = {"mean": mean, "covariance": covariance, "largest": float(covariance.max())}
    if "geometry" in results:
        results["ratio"] = results["geometry"]["largest"] / max(results["appearance"]["largest"], _SMALLEST_COVARIANCE)
    return results


def pose_difference(images: Pixels, canonical: np.ndarray | Decoded, subjects: np.ndarray) -> dict[str, float]:
    """How much images of one person at several poses differ, as given and as canonical images.

    Args:
      images: [images, size, size, channels], uint8 or in [0, 1].
      canonical: of the same images, in [0, 1].
      subjects: [images], who is on them.

    Returns:
      "input" and "canonical", the mean squared difference of pixels over all pairs of images of one person, and
      "ratio", the latter over the former.
    """
    differences: dict[str, list[float]] = {"input": [], "canonical": []}
    order = np.argsort(subjects, kind="stable")
    for part in _whole_groups(subjects[order]):
        rows = order[part]
        shown = {"input": to_unit_range(images[rows]), "canonical": canonical[rows]}
        for subject in np.unique(subjects[rows]):
            for a, b in combinations(np.flatnonzero(subjects[rows] == subject), 2):
                for name, values in shown.items():
                    differences[name].append(float(np.mean(np.square(values[a] - values[b]))))
    means = {name: float(np.mean(values)) for name, values in differences.items()}
    return {**means, "ratio": means["canonical"] / means["input"]}


def sharpness(images: Pixels | Decoded) -> np.ndarray:
    """Root mean square of each image's Laplacian, [images], which falls first where an image is blurred.

    Args:
      images: [images, size, size, channels], uint8 or in [0, 1].
    """

    def of_some(images: np.ndarray) -> np.ndarray:
        images = to_unit_range(images)
        inner = images[:, 1:-1, 1:-1]
        neighbours = images[:, :-2, 1:-1] + images[:, 2:, 1:-1] + images[:, 1:-1, :-2] + images[:, 1:-1, 2:]
        return np.sqrt(np.square(neighbours - 4 * inner).mean(axis=(1, 2, 3)))

    return np.concatenate([of_some(images[rows]) for rows in parts_of(len(images))])


def reconstructions(codec: ImageCodec, images: Pixels) -> tuple[Latents, Decoded, np.ndarray]:
    """Inferred codes of images, their reconstructions in [0, 1], and squared errors per image [images]."""
    latents = codec.infer(images)
    predictions = Decoded(codec.decode, latents)
    parts = track(parts_of(len(images)), "measuring reconstructions")
    errors = np.concatenate([squared_errors(images[rows], predictions[rows]) for rows in parts])
    return latents, predictions, errors


def pca_errors(train: Pixels, test: Pixels, components: int, *, seed: int = 0) -> np.ndarray:
    """Squared errors [test images] of unseen images by a PCA of the training images, in the units of `squared_errors`.

    Args:
      train, test: [images, size, size, channels], uint8 or in [0, 1].
      components: how many numbers an image becomes.
      seed: of the randomised decomposition.
    """
    from sklearn.decomposition import PCA

    def flat(images: np.ndarray) -> np.ndarray:
        return to_unit_range(images).reshape(len(images), -1)

    fitted = flat(train[evenly_spaced(len(train), _MOST_IMAGES_FOR_PCA)])
    pca = PCA(min(components, *fitted.shape), random_state=seed).fit(fitted)

    def of_some(images: np.ndarray) -> np.ndarray:
        pixels = flat(images)
        return np.square(pixels - pca.inverse_transform(pca.transform(pixels)), dtype=np.float64).sum(axis=1)

    return np.concatenate([of_some(test[rows]) for rows in parts_of(len(test))])


def parts_of(count: int, size: int = _IMAGES_AT_A_TIME) -> list[slice]:
    """Slices of at most `size` that make up so many rows.

    Example:
      >>> parts_of(5, 3)
      [slice(0, 3, None), slice(3, 5, None)]
    """
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def _whole_groups(sorted_groups: np.ndarray) -> list[slice]:
    """Slices of about as many rows as are decoded at once; rows of one group, which stand together, stay together."""
    ends = [*(np.flatnonzero(np.diff(sorted_groups)) + 1).tolist(), len(sorted_groups)]
    slices, first = [], 0
    for end, following in zip(ends, [*ends[1:], None], strict=True):
        if following is None or following - first > _IMAGES_AT_A_TIME:
            slices.append(slice(first, end))
            first = end
    return slices


def zero_latents(codec: ImageCodec | VideoCodec) -> Latents:
    """Codes [latents] of one image, or one frame, at the mean of the prior."""
    return Latents(
        np.zeros(codec.appearance_latents, np.float32),
        np.zeros(codec.geometry_latents, np.float32),
    )


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
    """Images [values, size, size, channels] with one dimension of a code at each of `values` (Figures 3 to 5).

    Args:
      codec: of the model.
      which: "appearance" or "geometry".
      base: latents [latents] of one image, for all other dimensions.
      dimension: index into the code.
      values: [values].
    """
    code = np.repeat(np.asarray(getattr(base, which))[None], len(values), axis=0)
    code[:, dimension] = values
    latents = Latents(*(np.repeat(np.asarray(z)[None], len(values), axis=0) for z in base))
    return codec.decode(latents._replace(**{which: code}))


def _moved(base: Latents, which: str, offsets: np.ndarray, count: int) -> Latents:
    latents = Latents(*(np.repeat(np.asarray(z)[None], count, axis=0) for z in base))
    return latents._replace(**{which: getattr(latents, which) + offsets})
