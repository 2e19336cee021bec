"""What images and clips have in common as data sets: pixels of one shape in two halves, with names and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np

from facedis_jax.data.sources import Source

Example = TypeVar("Example")


@dataclass(frozen=True)
class ArrayPixels(Generic[Example]):
    """A source of images or clips that are held in memory.

    Attributes:
      pixels: [examples, ...] uint8.
    """

    pixels: np.ndarray
    key: ClassVar[str]
    """The field of an example that holds its pixels."""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Example:
        return pixel_example(self.key, self.pixels[index], index)

    def take(self, rows: np.ndarray) -> Self:
        """The examples of some rows, in their order, with indices of their own."""
        return type(self)(self.pixels[rows])


@dataclass(frozen=True)
class Split(Generic[Example]):
    """One half of a set of images or clips.

    Attributes:
      source: the examples.
      names: one for each example.
      labels: what is known of the examples, arrays [examples, ...] by name; see `ImageSet` and `ClipSet`.
    """

    source: Source[Example]
    names: Sequence[str]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class PixelSet(Generic[Example]):
    """A data set of images or clips of one shape, split in two halves.

    Attributes:
      name: what the set is called in reports.
      train, test: the two halves.
      shape: of an example's pixels, [size, size, channels] of images and [frames, size, size, channels] of clips; the
        size is a power of two, and there is 1 channel (grey) or 3 (RGB).
      content_hash: sha256 over what the set was made from, its order included; part of a run's identity, since the
        chains of a run belong to its examples by their order.
      classes: the names that integer labels index, by the label's name.
      skipped: damaged examples that are not in the set, by name, with what is wrong with them.
      data_files: what was found of the set's files: how many "images", where the "split" and each of the labels come
        from, and what is not used. Empty for made-up sets.
      older_copies: prepared copies that changes of the folder have left behind, with their bytes.
    """

    name: str
    train: Split[Example]
    test: Split[Example]
    shape: tuple[int, ...]
    content_hash: str
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    data_files: Mapping[str, str] = field(default_factory=dict)
    older_copies: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.shape[-2]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.shape[-1]


def pixel_example(key: str, pixels: np.ndarray, index: int) -> Any:
    """An example of a source: its pixels under `key`, and its index in the source."""
    return {key: pixels, "index": np.int32(index)}


@dataclass(frozen=True)
class StoredPixels:
    """The pixels [examples, ...] uint8 of a source, read as they are asked for by their rows.

    Attributes:
      source: the examples.
      key: the field of an example that holds its pixels.
    """

    source: Source[Any]
    key: str

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        chosen = np.arange(len(self))[rows].tolist()
        first = self.source[chosen[0] if chosen else 0][self.key]
        pixels = np.empty((len(chosen), *first.shape), first.dtype)
        # One at a time: a list of them all would be a second copy.
        for place, row in enumerate(chosen):
            pixels[place] = self.source[row][self.key] if place else first
        return pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


@dataclass(frozen=True)
class Chosen(Generic[Example]):
    """Some examples of a source, in the order of their rows."""

    source: Source[Example]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.rows[index])]


Pixels: TypeAlias = np.ndarray | StoredPixels
"""Pixels [examples, ...] to be taken by their rows, a slice or an array of indices."""


def pixels_of(source: Source[Any], key: str) -> Pixels:
    """The pixels [examples, ...] uint8 of a source: where they are there in memory, or else read as they are taken."""
    return source.pixels if isinstance(source, ArrayPixels) else StoredPixels(source, key)


def stack_pixels(source: Source[Any], key: str) -> np.ndarray:
    """Reads the pixels of a whole source into memory: [examples, ...] uint8, not copied where they are there."""
    return np.asarray(pixels_of(source, key))
