"""What every set of images becomes before it is learned from: square images of one size, with their labels."""

from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import numpy as np

from facedis_jax.data.pixel_set import ArrayPixels, Pixels, PixelSet, Split, pixels_of, stack_pixels
from facedis_jax.data.sources import Source


class Image(TypedDict):
    """An image; the fields of an example of an `ImageSource`.

    `image` is [size, size, channels] uint8, with 1 channel (grey) or 3 (RGB); `index` (int32) is the image's index in
    its source, by which a learner finds the image's chain.
    """

    image: np.ndarray
    index: np.ndarray


ImageSource: TypeAlias = Source[Image]
ImageSplit: TypeAlias = Split[Image]


class ArrayImages(ArrayPixels[Image]):
    """Images [images, size, size, channels] uint8 that are held in memory."""

    key = "image"


@dataclass(frozen=True)
class ImageSet(PixelSet[Image]):
    """A data set of images of one size; see `PixelSet`.

    Labels of its halves, where they are known, are "subject", "category" and "expression" [images] int32 (indices
    into `classes`); "view" [images] float32, degrees of yaw (positive: the nose points to the viewer's right); and
    "landmarks" [images, points, 2] float32 as (x, y) in pixels of these images, whose corner pixel has its centre at
    (0, 0).
    """


def images_of(source: ImageSource) -> Pixels:
    """The images [images, size, size, channels] uint8 of a source, to be taken by their rows."""
    return pixels_of(source, ArrayImages.key)


def stack_images(source: ImageSource) -> np.ndarray:
    """Reads a whole source into memory: [images, size, size, channels] uint8."""
    return stack_pixels(source, ArrayImages.key)
