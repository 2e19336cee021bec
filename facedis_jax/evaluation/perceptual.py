"""How alike images look: power at high frequencies, and distances of features that are learned from the images."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from facedis_jax.data.pixel_set import Pixels
from facedis_jax.data.splits import evenly_spaced
from facedis_jax.evaluation.images import parts_of, to_unit_range
from facedis_jax.inference.codecs import Decoded
from facedis_jax.metrics import power_spectrum

_SIDE = 6  # pixels of a patch
_STRIDE = 2
_WORDS = 64
_PATCHES, _IMAGES = 20_000, 500  # that words are learned from
_CONTRAST, _WHITENING = 0.01, 0.05  # added to variances, so that plain patches are not all noise


@dataclass(frozen=True)
class PatchFeatures:
    """Words that the patches of images are told by, learned from images without labels (Coates, Lee and Ng, 2011).

    Attributes:
      mean, whitening: [pixels], and [pixels, pixels]: of patches.
      words: [words, pixels], of whitened patches.
    """

    mean: np.ndarray
    whitening: np.ndarray
    words: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """How much nearer each patch of images is to each word than to an average one: [images, patches, words]."""
        patches = (_patches(images) - self.mean) @ self.whitening
        squares = np.square(patches).sum(-1, keepdims=True) + np.square(self.words).sum(-1)
        distance = np.sqrt(np.maximum(squares - 2 * patches @ self.words.T, 0))
        return np.maximum(distance.mean(axis=-1, keepdims=True) - distance, 0)


def fit_patch_features(images: Pixels, *, seed: int = 0) -> PatchFeatures:
    """The words of training images [images, size, size, channels], uint8 or in [0, 1]: k-means of whitened patches."""
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(seed)
    patches = _patches(to_unit_range(images[evenly_spaced(len(images), _IMAGES)]))
    patches = patches.reshape(-1, patches.shape[-1])
    patches = patches[rng.permutation(len(patches))[:_PATCHES]]
    mean = patches.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    whitening = (vectors / np.sqrt(np.maximum(values, 0) + _WHITENING)) @ vectors.T
    words = MiniBatchKMeans(min(_WORDS, len(patches)), random_state=seed, n_init=1, batch_size=1024)
    words.fit((patches - mean) @ whitening)
    return PatchFeatures(mean, whitening.astype(np.float32), words.cluster_centers_.astype(np.float32))


def perceptual_distance(features: PatchFeatures, images: Pixels, others: Pixels | Decoded) -> np.ndarray:
    """Distances [images] of the features of pairs of images, as a share of the features' own size.

    0 for the same image; a blurred one, whose patches are told by other words, is farther from its original than its
    squared error says.

    Args:
      features: of the same kind of images.
      images, others: [images, size, size, channels], uint8 or in [0, 1].
    """
    found = []
    for rows in parts_of(len(images)):
        one, other = (features(to_unit_range(np.asarray(shown[rows]))) for shown in (images, others))
        size = np.square(one).sum(axis=(1, 2)) + np.square(other).sum(axis=(1, 2))
        found.append(np.square(one - other).sum(axis=(1, 2)) / np.maximum(size, 1e-12))
    return np.concatenate(found)


def high_frequency_share(images: Pixels, others: Pixels | Decoded) -> float:
    """Power of other images at the upper half of the frequencies, as a share of that of the images themselves.

    Args:
      images, others: [images, size, size, channels], uint8 or in [0, 1].
    """

    def power(shown: Pixels | Decoded) -> np.ndarray:
        parts = parts_of(len(shown))
        weights = [rows.stop - rows.start for rows in parts]
        spectra = [power_spectrum(jnp.asarray(to_unit_range(np.asarray(shown[rows])))) for rows in parts]
        return np.average(spectra, axis=0, weights=weights)

    upper = slice(images[:1].shape[1] // 4, None)
    return float(power(others)[upper].sum() / max(power(images)[upper].sum(), 1e-30))


def diversity(images: np.ndarray) -> float:
    """Mean squared difference of pixels over all pairs of images [images, size, size, channels] in [0, 1]."""
    flat = to_unit_range(images).reshape(len(images), -1)
    return float(2 * flat.var(axis=0, dtype=np.float64).mean() * len(flat) / max(len(flat) - 1, 1))


def _patches(images: np.ndarray) -> np.ndarray:
    """Patches [images, patches, pixels], each of zero mean and of unit contrast, a stride apart."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (_SIDE, _SIDE), axis=(1, 2))
    patches = windows[:, ::_STRIDE, ::_STRIDE].reshape(len(images), -1, images.shape[-1] * _SIDE**2)
    patches = patches - patches.mean(axis=-1, keepdims=True)
    return patches / np.sqrt(patches.var(axis=-1, keepdims=True) + _CONTRAST**2)
