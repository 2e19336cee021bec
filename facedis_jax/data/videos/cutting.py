"""Which frames of a recording become clips."""

from dataclasses import dataclass

import numpy as np

from facedis_jax.errors import InputError

CUTS = ("first", "middle", "all", "spread")
"""What is kept of a recording.

- "first": one clip from its first frame on.
- "middle": one clip, as much of the recording before it as behind it.
- "all": as many clips as fit, one behind the other from the first frame on, none sharing a frame.
- "spread": one clip of the whole recording, its frames evenly spread from the first to the last.
"""


@dataclass(frozen=True)
class Cutting:
    """What becomes of every recording of a set: clips of one length.

    Attributes:
      frames: of a clip.
      stride: every so many frames of the recording, one of the clip.
      cut: one of `CUTS`; the stride of "spread" follows from the recording's length, and must be 1 here.

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
        if self.cut == "spread" and self.stride != 1:
            raise InputError("stride", "1 with the cut spread", f"{self.stride}")

    @property
    def span(self) -> int:
        """How many frames a recording must have: those from the first to the last of a clip."""
        return (self.frames - 1) * self.stride + 1

    def places(self, where: object, length: int) -> np.ndarray:
        """Which frames of a recording make up its clips: [clips, frames] indices, ascending.

        Args:
          where: named in errors.
          length: how many frames the recording has.

        Raises:
          InputError: where it is too short for a clip.

        Example:
          >>> Cutting(frames=3, stride=2, cut="all").places("take000", 12)
          array([[ 0,  2,  4],
                 [ 6,  8, 10]])
        """
        if length < self.span:
            stride = f" (every {self.stride} frames one)" if self.stride > 1 else ""
            raise InputError(where, f"at least {self.span} frames for a clip of {self.frames}{stride}", f"{length}")
        if self.cut == "spread":
            return np.linspace(0, length - 1, self.frames).round().astype(int)[None]
        # The frames that a stride leaves out behind a clip's last frame belong to that clip.
        step = self.frames * self.stride
        starts = {
            "first": np.zeros(1, int),
            "middle": np.array([(length - self.span) // 2]),
            "all": np.arange(0, length - self.span + 1, step),
        }[self.cut]
        return starts[:, None] + np.arange(self.frames) * self.stride
