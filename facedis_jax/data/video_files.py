"""One video file: its frames out, each a square of pixels, or one clear line of what is wrong with it."""

import hashlib
from pathlib import Path

import av
import numpy as np
from PIL import Image

from facedis_jax.data.photographs import Framing
from facedis_jax.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv")
"""How the names of video files end."""

# Nothing but these containers: FFmpeg would follow a playlist that goes by the name of a video to other files.
_CONTAINER = {"format_whitelist": "mov,avi,matroska,webm"}
_MOST_PIXELS = 2**25  # of a frame, just above 8K
# No frame that shows something takes less of its file; one that promises more must not be given the memory.
_MOST_PIXELS_PER_BYTE = 1100
_MOST_BYTES = 2**30  # of all frames of a file, cropped and resampled
_SLACK = 0.2  # seconds by which a container may exaggerate how long it plays


def read_video(path: Path, framing: Framing, *, most: int | None = None) -> np.ndarray:
    """The frames of a video, cropped and resampled.

    Memory follows the size of the file and of the frames that are asked for. What a decoder can tell is damaged is
    refused; damage that leaves a valid stream behind is not seen, such as the loss of a whole frame from WebM or
    Matroska, which do not count them.

    Args:
      path: the file.
      framing: what becomes of each frame.
      most: how many frames to read from the first on, without a look at the others; all if None.

    Returns:
      [frames, size, size, channels] uint8, in the order in which they are shown, upright.

    Raises:
      InputError: where the file cannot be read, is no video, is damaged or cut off, or has frames of different size
        or other than `framing` takes.
    """
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except OSError as error:
        raise InputError(path, "a file that can be read", error.strerror or str(error)) from None
    if not size:
        raise InputError(path, "a video", "an empty file")
    try:
        with file, av.open(file, "r", options=_CONTAINER) as container:
            return _frames(path, container, framing, min(_MOST_PIXELS, _MOST_PIXELS_PER_BYTE * size), most)
    except InputError:
        raise
    except Exception as error:
        # Of files that are damaged in their heads, PyAV lets through whatever it stumbles upon; of FFmpeg's own errors
        # `strerror` is the plain part.
        found = getattr(error, "strerror", None) or type(error).__name__
        expected = f"a whole video ({', '.join(VIDEO_SUFFIXES)})"
        raise InputError(path, expected, f"a damaged or truncated one ({found})") from None


def file_digest(path: Path) -> bytes:
    """The sha256 of a file; raises an InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(path, "a file that can be read", error.strerror or str(error)) from None


def _frames(
    path: Path, container: av.container.InputContainer, framing: Framing, most_pixels: int, most: int | None
) -> np.ndarray:
    if not container.streams.video:
        raise InputError(path, "a video stream", f"{len(container.streams)} other streams")
    stream = container.streams.video[0]
    if stream.codec_context.width * stream.codec_context.height > most_pixels:
        promised = f"{stream.codec_context.width} x {stream.codec_context.height}"
        raise InputError(path, f"frames of at most {most_pixels:,} pixels in a file of its size", promised)
    # Frames further on may have another size.
    stream.codec_context.options = {"err_detect": "explode", "max_pixels": f"{most_pixels}"}
    most_frames = _MOST_BYTES // (framing.size**2 * framing.channels)
    frames: list[np.ndarray] = []
    packets, end = 0, 0.0
    shape = None
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        packets += packet.size > 0
        for frame in stream.decode(packet):
            shape = shape or (frame.width, frame.height)
            where = f"{path}, frame {len(frames)}"
            if (frame.width, frame.height) != shape:
                expected = f"{shape[0]} x {shape[1]} pixels, as the first frame"
                raise InputError(where, expected, f"{frame.width} x {frame.height}")
            if packet.is_corrupt or frame.is_corrupt:
                raise InputError(where, "a whole frame", "a damaged or truncated one")
            if len(frames) == most_frames:
                raise InputError(path, f"a video of at most {most_frames:,} frames at this size", "a longer one")
            frames.append(framing.pixels(where, _picture(frame)))
            if len(frames) == most:
                return np.stack(frames)
    # How many frames there should be, or for how long they play. AVI counts those that a camera left out too.
    if packets < stream.frames and end * float(stream.average_rate or 0) < stream.frames - 0.5:
        raise InputError(path, f"{stream.frames} frames, as its header promises", f"{packets}")
    length = (container.duration or 0) / av.time_base
    if not stream.frames and end + _SLACK < length:
        raise InputError(path, f"{length:.2f} seconds, as its header promises", f"{end:.2f}")
    if not frames:
        raise InputError(path, "a video with frames", "none")
    return np.stack(frames)


def _picture(frame: av.VideoFrame) -> Image.Image:
    """A frame as a picture of mode "RGB" or "L", turned as its file says that it be shown."""
    if frame.format.name.startswith("gray"):
        picture = Image.fromarray(frame.to_ndarray(format="gray"))
    else:
        picture = frame.to_image()
    return picture.rotate(frame.rotation, expand=True) if frame.rotation else picture
