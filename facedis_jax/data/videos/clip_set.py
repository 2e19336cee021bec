"""What every set of videos becomes before it is learned from: clips of one length and size, with their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, Image, ImageSource


class Clip(TypedDict):
    """One piece of a video; the fields of an example of a `ClipSource`.

    `frames` is [frames, size, size, channels] uint8, with 1 channel (grey) or 3 (RGB); `index` (int32) is the clip's
    place in its source, by which a learner finds the chain that belongs to it.
    """

    frames: np.ndarray
    index: np.ndarray


class ClipSource(Protocol):
    """Random access to clips of one length: deterministic, safe to share between threads."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...


@dataclass(frozen=True)
class ArrayClips:
    """Clips held in memory.

    Attributes:
      frames: [clips, frames, size, size, channels] uint8.
    """

    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Clip:
        return Clip(frames=self.frames[index], index=np.int32(index))  # type: ignore[typeddict-item]

    def take(self, rows: np.ndarray) -> "ArrayClips":
        """The clips of some rows, in their order, with indices of their own."""
        return ArrayClips(self.frames[rows])


@dataclass(frozen=True)
class ClipSplit:
    """One half of a set of clips.

    Attributes:
      clips: the pixels.
      names: one per clip ("001/happiness/take000"; with "#2" behind it for the third clip of a take).
      labels: what is known of the clips, by name: arrays [clips] "subject" and "expression" int32 (indices into
        `ClipSet.classes`), and arrays [clips, frames, ...] of their frames, "level" float32 of the expression, 0..1,
        and "landmarks" float32 [clips, frames, points, 2] as (x, y) in pixels of these frames, whose corner pixel
        has its centre at (0, 0).
    """

    clips: ClipSource
    names: Sequence[str]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipSet:
    """A data set of clips of one length and size, split and ready to be piped to the device.

    Attributes:
      name: what the set is called in reports.
      train, test: the two halves of the split.
      frames: of each clip.
      size: height and width, a power of two.
      channels: 1 or 3.
      content_hash: sha256 over what the set was made from, its order included; part of a run's identity, since the
        chains of a run belong to its clips by their places.
      classes: the names that integer labels index, by the label's name.
      skipped: damaged examples that are not in the set, by name, with what is wrong with them.
    """

    name: str
    train: ClipSplit
    test: ClipSplit
    frames: int
    size: int
    channels: int
    content_hash: str
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


def stack_clips(source: ClipSource) -> np.ndarray:
    """Reads a whole source into memory: [clips, frames, size, size, channels] uint8."""
    if isinstance(source, ArrayClips):
        return source.frames
    return np.stack([source[i]["frames"] for i in range(len(source))])


def clip_frames(source: ClipSource) -> ImageSource:
    """The frames of clips as images of their own: all of the first clip, then all of the second, and so on.

    Clips in memory are not copied. Of others, the whole clip is read for each of its frames.

    Example:
      >>> clips = ArrayClips(np.zeros((2, 5, 8, 8, 3), np.uint8))
      >>> images = clip_frames(clips)
      >>> len(images), images[7]["image"].shape
      (10, (8, 8, 3))
    """
    if isinstance(source, ArrayClips):
        return ArrayImages(source.frames.reshape(-1, *source.frames.shape[2:]))
    return _ClipFrames(source, len(source[0]["frames"]))


@dataclass(frozen=True)
class _ClipFrames:
    clips: ClipSource
    length: int

    def __len__(self) -> int:
        return len(self.clips) * self.length

    def __getitem__(self, index: int) -> Image:
        clip, frame = divmod(index, self.length)
        return Image(image=self.clips[clip]["frames"][frame], index=np.int32(index))  # type: ignore[typeddict-item]
