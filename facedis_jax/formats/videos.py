"""Video files as arrays of square frames; a file that cannot be used is refused in one line."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

from facedis_jax.errors import InputError, reason
from facedis_jax.formats.files import file_size
from facedis_jax.formats.images import Framing
from facedis_jax.formats.video_headers import check_container

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".webm", ".mkv")
"""How the names of video files end."""

# No other containers: FFmpeg would follow a playlist that has the name of a video to other files.
_CONTAINER = {"format_whitelist": "mov,avi,matroska,webm"}
_MOST_PIXELS = 2**25  # of a frame, just above 8K
# Flat frames take next to nothing of a file, so that a small one could ask for all memory. The memory that is allowed
# is in proportion to the file.
_MOST_TIMES_THE_FILE = 10
_ALWAYS_ALLOWED = 60 << 20
# How many coded frames a decoder keeps, and the bytes of a pixel while a frame becomes an image, as measured.
_FRAMES_KEPT = {"intra": 2, "inter": 12}
_BYTES_PER_IMAGE_PIXEL = 14
_SLACK = 0.2  # seconds by which a container may exaggerate how long it plays


def read_video(path: Path, framing: Framing, *, most: int | None = None) -> np.ndarray:
    """The frames of a video, cropped and resampled.

    Memory follows the size of the file and of the frames that are asked for. Damage that the decoder detects is
    refused; damage that leaves a valid stream is not found, such as the loss of a whole frame from WebM or Matroska,
    which do not count their frames.

    Args:
      path: the file.
      framing: how frames are cropped and resampled.
      most: how many frames to read, from the first on; the others are not decoded. All if None.

    Returns:
      [frames, size, size, channels] uint8, in the order in which they are shown, upright.

    Raises:
      InputError: where the file cannot be read, is no video, is damaged or cut off, or has frames of different size
        or other than `framing` takes.
    """
    size = file_size(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(path, "a file that can be read", reason(error)) from None
    if not size:
        raise InputError(path, "a video", "an empty file")
    try:
        with file, av.open(file, "r", check_container(path, file, size), options=_CONTAINER) as container:
            return _frames(path, container, framing, _MOST_TIMES_THE_FILE * size + _ALWAYS_ALLOWED, most)
    except InputError:
        raise
    except Exception as error:
        # PyAV raises errors of many kinds for damaged headers; FFmpeg's own have a plain `strerror`.
        found = getattr(error, "strerror", None) or type(error).__name__
        expected = f"a whole video ({', '.join(VIDEO_SUFFIXES)})"
        raise InputError(path, expected, f"a damaged or truncated one ({found})") from None


def _frames(
    path: Path, container: av.container.InputContainer, framing: Framing, most_bytes: int, most: int | None
) -> np.ndarray:
    if not container.streams.video:
        raise InputError(path, "a video stream", f"{len(container.streams)} other streams")
    stream = container.streams.video[0]
    context = stream.codec_context
    bits = context.format.bits_per_pixel if context.format else 24
    kept = _FRAMES_KEPT["intra" if context.codec.intra_only else "inter"]
    each = _BYTES_PER_IMAGE_PIXEL + kept * bits // 8
    most_pixels, pixels = min(_MOST_PIXELS, most_bytes // each), context.width * context.height
    if pixels > most_pixels:
        promised = f"{context.width} x {context.height}"
        raise InputError(path, f"frames of at most {most_pixels:,} pixels in a file of its size", promised)
    # Frames further on may have another size.
    context.options = {"err_detect": "explode", "max_pixels": f"{most_pixels}"}
    # One block that grows by an eighth at a time: many small ones would fragment the memory that FFmpeg frees.
    most_frames = max(1, (most_bytes - pixels * each) * 8 // (9 * framing.size**2 * framing.channels))
    frames = bytearray()
    count, packets, end = 0, 0, 0.0
    shape = None
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        packets += packet.size > 0
        for frame in stream.decode(packet):
            shape = shape or (frame.width, frame.height)
            where = f"{path}, frame {count}"
            if (frame.width, frame.height) != shape:
                expected = f"{shape[0]} x {shape[1]} pixels, as the first frame"
                raise InputError(where, expected, f"{frame.width} x {frame.height}")
            if packet.is_corrupt or frame.is_corrupt:
                raise InputError(where, "a whole frame", "a damaged or truncated one")
            if count == most_frames:
                raise InputError(path, f"a video of at most {most_frames:,} frames in a file of its size", "more")
            frames += framing.pixels(where, _image(frame)).data
            count += 1
            if count == most:
                return _stacked(frames, framing)
    # The header says how many frames there should be, or for how long they play. AVI counts dropped frames too.
    if packets < stream.frames and end * float(stream.average_rate or 0) < stream.frames - 0.5:
        raise InputError(path, f"{stream.frames} frames, as its header promises", f"{packets}")
    length = (container.duration or 0) / av.time_base
    if not stream.frames and end + _SLACK < length:
        raise InputError(path, f"{length:.2f} seconds, as its header promises", f"{end:.2f}")
    if not frames:
        raise InputError(path, "a video with frames", "none")
    return _stacked(frames, framing)


def _stacked(frames: bytearray, framing: Framing) -> np.ndarray:
    return np.frombuffer(frames, np.uint8).reshape(-1, framing.size, framing.size, framing.channels)


def _image(frame: av.VideoFrame) -> Image.Image:
    """A frame as an image of mode "RGB" or "L", rotated as its file says."""
    if frame.format.name.startswith("gray"):
        image = Image.fromarray(frame.to_ndarray(format="gray"))
    else:
        image = frame.to_image()
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image
