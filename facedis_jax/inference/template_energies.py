"""Classification by explanation: of several known appearances, the one that can be bent into an image."""

import numpy as np

from facedis_jax.inference.codecs import ImageCodec, squared_errors
from facedis_jax.models import Latents


def classify_by_energy(
    codec: ImageCodec, images: np.ndarray, templates: np.ndarray, *, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bends every template towards every image and compares the energies (minus Eq. 8).

    Args:
      codec: of a generator whose appearance codes are known, such as one-hot labels.
      images: [images, size, size, channels], uint8 or in [0, 1].
      templates: [templates, appearance latents].
      sigma: standard deviation of a pixel's residual, for pixels in [0, 1].

    Returns:
      The template of lowest energy for each image, [images]; all energies, [images, templates] nats; and the geometric
      codes with which they were reached, [images, templates, latents].
    """
    energies, codes = [], []
    for template in templates:
        appearance = np.repeat(template[None], len(images), axis=0)
        latents = codec.infer(images, appearance=appearance)
        residual = squared_errors(images, codec.decode(Latents(appearance, latents.geometry)))
        energies.append(residual / (2 * sigma**2) + 0.5 * np.square(latents.geometry).sum(axis=1))
        codes.append(latents.geometry)
    table = np.stack(energies, axis=1)
    return table.argmin(axis=1), table, np.stack(codes, axis=1)
