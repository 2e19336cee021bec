import io

import numpy as np
import pytest
from PIL import Image

from facedis_jax.reports.figures import png
from facedis_jax.reports.grids import grid_figure
from facedis_jax.reports.page import Fact, IllustratedPage, Page
from tests.pages import ShownPage, parse, text_of


def figure():
    return grid_figure([[np.full((20, 16, 3), 90, np.uint8)]])


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
    root, page = parse(html), ShownPage(html)
    assert [page.title] == [text_of(element) for element in root.iter("h1")] == ["Faces"]
    assert page.subtitle == "embedded face"
    assert page.paragraphs == ["Held-out faces."]
    assert page.commands == ["python -m experiments.coma_ib --preset demo"]
    assert page.facts == {"Reconstruction error": ("0.43 mm", "PCA: 1.38 mm"), "Neutral error": ("0.02 mm",)}
    assert [text_of(element) for element in root.iter("figcaption")] == ["Figure 4.", "Means."]
    assert [element.get("class") for element in root.iter("dd")] == ["value", "note", "value"]
    parts = [(element.tag, element.get("class")) for element in root.find("body/main")]
    assert parts == [
        ("h2", None), ("p", None), ("pre", None), ("dl", "facts"), ("figure", "image"), ("figure", "table"),
    ]  # fmt: skip


def test_a_page_needs_nothing_from_anywhere():
    html = full_page().html()
    root = parse(html)
    assert not {element.tag for element in root.iter()} & {"script", "link", "iframe", "object"}
    for element in root.iter():
        for name in ("src", "href"):
            assert element.get(name, "data:").startswith("data:")
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("as_bytes", [False, True])
def test_figures_are_embedded_whole(as_bytes: bool):
    page = Page("Faces")
    page.figure(png(figure()) if as_bytes else figure(), alt='a "face"')
    (shown,) = ShownPage(page.html()).images
    assert (shown.media_type, shown.alt, shown.data) == ("image/png", 'a "face"', png(figure()))
    width, height = shown.size
    with Image.open(io.BytesIO(shown.data)) as image:
        image.load()
        assert image.size[0] / image.size[1] == pytest.approx(width / height, rel=0.02)


def test_every_text_is_escaped():
    nasty = '</style><script>alert("x")</script>&'
    page = Page(nasty, nasty)
    page.heading(nasty)
    page.paragraph(nasty)
    page.command(nasty)
    page.facts([Fact(nasty, nasty, nasty)])
    page.figure(figure(), alt=nasty, caption=nasty)
    page.table([{nasty: nasty, "command": nasty}], caption=nasty)
    root = parse(page.html())
    assert "script" not in {element.tag for element in root.iter()}
    assert sum(element.text == nasty for element in root.iter()) == 14
    assert [image.get("alt") for image in root.iter("img")] == [nasty]


def cells(page: Page) -> list[tuple[str, str]]:
    """Class and text of each cell of the page's table, row by row, the head included."""
    shown = (element for element in parse(page.html()).iter() if element.tag in ("th", "td"))
    return [(element.get("class", ""), text_of(element)) for element in shown]


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
    assert [element.text for element in parse(page.html()).iter("code")] == ["python -m x"]


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
    (shown,) = ShownPage(page.html()).images
    assert shown.data == (page.folder / "grid.png").read_bytes()
    assert (shown.alt, shown.caption) == ("a face", "Figure 2.")
