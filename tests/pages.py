"""What stands on a page of a report, read from its HTML, so that tests ask for structure and numbers."""

import base64
import io
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Builder(HTMLParser):
    """Builds a tree of elements, and checks that every tag is closed by its own."""

    def __init__(self, html: str):
        super().__init__()
        self.tree, self.open = ElementTree.TreeBuilder(), []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.tree.end(tag)
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.tree.end(tag)

    def handle_data(self, data):
        if self.open:
            self.tree.data(data)


def parse(html: str) -> ElementTree.Element:
    """The tree of a well-formed page."""
    assert html.startswith("<!DOCTYPE html>")
    return _Builder(html).tree.close()


def text_of(element: ElementTree.Element | None) -> str:
    return "" if element is None else "".join(element.itertext())


@dataclass(frozen=True)
class ShownImage:
    """An embedded image: the type and the bytes of the file, and what is said of it."""

    media_type: str
    data: bytes
    alt: str
    caption: str
    size: tuple[int, int]


@dataclass(frozen=True)
class ShownTable:
    """A table's texts and classes, row by row, all by column."""

    columns: list[str]
    rows: list[dict[str, str]]
    kinds: list[dict[str, str]]
    caption: str

    def row(self, **cells: str) -> dict[str, str]:
        """The one row that has these cells; underscores in the names stand for spaces."""
        wanted = {name.replace("_", " "): text for name, text in cells.items()}
        (found,) = (row for row in self.rows if wanted.items() <= row.items())
        return found


class ShownPage:
    """All that a reader sees, by kind and in order; every image has a description and comes with the page."""

    def __init__(self, html: str):
        root = parse(html)
        self.html, self.body = html, root.find("body")
        self.title, self.subtitle = text_of(root.find("head/title")), text_of(root.find("body/header/p"))
        self.headings = self._texts("h2")
        self.paragraphs = self._texts("p")
        self.commands = self._texts("pre/code")
        self.facts = {
            text_of(tile.find("dt")): tuple(text_of(part) for part in tile.findall("dd"))
            for tile in self.body.findall("main/dl/div")
        }
        self.images = [_image(figure) for figure in self.body.findall("main/figure[@class='image']")]
        self.tables = [_table(figure) for figure in self.body.findall("main/figure[@class='table']")]
        assert len(self.images) == len(list(root.iter("img")))
        assert not {element.tag for element in root.iter()} & {"link", "iframe", "object"}
        # A face that moves is drawn by a script, in the page itself.
        assert not [script for script in root.iter("script") if "src" in script.attrib]

    def _texts(self, path: str) -> list[str]:
        return [text_of(element) for element in self.body.findall(f"main/{path}")]

    def table(self, *columns: str) -> ShownTable:
        """The one table that has these columns."""
        (found,) = (table for table in self.tables if set(columns) <= set(table.columns))
        return found


def _image(figure: ElementTree.Element) -> ShownImage:
    shown = figure.find("img").attrib
    head, _, data = shown["src"].partition(";base64,")
    assert head.startswith("data:image/")
    size = int(shown["width"]), int(shown["height"])
    caption = text_of(figure.find("figcaption"))
    return ShownImage(head.removeprefix("data:"), base64.b64decode(data), shown["alt"], caption, size)


def _table(figure: ElementTree.Element) -> ShownTable:
    columns = [text_of(cell) for cell in figure.iter("th")]
    body = [row.findall("td") for row in figure.findall("table/tbody/tr")]
    rows = [dict(zip(columns, map(text_of, cells), strict=True)) for cells in body]
    kinds = [dict(zip(columns, (cell.get("class", "") for cell in cells), strict=True)) for cells in body]
    return ShownTable(columns, rows, kinds, text_of(figure.find("figcaption")))


def check_figures(page: ShownPage, folder: Path) -> set[str]:
    """Checks that all images of a page are described, whole, and files in a folder; returns the files' names."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(image.data for image in page.images) == sorted(files.values())
    for image in page.images:
        assert image.alt
        assert image.caption
        with Image.open(io.BytesIO(image.data)) as opened:
            assert image.media_type == f"image/{opened.format.lower()}"
            opened.verify()
    return set(files)


def metric_rows(*names: str) -> list[dict[str, object]]:
    """Rows as of metrics.jsonl, of two steps and both splits, with these metrics."""
    return [
        {"step": step, "split": split, **dict.fromkeys(names, 5.0 / step)}
        for step in (1, 2)
        for split in ("train", "test")
    ]


def cells(figure: Figure) -> list[np.ndarray]:
    """The images of a grid in a figure, row by row."""
    return [image.get_array() for axes in figure.axes for image in axes.images]
