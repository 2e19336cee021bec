"""What every set of videos becomes before it is learned from: clips of one length and size, with their labels."""

from dataclasses import dataclass
from typing import TypeAlias, TypedDict

import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, Image, ImageSource
from facedis_jax.data.pixel_set import ArrayPixels, Pixels, PixelSet, Split, pixel_example, pixels_of, stack_pixels
from facedis_jax.data.sources import Source


class Clip(TypedDict):
    """A piece of a video; the fields of an example of a `ClipSource`.

    `frames` is [frames, size, size, channels] uint8, with 1 channel (grey) or 3 (RGB); `index` (int32) is the clip's
    index in its source, by which a learner finds the clip's chain.
    """

    frames: np.ndarray
    index: np.ndarray


ClipSource: TypeAlias = Source[Clip]
ClipSplit: TypeAlias = Split[Clip]


class ArrayClips(ArrayPixels[Clip]):
    """Clips [clips, frames, size, size, channels] uint8 that are held in memory."""

    key = "frames"


@dataclass(frozen=True)
class ClipSet(PixelSet[Clip]):
    """A data set of clips of one length and size; see `PixelSet`.

    A clip's name is "001/happiness/take000", with "#2" behind it for the third clip of a recording.

    Labels of its halves, where they are known, are "subject" and "expression" [clips] int32 (indices into `classes`);
    and of the frames "level" [clips, frames] float32, of the expression, 0..1, and "landmarks"
    [clips, frames, points, 2] float32 as (x, y) in pixels of these frames, whose corner pixel has its centre at
    (0, 0).
    """

    @property
    def frames(self) -> int:
        """How many frames each clip has."""
        return self.shape[0]


def clips_of(source: ClipSource) -> Pixels:
    """The clips [clips, frames, size, size, channels] uint8 of a source, to be taken by their rows."""
    return pixels_of(source, ArrayClips.key)


def stack_clips(source: ClipSource) -> np.ndarray:
    """Reads a whole source into memory: [clips, frames, size, size, channels] uint8."""
    return stack_pixels(source, ArrayClips.key)


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
        return ArrayImages(source.pixels.reshape(-1, *source.pixels.shape[2:]))
    return _ClipFrames(source, len(source[0]["frames"]))


@dataclass(frozen=True)
class _ClipFrames:
    clips: ClipSource
    length: int

    def __len__(self) -> int:
        return len(self.clips) * self.length

    def __getitem__(self, index: int) -> Image:
        clip, frame = divmod(index, self.length)
        return pixel_example(ArrayImages.key, self.clips[clip]["frames"][frame], index)
