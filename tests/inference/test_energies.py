"""Classification by energy, on a codec whose flows are known."""

import numpy as np

from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.inference.energies import classify_by_energy
from facedis_jax.models import Latents

CANONICAL = np.stack([np.full((4, 4, 1), value) for value in (0.1, 0.5, 0.9)])


def brightening_codec() -> ImageCodec:
    """Three canonical images of one brightness each, which one geometric latent makes brighter."""

    def infer(images, appearance):
        wanted = images.mean(axis=(1, 2, 3)) - (appearance @ CANONICAL.mean(axis=(1, 2, 3)))
        return Latents(appearance, wanted[:, None])

    def decode(latents):
        return np.tensordot(latents.appearance, CANONICAL, 1) + latents.geometry[:, :, None, None]

    return ImageCodec(
        infer=infer, decode=decode, canonical=decode, flow=decode, appearance_latents=3, geometry_latents=1
    )


def test_the_appearance_that_needs_the_smallest_warp_wins():
    brightness = np.array([0.15, 0.42, 0.71, 0.88])
    images = np.tile(brightness[:, None, None, None], (1, 4, 4, 1)).astype(np.float32)
    predicted, energies, geometry = classify_by_energy(brightening_codec(), images, np.eye(3), sigma=0.3)
    np.testing.assert_array_equal(predicted, [0, 1, 2, 2])
    shifts = brightness[:, None] - np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(geometry[..., 0], shifts, atol=1e-6)
    np.testing.assert_allclose(energies, shifts**2 / 2, atol=1e-6)


def test_what_is_not_explained_counts_by_the_deviation():
    """An appearance of the right mean, but without the pattern, pays half of its square over sigma squared."""
    image = np.full((1, 4, 4, 1), 0.5, np.float32)
    image[:, ::2] += 0.2
    image[:, 1::2] -= 0.2
    _, energies, _ = classify_by_energy(brightening_codec(), image, np.eye(3)[1:2], sigma=0.5)
    np.testing.assert_allclose(energies, 16 * 0.2**2 / (2 * 0.5**2), rtol=1e-5)
