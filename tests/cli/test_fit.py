"""The command around a fit: what it reads, writes and refuses. Fits themselves: tests/inference/fitting."""

import json

import numpy as np
import pytest
from PIL import Image

from facedis_jax.cli import main
from facedis_jax.cli.fit import FitOptions, fit
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_codes import Code, FaceCodes
from facedis_jax.inference.fitting.results import Distances, FaceFit, Placement

MODEL = example_face_model()
TRIANGLES = MODEL.triangles
FACE = MODEL.trained.neutrals[0].astype(np.float64)
MOVED = FACE + np.array([100.0, 0, 0])


class FakeModel:
    """What is fitted is always the same face, 100 mm aside, in cm."""

    triangles = TRIANGLES

    def __init__(self, **changes):
        self.changes, self.given = changes, None

    def fit(self, points, triangles, **given):
        self.given = {"points": points, "triangles": triangles, **given}
        pose = Placement(np.eye(3), np.array([100.0, 0, 0]), 10.0)
        code = Code(np.zeros(3), np.ones(3))
        found = {
            "codes": FaceCodes(code, code, None),
            "vertices": pose.to_scan(FACE),
            "pose": pose,
            "unit": "cm",
            "distances": Distances(0.1, 0.2, 0.1, 0.2, 1.0),
            "inside": np.ones(len(points), bool),
            "is_bad": False,
            "reason": "",
            "is_inside_out": False,
            "relief": 1.0,
            "vertex_mm": np.where(np.arange(len(FACE)) < 5, np.inf, 0.5),
        }
        return FaceFit(**{**found, **self.changes})


@pytest.fixture
def fake(monkeypatch):
    def load(**changes):
        model = FakeModel(**changes)
        monkeypatch.setattr("facedis_jax.cli.fit.load_faces", lambda path: model)
        return model

    return load


@pytest.fixture
def scan(tmp_path):
    write_mesh(tmp_path / "scan.ply", Mesh(MOVED / 10, TRIANGLES))
    return tmp_path / "scan.ply"


@pytest.mark.parametrize("bare", [False, True])
def test_the_face_an_image_and_the_figures_are_written(fake, scan, tmp_path, capsys, bare):
    if bare:
        np.save(tmp_path / "scan.npy", read_mesh(scan).vertices)
        scan = tmp_path / "scan.npy"
    model = fake(std_mm=np.full(len(FACE), 0.7))
    options = FitOptions(model="m", scan=scan, output=tmp_path / "out.obj", json=tmp_path / "out.json", posterior=5)
    assert fit(options) == 0
    written = read_mesh(tmp_path / "out.obj")
    np.testing.assert_allclose(written.vertices, MOVED / 10, atol=1e-5)
    np.testing.assert_array_equal(written.triangles, TRIANGLES)
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["unit"] == "cm"
    assert figures["vertex_distances_mm"][:6] == [None] * 5 + [0.5]
    assert figures["vertex_std_mm"] == [0.7] * len(FACE)
    with Image.open(tmp_path / "out.png") as image:
        assert np.asarray(image).std() > 10
    assert model.given["config"].posterior_samples == 5
    assert (model.given["triangles"] is None) == bare
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert "unit cm" in printed[-1]


def test_detail_is_what_is_written(fake, scan, tmp_path):
    fake(detail=FACE + 1)
    fit(FitOptions(model="m", scan=scan, output=tmp_path / "out.ply", detail=True))
    np.testing.assert_allclose(read_mesh(tmp_path / "out.ply").vertices, FACE + 1, atol=1e-4)


def test_a_bad_fit_says_why_in_one_line(fake, scan, tmp_path, capsys):
    fake(is_bad=True, reason="the scan covers 20% of the face", vertex_mm=np.full(len(FACE), np.inf))
    fit(FitOptions(model="m", scan=scan, output=tmp_path / "out.ply"))
    assert capsys.readouterr().out.splitlines()[-1].endswith("not to be trusted: the scan covers 20% of the face")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"output": "out.stl"}, "a mesh file to write"),
        ({"output": "nowhere/out.ply"}, "a folder that exists"),
        ({"json": "nowhere/out.json"}, "a folder that exists"),
        ({"json": "out.ply"}, "a file of its own"),
        ({"json": "out.png"}, "a file of its own"),
        ({"json": "folder"}, "a file to write"),
        ({"output": "folder.ply"}, "a file to write"),
        ({"scan": "nothing.ply"}, "nothing.ply"),
        ({"scan": "scan.stl"}, "scan.stl"),
        ({"landmarks": "nothing.json"}, "nothing.json"),
        ({"posterior": -1}, "posterior: expected 0 to 10000"),
        ({"posterior": 10**9}, "posterior: expected 0 to 10000"),
        ({"seed": -1}, "seed: expected 0"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(fake, scan, tmp_path, changes, found):
    fake()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.ply").mkdir()
    before = set(tmp_path.rglob("*"))
    paths = {name: tmp_path / value if isinstance(value, str) else value for name, value in changes.items()}
    with pytest.raises(InputError, match=found):
        fit(FitOptions(**{"model": "m", "scan": scan, "output": tmp_path / "out.ply", **paths}))
    assert set(tmp_path.rglob("*")) == before


def test_a_wrong_landmark_is_one_line_and_code_2(monkeypatch, scan, tmp_path, capsys):
    monkeypatch.setattr("facedis_jax.cli.fit.load_faces", lambda path: MODEL)
    np.save(tmp_path / "scan.npy", np.repeat(FACE, 4, axis=0))
    (tmp_path / "points.json").write_text('{"nose": [1, 2, 3], "1": [1, 2, 4], "2": [3, 4, 5]}')
    words = ["--model", "m", "--scan", "scan.npy", "--output", "out.ply", "--landmarks", "points.json"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["fit", *words])
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: points.json: expected names among ")
    assert printed.endswith("found nose\n")
    assert printed.count("\n") == 1
    assert not (tmp_path / "out.ply").exists()
