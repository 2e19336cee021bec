"""Classification of images by the energy with which each of several known appearances explains them."""

import numpy as np

from facedis_jax.inference.codecs import ImageCodec, squared_errors
from facedis_jax.models import Latents


def classify_by_energy(
    codec: ImageCodec, images: np.ndarray, appearances: np.ndarray, *, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The appearance of lowest energy for each image, where only the geometric code is inferred.

    The energy is minus Eq. 8 of Xing et al., without the terms of the appearance and of sigma, which are known.

    Args:
      codec: of a generator whose appearance codes are known, such as one-hot labels.
      images: [images, size, size, channels], uint8 or in [0, 1].
      appearances: [appearances, latents], the codes to choose from.
      sigma: standard deviation of a pixel's residual, for pixels in [0, 1].

    Returns:
      The index of the appearance of lowest energy, [images]; all energies, [images, appearances] nats; and the
      geometric codes with which they were reached, [images, appearances, latents].
    """
    energies, codes = [], []
    for code in appearances:
        appearance = np.repeat(code[None], len(images), axis=0)
        latents = codec.infer(images, appearance=appearance)
        residual = squared_errors(images, codec.decode(Latents(appearance, latents.geometry)))
        energies.append(residual / (2 * sigma**2) + 0.5 * np.square(latents.geometry).sum(axis=1))
        codes.append(latents.geometry)
    table = np.stack(energies, axis=1)
    return table.argmin(axis=1), table, np.stack(codes, axis=1)
