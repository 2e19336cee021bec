"""The frames of a recording that become clips."""

from dataclasses import dataclass

import numpy as np

from facedis_jax.errors import InputError

CUTS = ("first", "middle", "all", "evenly_spaced")
"""Which clips are cut from a recording.

- "first": one clip from its first frame on.
- "middle": one clip, with as many frames of the recording before it as after it.
- "all": as many clips as fit, one after the other from the first frame on, without common frames.
- "evenly_spaced": one clip of the whole recording, of evenly spaced frames from the first to the last.
"""


@dataclass(frozen=True)
class Cutting:
    """How clips of one length are cut from every recording of a set.

    Attributes:
      frames: of a clip.
      stride: a clip takes every so-many-th frame of the recording.
      cut: one of `CUTS`; the stride of "evenly_spaced" follows from the recording's length, and must be 1 here.

    Raises:
      InputError: where one of them is another value.
    """

    frames: int
    stride: int = 1
    cut: str = "first"

    def __post_init__(self) -> None:
        for name in ("frames", "stride"):
            if getattr(self, name) < 1:
                raise InputError(name, "1 or more", f"{getattr(self, name)}")
        if self.cut not in CUTS:
            raise InputError("cut", f"one of {', '.join(CUTS)}", repr(self.cut))
        if self.cut == "evenly_spaced" and self.stride != 1:
            raise InputError("stride", "1 with the cut evenly_spaced", f"{self.stride}")

    @property
    def span(self) -> int:
        """How many frames of the recording a clip spans, from its first to its last; it must have as many."""
        return (self.frames - 1) * self.stride + 1

    def frame_indices(self, where: object, length: int) -> np.ndarray:
        """Indices [clips, frames] of the frames of a recording that make up its clips, ascending.

        Args:
          where: named in errors.
          length: how many frames the recording has.

        Raises:
          InputError: where it is too short for a clip.

        Example:
          >>> Cutting(frames=3, stride=2, cut="all").frame_indices("take000", 12)
          array([[ 0,  2,  4],
                 [ 6,  8, 10]])
        """
        if length < self.span:
            stride = f" (one of every {self.stride})" if self.stride > 1 else ""
            raise InputError(where, f"at least {self.span} frames for a clip of {self.frames}{stride}", f"{length}")
        if self.cut == "evenly_spaced":
            return np.linspace(0, length - 1, self.frames).round().astype(int)[None]
        # The frames that the stride skips after a clip's last frame belong to that clip too.
        step = self.frames * self.stride
        starts = {
            "first": np.zeros(1, int),
            "middle": np.array([(length - self.span) // 2]),
            "all": np.arange(0, length - self.span + 1, step),
        }[self.cut]
        return starts[:, None] + np.arange(self.frames) * self.stride
