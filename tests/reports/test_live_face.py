import base64
import gzip
import io
import json

import numpy as np
import pytest
from PIL import Image

from facedis_jax.inference.example import example_face_model
from facedis_jax.reports.faces.live import live_face
from facedis_jax.reports.page import LiveFace, MorphSlider, Page
from tests.browser import chromium
from tests.pages import parse, text_of


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def model(request):
    return example_face_model(conditional=request.param)


def page_of(face):
    page = Page("Faces")
    page.live_face(face, alt="A face", caption="Sliders move it.")
    return page.html()


def unpacked(html):
    """The base, the triangles and the targets that a page holds."""
    told = json.loads(text_of(parse(html).find(".//figure/script")))
    data = gzip.decompress(base64.b64decode(told["data"]))
    vertices, triangles = told["vertices"], told["triangles"]
    base = np.frombuffer(data, "<f4", 3 * vertices)
    corners = np.frombuffer(data, "<u4", 3 * triangles, 12 * vertices)
    steps = np.frombuffer(data, "<i2", offset=12 * (vertices + triangles)).reshape(-1, vertices, 3)
    return base.reshape(-1, 3), corners.reshape(-1, 3), steps * np.array(told["scales"])[:, None, None]


def test_the_page_holds_the_models_expressions(model):
    face = live_face(model)
    root = parse(html := page_of(face))
    base, triangles, targets = unpacked(html)
    np.testing.assert_array_equal(triangles, model.triangles)
    mean = model.trained.codes[:, :3].mean(0)
    for index, name in enumerate(model.expressions):
        expected = model.functions.decode(model.params, mean, *model.expression_code(name)).full
        np.testing.assert_allclose(base + targets[index], expected, atol=0.01)
    names = [text_of(label).strip() for label in root.iter("label")]
    assert names == ["jaw open", "smile", "identity 1", "identity 2", "identity 3"]
    assert len(targets) == len(names)
    assert root.find(".//canvas").get("aria-label") == "A face"


def test_a_large_face_has_fewer_sliders_and_a_light_page():
    rng = np.random.default_rng(0)
    base = rng.normal(scale=60, size=(6706, 3))
    targets = [rng.normal(size=base.shape) for _ in range(900_000 // base.size)]
    sliders = [MorphSlider("Expression", f"unit {i}", 0.0) for i in range(len(targets))]
    html = page_of(LiveFace(base, np.zeros([13000, 3], np.int32), sliders, targets))
    assert len(targets) > 40
    # Of numbers that cannot be compressed; those of faces have a third of it.
    assert len(html) < 2.9e6


def test_names_are_text_and_no_markup():
    nasty = "</script><script>alert(1)</script>"
    face = LiveFace(np.eye(3), np.array([[0, 1, 2]]), [MorphSlider(nasty, nasty, 0.0)], [np.eye(3)])
    root = parse(page_of(face))
    assert [text_of(label).strip() for label in root.iter("label")] == [nasty]
    assert len(list(root.iter("script"))) == 2


def test_sliders_and_dragging_move_what_is_seen(tmp_path):
    (tmp_path / "page.html").write_text(page_of(live_face(example_face_model())), encoding="utf-8")

    def seen():
        drawn = "document.querySelector('figure.live').dataset.drawn"
        before = browser.value(drawn)
        browser.wait(0.3)
        browser.until(f"{drawn} >= '{before}'")
        browser.screenshot(tmp_path / "seen.png")
        return np.asarray(Image.open(io.BytesIO((tmp_path / "seen.png").read_bytes())).convert("RGB"), np.float32)

    with chromium(tmp_path / "browser") as browser:
        browser.open((tmp_path / "page.html").as_uri(), 800, 700)
        browser.until("document.querySelector('figure.live').dataset.drawn")
        first = seen()
        stage = browser.value(
            "(r => [r.x, r.y, r.width, r.height])(document.querySelector('canvas').getBoundingClientRect())"
        )
        x, y, width, height = (round(each) for each in stage)
        part = np.s_[y : y + height, x : x + width]
        assert first[part].std() > 10
        browser.value("(e => { e.value = 1; e.dispatchEvent(new Event('input')); })(document.querySelector('input'))")
        moved = seen()
        assert np.abs(moved[part] - first[part]).max() > 30
        browser.drag((x + width / 2, y + height / 2), (x + width / 2 + 60, y + height / 2))
        assert np.abs(seen()[part] - moved[part]).max() > 30
        assert browser.requests == [(tmp_path / "page.html").as_uri()]
        assert not browser.complaints
