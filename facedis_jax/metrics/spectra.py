"""How much of an image's contrast lies at which frequency."""

import jax
import jax.numpy as jnp
import numpy as np


def power_spectrum(images: jax.Array) -> jax.Array:
    """Power of images by frequency: of 1, 2, ... to half of `size` periods along the image, in the units of variance.

    Ours. Each is the sum over the frequencies of two dimensions whose length rounds to it, summed over channels and
    averaged over images. All of them, with the corners beyond half of `size` and the mean, add up to the mean square.

    Args:
      images: [images, size, size, channels].

    Returns:
      [size // 2].

    Raises:
      ValueError: for images that are not square.

    Example:
      >>> x = jnp.arange(8) * 2 * jnp.pi / 8
      >>> waves = jnp.tile(jnp.cos(2 * x), (1, 8, 1))[..., None]  # two periods along each row
      >>> print(power_spectrum(waves).round(3) + 0.0)
      [0.  0.5 0.  0. ]
    """
    images = jnp.asarray(images)
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be [images, size, size, channels], got shape {images.shape}")
    size = images.shape[1]
    spectrum = jnp.abs(jnp.fft.fft2(images, axes=(1, 2))) ** 2 / size**4
    power = jnp.sum(spectrum.mean(axis=0), axis=-1)
    periods = np.fft.fftfreq(size, 1 / size)
    length = np.rint(np.hypot(periods[:, None], periods)).astype(int)
    return jnp.stack([jnp.sum(jnp.where(length == number, power, 0)) for number in range(1, size // 2 + 1)])
