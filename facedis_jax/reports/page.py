"""One self-contained HTML page: text, figures and tables, and faces that sliders move; nothing is from elsewhere.

The HTML is in the template `page.html.jinja` beside this file; `live_face.js` is on pages with such a face alone.
"""

import base64
import functools
import gzip
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from facedis_jax.formats.whole import write_whole
from facedis_jax.reports.figures import DPI, png

PIXELS_PER_INCH = 100  # of figures on the page: with one scale for all, the text of all has one size

_NUMBER = re.compile(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?( ?± ?\d[\d.,]*)?[%×]?")
_MISSING = "–"


class Fact(NamedTuple):
    """A number that stands at the top of a page: `Fact("Reconstruction error", "0.43 mm", "PCA: 1.38 mm")`."""

    label: str
    value: str
    note: str = ""


class MorphSlider(NamedTuple):
    """A slider of a face: under which heading it stands, its name, and its least value; the largest is 1, or 3."""

    group: str
    name: str
    least: float


class LiveFace(NamedTuple):
    """A face that sliders move.

    Attributes:
      base: [vertices, 3] mm, the face while all sliders are at 0.
      triangles: [triangles, 3].
      sliders: one for each target.
      targets: [vertices, 3] mm each, what a slider at 1 adds.
    """

    base: np.ndarray
    triangles: np.ndarray
    sliders: Sequence[MorphSlider]
    targets: Sequence[np.ndarray]


class Page:
    """A page that is filled from top to bottom; every text is escaped.

    Example:
      >>> page = Page("Faces", "embedded face, preset demo")
      >>> page.heading("Results")
      >>> page.table([{"method": "ours", "reconstruction (mm)": 0.4321, "paper": None}])
      >>> '<td class="number">0.432</td>' in page.html()
      True
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title, self.subtitle = title, subtitle
        self._parts: list[dict[str, object]] = []

    def heading(self, text: str) -> None:
        """Starts a section."""
        self._add("heading", text=text)

    def paragraph(self, text: str) -> None:
        """Adds running text."""
        self._add("paragraph", text=text)

    def command(self, text: str) -> None:
        """Adds a command line, or several, as they are typed."""
        self._add("command", text=text)

    def facts(self, facts: Sequence[Fact]) -> None:
        """Adds a row of tiles, one for each fact."""
        self._add("facts", facts=facts)

    def figure(self, figure: Figure | bytes, *, alt: str, caption: str = "") -> None:
        """Adds a figure, embedded in the page.

        Args:
          figure: of matplotlib, or the bytes of a PNG.
          alt: what the figure shows, for readers who cannot see it.
          caption: below the figure.
        """
        data = png(figure) if isinstance(figure, Figure) else figure
        with Image.open(io.BytesIO(data)) as image:
            width, height = (round(pixels * PIXELS_PER_INCH / DPI) for pixels in image.size)
        self.embed(data, "image/png", size=(width, height), alt=alt, caption=caption)

    def embed(
        self,
        data: bytes,
        media_type: Literal["image/png", "image/gif"],
        *,
        size: tuple[int, int],
        alt: str,
        caption: str,
    ) -> None:
        """Adds an image file's bytes as they are, shown `size` = (width, height) pixels large."""
        width, height = size
        source = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        self._add("image", source=source, alt=alt, width=width, height=height, caption=caption)

    def live_face(self, face: LiveFace, *, alt: str, caption: str) -> None:
        """Adds a face that sliders move, without a server: the page holds its shapes, and a script that draws them."""
        groups: dict[str, list[MorphSlider]] = {}
        for slider in face.sliders:
            groups.setdefault(slider.group, []).append(slider)
        # In the order of the targets.
        assert [each for group in groups.values() for each in group] == list(face.sliders)
        script = resources.files(__package__).joinpath("live_face.js").read_text(encoding="utf-8")
        self._add("live", groups=groups, data=_packed(face), script=script, alt=alt, caption=caption)

    def table(
        self,
        rows: Sequence[Mapping[str, object]],
        *,
        columns: Sequence[str] = (),
        decimals: int | Mapping[str, int] = 3,
        caption: str = "",
    ) -> None:
        """Adds a table. Columns of numbers are set flush right; a missing value is shown as an en dash.

        Args:
          rows: column -> value. Numbers that are formatted already ("0.43 ± 0.02") still count as numbers; a
            column "paper" is set apart and a column "command" is set as code.
          columns: which ones, in this order; by default all, as the rows name them.
          decimals: of floating point numbers, for all columns or by column (3 for columns that it does not name).
          caption: below the table.
        """
        columns = list(columns) or list(dict.fromkeys(key for row in rows for key in row))
        texts = [[_text(row.get(c), c, decimals) for c in columns] for row in rows]
        kinds = []
        for j, column in enumerate(columns):
            present = [row[j] for row in texts if row[j] != _MISSING]
            numeric = bool(present) and all(_NUMBER.fullmatch(text) for text in present)
            kinds.append(" ".join(["number"] * numeric + ["paper"] * (column == "paper")))
        self._add(
            "table",
            head=[_Cell(column, kind) for column, kind in zip(columns, kinds, strict=True)],
            rows=[
                [
                    _Cell(text, kind, is_code=column == "command" and text != _MISSING)
                    for column, kind, text in zip(columns, kinds, row, strict=True)
                ]
                for row in texts
            ],
            caption=caption,
        )

    def html(self) -> str:
        """The whole page."""
        return _template().render(title=self.title, subtitle=self.subtitle, parts=self._parts)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all."""
        write_whole(path, self.html().encode("utf-8", "backslashreplace"))

    def _add(self, kind: str, **content: Any) -> None:
        """Adds what the template shows for a part of this kind."""
        self._parts.append({"kind": kind, **content})


class IllustratedPage(Page):
    """A page whose figures are also files in a folder, which is made if it is missing."""

    def __init__(self, title: str, subtitle: str, folder: Path):
        super().__init__(title, subtitle)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def illustration(self, name: str, figure: Figure, *, alt: str, caption: str) -> None:
        """Adds a figure and writes it to `NAME.png`, whole or not at all."""
        data = png(figure)
        write_whole(self.folder / f"{name}.png", data)
        self.figure(data, alt=alt, caption=caption)


class _Cell(NamedTuple):
    """A cell of a table, with its class in the HTML."""

    text: str
    kind: str
    is_code: bool = False


@functools.cache
def _template() -> jinja2.Template:
    text = resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text)


def _packed(face: LiveFace) -> dict[str, Any]:
    """A live face as JSON values: the base in single precision, the targets in 16 bits and a scale, compressed."""
    scales, steps = [], []
    for target in face.targets:
        scale = max(float(np.abs(target).max()), 1e-6) / 32767
        scales.append(scale)
        steps.append(np.round(target / scale).astype("<i2"))
    parts = [face.base.astype("<f4"), face.triangles.astype("<u4"), *steps]
    low, high = face.base.min(0), face.base.max(0)
    return {
        "vertices": len(face.base),
        "triangles": len(face.triangles),
        "centre": [round(float(x), 3) for x in (low + high) / 2],
        "size": round(float((high - low)[:2].max()), 3),
        "scales": scales,
        "data": base64.b64encode(gzip.compress(b"".join(part.tobytes() for part in parts), mtime=0)).decode(),
    }


def _text(value: object, column: str, decimals: int | Mapping[str, int]) -> str:
    """A cell's text; NaN, None and nothing at all are missing."""
    if value is None or value == "":
        return _MISSING
    if isinstance(value, Real) and not isinstance(value, (bool, int)):
        number = float(value)
        places = decimals if isinstance(decimals, int) else decimals.get(column, 3)
        return _MISSING if math.isnan(number) else f"{number:.{places}f}"
    return str(value)
