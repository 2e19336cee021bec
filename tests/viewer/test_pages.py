import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from facedis_jax.cli import main
from facedis_jax.errors import InputError
from facedis_jax.extras import MissingExtra
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh
from facedis_jax.inference.example import example_face_model, example_image_model, example_video_model
from facedis_jax.viewer.face_page import FacePage
from facedis_jax.viewer.image_page import ImagePage, decoder, panels
from facedis_jax.viewer.server import Redraw, open_server
from tests.browser import chromium

# Where the sliders are that are seen.
SLIDERS = """[...document.querySelectorAll('[role=slider]')].map(e => e.getBoundingClientRect()).filter(r => r.width)
  .map(r => [r.x + r.width / 2, r.y + r.height / 2])"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@pytest.fixture
def serve():
    pytest.importorskip("viser")
    servers = []

    def serve(page, model):
        port = free_port()
        servers.append(open_server("test", "127.0.0.1", port))
        return page(servers[-1], model), f"http://127.0.0.1:{port}/"

    yield serve
    for server in servers:
        server.stop()


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slider_moves_the_face_and_a_file_is_saved(serve, tmp_path):
    """Of what the page asks for, all lies on this machine."""
    page, address = serve(FacePage, example_face_model())
    before = page._vertices
    with chromium(tmp_path) as browser:
        browser.open(address, 700, 800)
        browser.until("document.querySelectorAll('[role=slider]').length > 5")

        def drag():
            """Tries again where the page is not ready yet."""
            x, y = browser.value(SLIDERS)[1]
            browser.drag((x, y), (x + 40, y))
            browser.wait(1)
            return page._sliders["identity"][0].value > 0.5

        until(drag, 60)
        until(lambda: np.abs(page._vertices - before).max() > 0.01)
        assert page._who.value == "average person"
        browser.wait(0.5)
        assert browser.received
        browser.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "saved"))
        browser.value("[...document.querySelectorAll('button')].find(e => e.innerText.trim() == 'save').click()")
        until(lambda: (tmp_path / "saved" / "face.ply").exists() or browser.wait(0.1))
        assert browser.requests
        assert all(each.split("://")[1].startswith("127.0.0.1:") for each in browser.requests), browser.requests
        assert not browser.complaints
    np.testing.assert_allclose(read_mesh(tmp_path / "saved" / "face.ply").vertices, page._vertices, atol=0.01)


class Event:
    """What viser hands over when somebody changes a control."""

    def __init__(self, target, client="somebody"):
        self.target, self.client = target, client


class Upload:
    def __init__(self, path):
        self.value = self
        self.name, self.content = path.name, path.read_bytes()


def test_what_controls_do(serve, tmp_path):
    page, _ = serve(FacePage, example_face_model())
    model = page._model
    page._who.value, page._what.value, page._level.value = "ben", "smile", 0.5
    page._named(Event(page._level))
    named = page._target
    assert named.distance(page._choices.face("ben", "smile", 0.5)) == 0
    page._keep(0)
    page._random()
    page._keep(1)
    page._way.value = 0.5
    page._between(Event(page._way))
    assert page._target.distance(page._ends[0].towards(page._ends[1], 0.5)) == 0
    write_mesh(tmp_path / "me.ply", Mesh(model.trained.neutrals[2], model.triangles))
    page._load(Event(Upload(tmp_path / "me.ply")))
    assert page._who.value == page._what.value == "file: me.ply"
    assert not page._note.visible
    page._heat_shown.value = True
    until(lambda: page._draw() is False and page._heat is not None)
    assert not page._face.visible
    (tmp_path / "bad.ply").write_bytes(b"ply")
    page._load(Event(Upload(tmp_path / "bad.ply")))
    assert "bad.ply: expected" in page._note.content
    assert page._note.visible
    page._reset()
    assert page._target.distance(page._choices.face("average person", "neutral", 1.0)) == 0


@pytest.mark.parametrize("example", [example_image_model, example_video_model])
def test_images_follow_their_sliders(serve, example):
    page, _ = serve(ImagePage, example())
    until(lambda: page._sheet is not None)
    before = page._decode(page._latents)["image"]
    page._sliders["geometry"][1].value = 2.0
    page._by_code("geometry", 1, Event(page._sliders["geometry"][1]))
    assert np.abs(page._decode(page._latents)["image"] - before).max() > 0
    page._take("appearance", Event(page._sliders["appearance"][0]))
    page._random()
    page._reset()
    np.testing.assert_array_equal(page._decode(page._latents)["image"], before)


@pytest.mark.parametrize("example", [example_image_model, example_video_model])
def test_a_sheet_has_canonical_image_warp_and_image(example):
    model = example()
    latents = type(model.codes)(
        *(type(x)(*(z if z is None else z[0] for z in x)) if isinstance(x, tuple) else x[0] for x in model.codes)
    )
    decoded = decoder(model)(latents)
    frames = model.frames if example is example_video_model else 1
    assert {name: len(each) for name, each in decoded.items()} == dict.fromkeys(("image", "canonical", "flow"), frames)
    expected = np.asarray(model.decode(latents))
    np.testing.assert_allclose(decoded["image"], expected if frames > 1 else expected[None], atol=1e-5)
    sheet = panels(decoded, frame=99)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] > 2.5 * sheet.shape[0]


def test_what_is_newest_is_drawn_and_no_more_than_needed():
    asked, drawn = [0], []

    def draw():
        drawn.append(asked[0])
        time.sleep(0.01)
        return asked[0] < 200

    redraw = Redraw(draw, rate=1000.0)
    for asked[0] in range(1, 201):
        redraw()
        time.sleep(0.001)
    until(lambda: drawn[-1] == 200)
    time.sleep(0.05)
    assert len(drawn) < 100
    assert drawn == sorted(drawn)


def test_a_port_that_is_taken_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port: expected a free port of 127.0.0.1, found {port}: Address already"):
            open_server("test", "127.0.0.1", port)
    with pytest.raises(InputError, match="port: expected a free port"):
        open_server("test", "127.0.0.1", 70000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["view"], "error: --model: expected one model, found 0\n"),
        (["view", "a", "--model", "b"], "error: --model: expected one model, found 2\n"),
        (["view", "nothing"], "error: nothing: expected a model file, the folder of a finished run"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message, capsys, monkeypatch, tmp_path):
    pytest.importorskip("viser")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["facedis", *arguments])
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(message)


def test_without_the_extra_it_says_what_brings_it(monkeypatch, capsys):
    def missing(part, extra, *modules):
        if extra == "viewer":
            raise MissingExtra(f"{part} needs viser, which pip install 'facedis-jax[viewer]' brings")

    monkeypatch.setattr("facedis_jax.cli.require_extra", missing)
    assert main(["view", str(Path("any"))]) == 2
    assert (
        capsys.readouterr().err == "error: facedis view needs viser, which pip install 'facedis-jax[viewer]' brings\n"
    )
