"""One self-contained HTML page: text, figures and tables, no scripts, nothing fetched from anywhere."""

import base64
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from facedis_jax.formats.whole import write_whole
from facedis_jax.reports.figures import DPI, png

PIXELS_PER_INCH = 100  # on the page, so that the text of every figure has one size

_NUMBER = re.compile(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?( ?± ?\d[\d.,]*)?[%×]?")

_STYLE = """
:root { color-scheme: light dark; --page: #fbfaf8; --ink: #222; --muted: #666; --line: #dcd8d2;
  --card: #fff; --accent: #8a4b23; --code: #f1eee9; }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --ink: #e4e2de; --muted: #a09c96;
  --line: #37383b; --card: #202124; --accent: #e0a27c; --code: #26272a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 3rem 1.5rem 5rem; background: var(--page);
  color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header { border-bottom: 1px solid var(--line); margin-bottom: 2rem; padding-bottom: 1.25rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; letter-spacing: -0.015em; }
header p { color: var(--muted); font-size: 1.08rem; margin: 0.5rem 0 0; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 0.75rem; letter-spacing: -0.01em; }
p { max-width: 75ch; margin: 0.75rem 0; }
figure { margin: 1.5rem 0; }
figure.picture { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; }
figure.picture img { display: block; margin: 0 auto; max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) {
  figure.picture img { background: #fff; border-radius: 5px; padding: 10px; } }
figcaption { color: var(--muted); font-size: 0.9rem; line-height: 1.5; margin-top: 0.75rem; max-width: 95ch; }
figure.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.9rem 0.45rem 0; text-align: left; vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
th { border-bottom: 2px solid var(--line); font-weight: 600; line-height: 1.3; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); }
.number { text-align: right; }
td.number { white-space: nowrap; }
.paper { color: var(--muted); font-style: italic; }
code, pre { font: 0.86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
td code { overflow-wrap: anywhere; color: var(--muted); }
pre { background: var(--code); border-radius: 6px; overflow-x: auto; padding: 0.8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
dl.facts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr));
  margin: 1.5rem 0; }
dl.facts div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; display: flex;
  flex-direction: column; padding: 1rem 1.1rem; }
dl.facts dt { color: var(--muted); font-size: 0.88rem; line-height: 1.35; }
dl.facts dd { margin: 0; }
dl.facts .value { color: var(--accent); font-size: 1.7rem; font-weight: 600; letter-spacing: -0.02em;
  line-height: 1.35; font-variant-numeric: tabular-nums; }
dl.facts .note { color: var(--muted); font-size: 0.82rem; line-height: 1.4; margin-top: 0.2rem; }
@media print {
  :root { color-scheme: light; --page: #fff; --ink: #000; --muted: #444; --line: #bbb; --card: #fff;
    --accent: #000; --code: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  h2 { break-after: avoid; }
  figure.picture, tr, dl.facts div { break-inside: avoid; } }
"""


class Fact(NamedTuple):
    """What to see at a glance: `Fact("Reconstruction error", "0.43 mm", "PCA: 1.38 mm")`."""

    label: str
    value: str
    note: str = ""


class Page:
    """A page that is filled from top to bottom; every text is escaped.

    Example:
      >>> page = Page("Faces", "embedded face, preset demo")
      >>> page.heading("Results")
      >>> page.table([{"method": "ours", "reconstruction (mm)": 0.4321, "paper": None}])
      >>> "<td class=\\"number\\">0.432</td>" in page.html()
      True
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Starts a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Adds running text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def command(self, text: str) -> None:
        """Adds a command line, or several, as they are typed."""
        self._parts.append(f"<pre><code>{escape(text)}</code></pre>")

    def facts(self, facts: Sequence[Fact]) -> None:
        """Adds tiles: what a reader should know who reads nothing else."""
        tiles = []
        for label, value, note in facts:
            extra = f'<dd class="note">{escape(note)}</dd>' if note else ""
            tiles.append(f'<div><dt>{escape(label)}</dt><dd class="value">{escape(value)}</dd>{extra}</div>')
        self._parts.append(f'<dl class="facts">{"".join(tiles)}</dl>')

    def figure(self, picture: Figure | bytes, *, alt: str, caption: str = "") -> None:
        """Adds a picture, embedded in the page.

        Args:
          picture: a matplotlib figure, or the bytes of a PNG.
          alt: what the picture shows, for those who do not see it.
          caption: below the picture.
        """
        data = png(picture) if isinstance(picture, Figure) else picture
        with Image.open(io.BytesIO(data)) as image:
            width, height = (round(pixels * PIXELS_PER_INCH / DPI) for pixels in image.size)
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        picture_tag = f'<img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'
        self._parts.append(f'<figure class="picture">{picture_tag}{_caption(caption)}</figure>')

    def table(
        self,
        rows: Sequence[Mapping[str, object]],
        *,
        columns: Sequence[str] = (),
        decimals: int | Mapping[str, int] = 3,
        caption: str = "",
    ) -> None:
        """Adds a table; columns of numbers stand at the right, and what is missing is an en dash.

        Args:
          rows: column -> value. Numbers that are formatted already ("0.43 ± 0.02") still count as numbers; a
            column "paper" is set apart and a column "command" is set as code.
          columns: which ones, in this order; by default all, as the rows name them.
          decimals: of floating point numbers, for all columns or by column (3 for those left out).
          caption: below the table.
        """
        columns = list(columns) or list(dict.fromkeys(key for row in rows for key in row))
        texts = [[_text(row.get(c), c, decimals) for c in columns] for row in rows]
        kinds = []
        for j, column in enumerate(columns):
            present = [row[j] for row in texts if row[j] != "–"]
            numeric = bool(present) and all(_NUMBER.fullmatch(text) for text in present)
            kinds.append(" ".join(["number"] * numeric + ["paper"] * (column == "paper")))
        head = "".join(_cell("th", escape(column), kind) for column, kind in zip(columns, kinds, strict=True))
        body = []
        for row in texts:
            cells = []
            for column, kind, text in zip(columns, kinds, row, strict=True):
                content = escape(text)
                if column == "command" and text != "–":
                    content = f"<code>{content}</code>"
                cells.append(_cell("td", content, kind))
            body.append(f"<tr>{''.join(cells)}</tr>")
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        self._parts.append(f'<figure class="table">{table}{_caption(caption)}</figure>')

    def html(self) -> str:
        """The whole page."""
        subtitle = f"<p>{escape(self.subtitle)}</p>" if self.subtitle else ""
        return "\n".join(
            [
                '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
                f"<header><h1>{escape(self.title)}</h1>{subtitle}</header>\n<main>",
                *self._parts,
                "</main>\n</body>\n</html>\n",
            ]
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the page, whole or not at all."""
        write_whole(path, self.html().encode())


class IllustratedPage(Page):
    """A page whose pictures are also files in a folder, made if it is missing."""

    def __init__(self, title: str, subtitle: str, folder: Path):
        super().__init__(title, subtitle)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def illustration(self, name: str, figure: Figure, *, alt: str, caption: str) -> None:
        """Adds a picture and writes it to `NAME.png`, whole or not at all."""
        picture = png(figure)
        write_whole(self.folder / f"{name}.png", picture)
        self.figure(picture, alt=alt, caption=caption)


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _cell(tag: str, content: str, kind: str) -> str:
    return f'<{tag} class="{kind}">{content}</{tag}>' if kind else f"<{tag}>{content}</{tag}>"


def _text(value: object, column: str, decimals: int | Mapping[str, int]) -> str:
    """A cell's text; NaN, None and nothing at all are missing."""
    if value is None or value == "":
        return "–"
    if isinstance(value, Real) and not isinstance(value, (bool, int)):
        number = float(value)
        places = decimals if isinstance(decimals, int) else decimals.get(column, 3)
        return "–" if math.isnan(number) else f"{number:.{places}f}"
    return str(value)
