"""What every set of photographs becomes before it is learned from: square images of one size, with their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

import numpy as np


class Image(TypedDict):
    """One photograph; the fields of an example of an `ImageSource`.

    `image` is [size, size, channels] uint8, with 1 channel (grey) or 3 (RGB); `index` (int32) is the image's place in
    its source, by which a learner finds the chain that belongs to it.
    """

    image: np.ndarray
    index: np.ndarray


class ImageSource(Protocol):
    """Random access to images: deterministic, cheap to index, safe to share between threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image: ...


@dataclass(frozen=True)
class ArrayImages:
    """Images held in memory.

    Attributes:
      images: [images, size, size, channels] uint8.
    """

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        return Image(image=self.images[index], index=np.int32(index))  # type: ignore[typeddict-item]

    def take(self, rows: np.ndarray) -> "ArrayImages":
        """The images of some rows, in their order, with indices of their own."""
        return ArrayImages(self.images[rows])


@dataclass(frozen=True)
class ImageSplit:
    """One half of a set of images.

    Attributes:
      images: the pixels.
      names: one per image ("000123.jpg").
      labels: what is known of the images, arrays [images, ...] by name: "subject", "category", "expression" int32
        (indices into `ImageSet.classes`), "view" float32 in degrees (positive: the nose points to the viewer's right),
        "landmarks" float32 [images, points, 2] as (x, y) in pixels of these images, whose corner pixel has its centre
        at (0, 0).
    """

    images: ImageSource
    names: Sequence[str]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSet:
    """A data set of images of one size, split and ready to be piped to the device.

    Attributes:
      name: what the set is called in reports.
      train, test: the two halves of the split.
      size: height and width, a power of two.
      channels: 1 or 3.
      content_hash: sha256 over what the set was made from, its order included; part of a run's identity, since the
        chains of a run belong to its images by their places.
      classes: the names that integer labels index, by the label's name.
      skipped: damaged examples that are not in the set, by name, with what is wrong with them.
    """

    name: str
    train: ImageSplit
    test: ImageSplit
    size: int
    channels: int
    content_hash: str
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


def stack_images(source: ImageSource) -> np.ndarray:
    """Reads a whole source into memory: [images, size, size, channels] uint8."""
    if isinstance(source, ArrayImages):
        return source.images
    return np.stack([source[i]["image"] for i in range(len(source))])
