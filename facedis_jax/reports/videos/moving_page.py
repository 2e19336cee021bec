"""Clips in a grid as one animated GIF, and the page that they play on."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facedis_jax.formats.whole import write_whole
from facedis_jax.reports.page import IllustratedPage

CELL = 112  # pixels; smaller clips are enlarged to at least this size
SECONDS = 2.4  # duration of a clip
_PAUSE = 0.6  # seconds on the last frame before the clip starts again
_GAP, _LINE, _LEFT = 4, 18, 130  # pixels between clips, of a line of text, and of the rows' labels
_FONT_SIZE = 13
_WHITE, _INK = (255, 255, 255), (38, 38, 38)


def clip_grid(
    rows: Sequence[Sequence[np.ndarray | None]], *, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> np.ndarray:
    """Frames of clips of one length, side by side with their labels.

    Args:
      rows: of clips [frames, size, size, 1 or 3] in [0, 1]; None leaves a cell empty.
      row_labels, column_labels: one per row and column, or none at all.

    Returns:
      [frames, height, width, 3] uint8.
    """
    first = next(clip for row in rows for clip in row if clip is not None)
    frames, factor = len(first), -(-CELL // first.shape[1])
    side = first.shape[1] * factor
    font = ImageFont.load_default(_FONT_SIZE)
    head = [_wrapped(label, font, side - 2 * _GAP) for label in column_labels]
    left = _LEFT if row_labels else 0
    top = _LINE * max((label.count("\n") + 1 for label in head), default=0)
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (left + columns * (side + _GAP), top + len(rows) * (side + _GAP)), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for i, label in enumerate(row_labels):
        middle = top + i * (side + _GAP) + side / 2
        draw.multiline_text((0, middle), _wrapped(label, font, _LEFT - 10), _INK, font, anchor="lm")
    for j, label in enumerate(head):
        middle = left + j * (side + _GAP) + side / 2
        draw.multiline_text((middle, top - _GAP), label, _INK, font, anchor="md", align="center")
    grid = np.repeat(np.asarray(sheet)[None], frames, axis=0)
    for i, row in enumerate(rows):
        for j, clip in enumerate(row):
            if clip is not None:
                y, x = top + i * (side + _GAP), left + j * (side + _GAP)
                grid[:, y : y + side, x : x + side] = [_enlarged(frame, side) for frame in clip]
    return grid


def gif(frames: np.ndarray, *, seconds: float = SECONDS) -> bytes:
    """Bytes of an animated GIF that repeats for ever; the same for the same frames.

    Args:
      frames: [frames, height, width, 3] uint8.
      seconds: duration of all frames, without the pause on the last one.
    """
    # One palette for all frames, or colours of what does not move would flicker; made from several frames, because the
    # first may lack colours. Its last entry is white, for what lies between the clips.
    sample = frames[np.linspace(0, len(frames) - 1, min(len(frames), 6)).astype(int)]
    palette = Image.fromarray(np.concatenate(sample)).quantize(255, method=Image.Quantize.MEDIANCUT)
    palette.putpalette([*(palette.getpalette() or ())[: 3 * 255], *_WHITE])
    images = [_quantised(frame, palette) for frame in frames]
    # Durations in a GIF are in hundredths of a second, and players slow down those of less than two.
    durations = [max(2, round(100 * seconds / len(frames))) * 10] * len(frames)
    durations[-1] += round(1000 * _PAUSE)
    buffer = io.BytesIO()
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


class MovingPage(IllustratedPage):
    """A page with clips that play, each also a file in the page's folder."""

    def clips(
        self,
        name: str,
        rows: Sequence[Sequence[np.ndarray | None]],
        *,
        alt: str,
        caption: str,
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        seconds: float = SECONDS,
    ) -> None:
        """Adds clips in a grid, as of `clip_grid`, and writes them to `NAME.gif`, whole or not at all."""
        frames = clip_grid(rows, row_labels=row_labels, column_labels=column_labels)
        data = gif(frames, seconds=seconds)
        write_whole(self.folder / f"{name}.gif", data)
        height, width = frames.shape[1:3]
        self.embed(data, "image/gif", size=(width, height), alt=alt, caption=caption)


def _quantised(frame: np.ndarray, palette: Image.Image) -> Image.Image:
    """A frame [height, width, 3] in the palette's colours, the last of which is white; white stays white."""
    image = Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
    colors = palette.getpalette() or []
    # Pillow looks colours up at a lower precision, by which white may become the palette's lightest grey.
    white = (frame == 255).all(axis=-1)
    exact = Image.fromarray(np.where(white, np.uint8(len(colors) // 3 - 1), np.asarray(image)))
    exact.putpalette(colors)
    return exact


def _enlarged(frame: np.ndarray, side: int) -> np.ndarray:
    pixels = np.round(255 * np.clip(frame, 0, 1)).astype(np.uint8)
    image = Image.fromarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text in lines of at most `width` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
