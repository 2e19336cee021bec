"""Sets of videos as prepared copies: their settings, and how clips differ from images."""

from dataclasses import dataclass

import numpy as np

from facedis_jax.data.prepared_pixels import PixelBuilder, PixelSettings
from facedis_jax.data.videos.clip_set import ClipSet
from facedis_jax.data.videos.cutting import Cutting
from facedis_jax.errors import InputError

_CLIPS_PER_RECORDING = 4  # at a guess, where all clips of a recording are kept


@dataclass(frozen=True)
class ClipSettings(PixelSettings):
    """What every set of videos can be asked for. See `PixelSettings`; a file is here a recording.

    Attributes:
      frames, stride, cut: of the clips, see `facedis_jax.data.videos.cutting.Cutting`.
      expressions: those that are kept, in the order in which labels number them; all, sorted, if empty.
      test_subjects: names of the people who are tested; if empty, `num_test_subjects` of them.
      num_test_subjects: how many, a tenth, rounded up, if None. Which ones follows from their names alone
        (`facedis_jax.data.splits.first_by_hash`), and fewer are among more.

    Raises:
      InputError: where one of them can be of no set.
    """

    size: int = 64
    channels: int = 3
    crop: str = "center_square"
    frames: int = 60
    stride: int = 1
    cut: str = "first"
    expressions: tuple[str, ...] = ()
    test_subjects: tuple[str, ...] = ()
    num_test_subjects: int | None = None
    max_train: int | None = None
    max_test: int | None = None
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # To have them checked before anything is read.
        _ = self.framing, self.cutting
        for name in ("num_test_subjects", "max_train", "max_test"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise InputError(name, "at least 1", f"{count}")

    @property
    def cutting(self) -> Cutting:
        """What becomes of a recording."""
        return Cutting(self.frames, self.stride, self.cut)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, *super().shape)

    @property
    def processing(self) -> object:
        return self.framing, self.cutting

    @property
    def examples_per_file(self) -> int:
        return _CLIPS_PER_RECORDING if self.cut == "all" else 1


class ClipBuilder(PixelBuilder):
    """A TFDS builder of clips: each recording gives one or several.

    A record's `take` is the index of its recording, and its `window` that of the clip in the recording.
    """

    settings_type = ClipSettings
    set_type = ClipSet
    what = "videos"
    key = "frames"
    index_keys = ("take", "window")

    @staticmethod
    def examples(pixels: np.ndarray) -> np.ndarray:
        """A recording's clips [clips, frames, size, size, channels]."""
        return pixels

    @staticmethod
    def hashed(content: bytes) -> bytes:
        """The sha256 of a recording's bytes, which is its content here."""
        return content
