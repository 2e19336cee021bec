"""Video files as arrays of square frames; a file that cannot be used is refused in one line."""

import math
from array import array
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from facedis_jax.errors import InputError, damage, reason
from facedis_jax.formats.files import file_size
from facedis_jax.formats.images import Framing
from facedis_jax.formats.video_headers import CONTAINERS, check_container

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".avi", ".divx", ".webm", ".mkv"),
    *(".mpg", ".mpeg", ".mpe", ".m2v", ".vob", ".mts", ".m2ts", ".m2t", ".ts", ".wmv", ".asf", ".flv", ".ogv"),
)
"""How the names of video files end, in small letters."""

# No other containers: FFmpeg would follow a playlist that has the name of a video to other files.
_CONTAINER = {"format_whitelist": ",".join((*CONTAINERS, "webm"))}
# Without what a camera's owner has cut off by a list of edits, which leaves the frames in the file.
_AS_RECORDED = {"ignore_editlist": "1"}
_MOST_PIXELS = 2**25  # of a frame, just above 8K
# Flat frames take next to nothing of a file, so that a small one could ask for all memory. The memory that is allowed
# is in proportion to the file.
_MOST_TIMES_THE_FILE = 10
_ALWAYS_ALLOWED = 60 << 20
# How many coded frames a decoder keeps, and the bytes of a pixel while a frame becomes an image, as measured.
_FRAMES_KEPT = {"intra": 2, "inter": 12}
_BYTES_PER_IMAGE_PIXEL = 14
_BYTES_PER_RESIZED_PIXEL = 8
_SLACK = 0.2  # seconds by which a container may exaggerate how long it plays
_GREY = ("gray", "mono", "ya8", "ya16")  # FFmpeg's names of pixel formats without colours begin with one of these
_MOST_STRETCHED = 8  # wider or narrower pixels are damage


def read_video(path: Path, framing: Framing, *, most: int | None = None) -> np.ndarray:
    """The frames of a video as they are shown, cropped and resampled.

    Frames have the shape in which they are shown: upright, and as wide as their pixels are. Where they come at uneven
    times, as many as there are are taken at even times from the first to the end of the last: each is the frame that is
    shown in the middle of its time. Where the times are even, these are the frames themselves.

    Memory follows the size of the file and of the frames that are asked for. Damage that the decoder detects is
    refused; damage that leaves a valid stream is not found, such as the loss of a whole frame from WebM or Matroska,
    which do not count their frames, or of the end of an MPEG stream.

    Args:
      path: the file.
      framing: how frames are cropped and resampled.
      most: how many frames to return, from the first on; of a video with even times, the others are not decoded. All if
        None.

    Returns:
      [frames, size, size, channels] uint8, in the order in which they are shown.

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
    most_bytes = _MOST_TIMES_THE_FILE * size + _ALWAYS_ALLOWED
    try:
        with file:
            kind = check_container(path, file, size)

            def opened(**options: str) -> InputContainer:
                file.seek(0)
                return av.open(_QuietFile(file), "r", kind, options=_CONTAINER | options)

            # Streams without a container have no times.
            shown = None if kind == "mpegvideo" else _times_shown(path, opened, most_bytes)
            with opened() as container:
                return _frames(path, container, partial(opened, **_AS_RECORDED), framing, most_bytes, most, shown)
    except InputError:
        raise
    except Exception as error:
        # PyAV raises errors of many kinds for damaged headers; FFmpeg's own have a plain `strerror`.
        expected = f"a whole video ({', '.join(VIDEO_SUFFIXES[:6])} and others)"
        raise InputError(path, expected, f"a damaged or truncated one ({damage(error)})") from None


class _QuietFile:
    """A file in which damaged headers may ask for any place; PyAV would print the error of a place that cannot be."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.read, self.tell = file.read, file.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; -1, as in C, where it cannot be."""
        try:
            return self.file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def even_times(times: np.ndarray) -> np.ndarray:
    """How often each of some frames is shown, [frames] integers, where as many are taken at even times.

    Args:
      times: [frames] at which they appear, seconds. The last stays as long as frames do in the median.

    Example:
      >>> even_times(np.array([0.0, 0.1, 0.2, 0.6]))
      array([1, 0, 2, 1])
      >>> even_times(np.array([0.0, 0.033, 0.067, 0.1]))  # of 30 in a second, rounded
      array([1, 1, 1, 1])
    """
    steps = np.diff(times)
    if len(times) < 3 or not (steps > 0).all():
        return np.ones(len(times), int)
    length = times[-1] + np.median(steps) - times[0]
    middles = times[0] + (np.arange(len(times)) + 0.5) * (length / len(times))
    return np.bincount(np.searchsorted(times, middles, side="right") - 1, minlength=len(times))


def _times_shown(path: Path, opened: Callable[[], InputContainer], most_bytes: int) -> np.ndarray | None:
    """`even_times` of the frames of a video; None where each is shown once, or times are unknown."""
    with opened() as container:
        packets = _packet_times(path, container)
    if (even_times(np.sort(packets)) == 1).all():
        return None
    # Some packets hold no frame that is shown.
    with opened() as container:
        shown = even_times(np.array(_frame_times(path, container, most_bytes)))
    return None if (shown == 1).all() else shown


def _packet_times(path: Path, container: InputContainer) -> np.ndarray:
    times = array("d")
    stream = _first_video(path, container)
    # Damage is found where frames are decoded, unless it lies behind what is asked for.
    with suppress(Exception):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.time_base is not None:
                times.append(float(packet.pts * packet.time_base))
    return np.array(times)


def _frame_times(path: Path, container: InputContainer, most_bytes: int) -> array:
    times = array("d")
    stream = _video_stream(path, container, most_bytes)
    with suppress(Exception):
        for packet in container.demux(stream):
            for frame in stream.decode(packet):
                if frame.time is None:
                    return array("d")
                times.append(frame.time)
    return times


def _first_video(path: Path, container: InputContainer) -> VideoStream:
    """The first video stream that is no picture of a cover."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    raise InputError(path, "a video stream", f"{len(container.streams)} other streams")


def _video_stream(path: Path, container: InputContainer, most_bytes: int) -> VideoStream:
    """The first video stream, once its frames are known to fit into memory; its decoder stops at damage."""
    stream = _first_video(path, container)
    context = stream.codec_context
    if context is None:
        raise InputError(path, "a video whose codec FFmpeg decodes", "another one, or a damaged header")
    most_pixels = min(_MOST_PIXELS, most_bytes // _bytes_per_pixel(path, stream))
    if context.width * context.height > most_pixels:
        promised = f"{context.width} x {context.height}"
        raise InputError(path, f"frames of at most {most_pixels:,} pixels in a file of its size", promised)
    # Frames further on may have another size.
    context.options = {"err_detect": "explode", "max_pixels": f"{most_pixels}"}
    return stream


def _bytes_per_pixel(path: Path, stream: VideoStream) -> int:
    """The memory that a pixel of a frame takes while frames are decoded and become images."""
    context, aspect = stream.codec_context, _pixel_aspect(path, stream)
    bits = context.format.bits_per_pixel if context.format else 24
    kept = _FRAMES_KEPT["intra" if context.codec.intra_only else "inter"]
    resized = 0 if aspect == 1 else int(_BYTES_PER_RESIZED_PIXEL * aspect) + 1
    return _BYTES_PER_IMAGE_PIXEL + kept * bits // 8 + resized


def _pixel_aspect(path: Path, stream: VideoStream) -> Fraction:
    """How much wider than high a pixel is shown; 1 where the file does not say."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect <= 0:
        return Fraction(1)
    if not Fraction(1, _MOST_STRETCHED) <= aspect <= _MOST_STRETCHED:
        expected = f"pixels at most {_MOST_STRETCHED} times as wide as high, or as high as wide"
        raise InputError(path, expected, f"{aspect.numerator}:{aspect.denominator}")
    return aspect


def _frames(
    path: Path,
    container: InputContainer,
    as_recorded: Callable[[], InputContainer],
    framing: Framing,
    most_bytes: int,
    most: int | None,
    shown: np.ndarray | None,
) -> np.ndarray:
    stream = _video_stream(path, container, most_bytes)
    taken = _TakenFrames(path, stream, framing, most_bytes, shown)
    packets, end = 0, 0.0
    for packet in container.demux():
        if packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index != stream.index:
            continue
        packets += packet.size > 0
        for frame in stream.decode(packet):
            taken.add(frame, is_corrupt=packet.is_corrupt or frame.is_corrupt)
            if most is not None and taken.kept >= most:
                return taken.stacked()[:most]
    # The header says how many frames there should be, or for how long they play. AVI counts dropped frames too.
    if packets < stream.frames and end * float(stream.average_rate or 0) < stream.frames - 0.5:
        with as_recorded() as whole:
            recorded = len(_packet_times(path, whole))
        if recorded < stream.frames:
            raise InputError(path, f"{stream.frames} frames, as its header promises", f"{recorded}")
    length = (container.duration or 0) / av.time_base
    if not stream.frames and end + _SLACK < length:
        raise InputError(path, f"{length:.2f} seconds, as its header promises", f"{end:.2f}")
    if not taken.kept:
        raise InputError(path, "a video with frames", "none")
    return taken.stacked()


class _TakenFrames:
    """The frames of a video that are kept, in one block of memory.

    Args:
      path: the file, for errors.
      stream: from `_video_stream`.
      framing: what becomes of a frame.
      most_bytes: the memory that decoding and all kept frames may take.
      shown: how often each frame is kept; once if None.
    """

    def __init__(self, path: Path, stream: VideoStream, framing: Framing, most_bytes: int, shown: np.ndarray | None):
        self.path, self.framing, self.shown = path, framing, shown
        self.aspect = _pixel_aspect(path, stream)
        context = stream.codec_context
        decoding = context.width * context.height * _bytes_per_pixel(path, stream)
        # The block grows by an eighth at a time: many small ones would fragment the memory that FFmpeg frees.
        self.most = max(1, (most_bytes - decoding) * 8 // (9 * framing.size**2 * framing.channels))
        self.frames = bytearray()
        self.seen = self.kept = 0
        self.shape: tuple[int, int] | None = None

    def add(self, frame: av.VideoFrame, *, is_corrupt: bool) -> None:
        """Keeps the next frame as often as it is shown."""
        where = f"{self.path}, frame {self.seen}"
        self.shape = self.shape or (frame.width, frame.height)
        if (frame.width, frame.height) != self.shape:
            expected = f"{self.shape[0]} x {self.shape[1]} pixels, as the first frame"
            raise InputError(where, expected, f"{frame.width} x {frame.height}")
        if is_corrupt:
            raise InputError(where, "a whole frame", "a damaged or truncated one")
        times = 1 if self.shown is None else int(self.shown[self.seen]) if self.seen < len(self.shown) else 0
        if self.kept + times > self.most:
            raise InputError(self.path, f"a video of at most {self.most:,} frames in a file of its size", "more")
        if times:
            pixels = self.framing.pixels(where, _image(frame, self.aspect))
            for _ in range(times):
                self.frames += pixels.data
        self.seen += 1
        self.kept += times

    def stacked(self) -> np.ndarray:
        """[frames, size, size, channels] uint8."""
        framing = self.framing
        return np.frombuffer(self.frames, np.uint8).reshape(-1, framing.size, framing.size, framing.channels)


def _image(frame: av.VideoFrame, aspect: Fraction) -> Image.Image:
    """A frame as an image of mode "RGB" or "L", with pixels of that aspect made square, turned as its file says."""
    if frame.format.name.startswith(_GREY):
        image = Image.fromarray(frame.to_ndarray(format="gray"))
    else:
        image = frame.to_image()
    width = max(1, round(image.width * aspect))
    if width != image.width:
        image = image.resize((width, image.height), Image.Resampling.LANCZOS)
    degrees = frame.rotation
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(cast(Any, matrix), np.int32)[:5].tolist()
        if a * d < b * c:
            # Mirrored, of which FFmpeg's rotation knows nothing.
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            degrees = round(-math.degrees(math.atan2(-b, -a)))
    return image.rotate(degrees, expand=True) if degrees else image
