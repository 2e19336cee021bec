import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from facedis_jax.reports.figures import face_grid, png
from facedis_jax.reports.page import Fact, IllustratedPage, Page

VOID = {"meta", "img", "br", "hr", "link"}


class Outline(HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed by its own."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data))

    def inside(self, tag: str) -> list[str]:
        return [text for parent, text in self.texts if parent == tag]


def figure():
    return face_grid([[np.full((20, 16, 3), 90, np.uint8)]])


def full_page() -> Page:
    page = Page("Faces", "embedded face")
    page.heading("Results")
    page.paragraph("Held-out faces.")
    page.command("python -m experiments.coma_ib --preset demo")
    page.facts([Fact("Reconstruction error", "0.43 mm", "PCA: 1.38 mm"), Fact("Neutral error", "0.02 mm")])
    page.figure(figure(), alt="a face", caption="Figure 4.")
    page.table([{"method": "ours", "error (mm)": 0.43, "paper": 0.663}], caption="Means.")
    return page


def test_a_page_is_well_formed_and_holds_what_was_put_in_in_order():
    html = full_page().html()
    assert html.startswith("<!DOCTYPE html>")
    outline = Outline(html)
    assert outline.inside("title") == outline.inside("h1") == ["Faces"]
    assert outline.inside("p") == ["embedded face", "Held-out faces."]
    assert outline.inside("code") == ["python -m experiments.coma_ib --preset demo"]
    assert outline.inside("dt") == ["Reconstruction error", "Neutral error"]
    assert outline.inside("dd") == ["0.43 mm", "PCA: 1.38 mm", "0.02 mm"]
    assert outline.inside("figcaption") == ["Figure 4.", "Means."]
    parts = [tag for tag, _ in outline.tags if tag in ("h2", "pre", "dl", "img", "table")]
    assert parts == ["h2", "pre", "dl", "img", "table"]


def test_a_page_needs_nothing_from_anywhere():
    html = full_page().html()
    outline = Outline(html)
    assert not {tag for tag, _ in outline.tags} & {"script", "link", "iframe", "object"}
    for _, attributes in outline.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("as_bytes", [False, True])
def test_pictures_are_embedded_whole(as_bytes: bool):
    page = Page("Faces")
    page.figure(png(figure()) if as_bytes else figure(), alt='a "face"')
    ((_, attributes),) = (tag for tag in Outline(page.html()).tags if tag[0] == "img")
    assert attributes["alt"] == 'a "face"'
    with Image.open(io.BytesIO(base64.b64decode(attributes["src"].partition(",")[2]))) as image:
        image.load()
        assert image.size[0] / image.size[1] == pytest.approx(
            int(attributes["width"]) / int(attributes["height"]), rel=0.02
        )


def test_every_text_is_escaped():
    nasty = '</style><script>alert("x")</script>&'
    page = Page(nasty, nasty)
    page.heading(nasty)
    page.paragraph(nasty)
    page.command(nasty)
    page.facts([Fact(nasty, nasty, nasty)])
    page.figure(figure(), alt=nasty, caption=nasty)
    page.table([{nasty: nasty, "command": nasty}], caption=nasty)
    outline = Outline(page.html())
    assert "script" not in {tag for tag, _ in outline.tags}
    assert sum(text == nasty for _, text in outline.texts) == 14


def cells(page: Page) -> list[tuple[str, str]]:
    """Class and text of each cell of the page's table, row by row, the head included."""
    outline = Outline(page.html())
    classes = [attributes.get("class") or "" for tag, attributes in outline.tags if tag in ("th", "td")]
    texts = [text for parent, text in outline.texts if parent in ("th", "td", "code")]
    return list(zip(classes, texts, strict=True))


def test_numbers_stand_right_with_their_decimals_and_what_is_missing_is_a_dash():
    page = Page("t")
    page.table(
        [
            {"method": "ours", "error (mm)": 0.43219, "crossings": np.float32(510.06), "faces": 3},
            {"method": "PCA", "error (mm)": float("nan"), "crossings": None, "mean": "0.43 ± 0.02"},
        ],
        decimals={"crossings": 1},
    )
    head, first, second = (cells(page)[i : i + 5] for i in (0, 5, 10))
    assert [text for _, text in head] == ["method", "error (mm)", "crossings", "faces", "mean"]
    assert [text for _, text in first] == ["ours", "0.432", "510.1", "3", "–"]
    assert [text for _, text in second] == ["PCA", "–", "–", "–", "0.43 ± 0.02"]
    for row in (head, first, second):
        assert [kind for kind, _ in row] == ["", "number", "number", "number", "number"]


def test_paper_and_command_columns_are_set_apart():
    page = Page("t")
    page.table([{"method": "ours", "paper": 0.663, "command": "python -m x"}, {"method": "PCA"}])
    kinds = dict(zip(("method", "paper", "command"), (kind for kind, _ in cells(page)), strict=False))
    assert kinds == {"method": "", "paper": "number paper", "command": ""}
    assert Outline(page.html()).inside("code") == ["python -m x"]


def test_columns_can_be_chosen():
    page = Page("t")
    page.table([{"a": 1, "b": 2, "c": 3}], columns=["c", "a"], decimals=0)
    assert [text for _, text in cells(page)] == ["c", "a", "3", "1"]


def test_a_page_is_written_whole_and_over_the_last_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    page = full_page()
    page.write(path)
    assert path.read_text(encoding="utf-8") == page.html()
    assert list(tmp_path.iterdir()) == [path]


def test_illustrations_are_on_the_page_and_files_beside_it(tmp_path):
    page = IllustratedPage("Faces", "made up", tmp_path / "deep" / "figures")
    page.illustration("grid", figure(), alt="a face", caption="Figure 2.")
    assert [path.name for path in page.folder.iterdir()] == ["grid.png"]
    ((_, attributes),) = (tag for tag in Outline(page.html()).tags if tag[0] == "img")
    assert base64.b64decode(attributes["src"].partition(",")[2]) == (page.folder / "grid.png").read_bytes()
    assert attributes["alt"] == "a face"
    assert Outline(page.html()).inside("figcaption") == ["Figure 2."]
