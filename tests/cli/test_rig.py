import csv
import sys

import numpy as np
import pytest

from facedis_jax.cli import main
from facedis_jax.cli.rig import RigOptions, rig
from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.model_files import MODEL_FILE
from tests.formats.test_glb import read_glb

TURN = np.float32([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # a quarter, about the vertical axis


@pytest.fixture(scope="module")
def model():
    return example_face_model()


@pytest.fixture
def place(model, tmp_path, monkeypatch):
    """A folder with a model, a face, and three frames of one person."""
    monkeypatch.setattr("facedis_jax.cli.rig.load_faces", lambda path: model)
    (tmp_path / "frames").mkdir()
    faces = model.transfer(*(model.encode(model.trained.neutrals[i]) for i in (0, 1)))
    write_mesh(tmp_path / "face.ply", Mesh(np.asarray(faces), model.triangles))
    codes = model.encode(model.trained.neutrals[0])
    for number, level in ((2, 0.4), (10, 0.9), (1, 0.0)):
        frame = np.asarray(model.expression(codes, "smile", level))
        write_mesh(tmp_path / "frames" / f"f.{number}.ply", Mesh(frame, model.triangles))
    return tmp_path


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def shapes_of(path):
    """The neutral and what the targets add, [vertices, 3] mm, and the weights of the animation."""
    tree, numbers = read_glb(path.read_bytes())
    (primitive,) = tree["meshes"][0]["primitives"]
    base = numbers(primitive["attributes"]["POSITION"]) * 1000.0
    weights = [numbers(each["samplers"][0]["output"]) for each in tree.get("animations", ())]
    return base, [numbers(each["POSITION"]) * 1000.0 for each in primitive["targets"]], weights, tree


def test_targets_at_weight_1_are_the_models_faces(model, place, capsys):
    assert rig(RigOptions(model=place, output=place / "me.glb", face=place / "face.ply")) == 0
    base, offsets, weights, tree = shapes_of(place / "me.glb")
    codes = model.encode(read_mesh(place / "face.ply").vertices)
    np.testing.assert_allclose(base, model.neutral(codes), atol=0.01)
    for offset, name in zip(offsets, model.expressions, strict=True):
        np.testing.assert_allclose(base + offset, model.expression(codes, name), atol=0.01)
    assert tree["meshes"][0]["extras"]["targetNames"] == list(model.expressions)
    assert not weights
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [str(place / "me.glb"), str(place / "me.csv")]
    assert "mm from the model's own" in printed[2]
    assert rows(place / "me.csv")[0] == ["frame", "jaw_open", "smile"]


def test_a_sequence_is_an_animation_in_the_order_of_its_numbers(model, place, capsys):
    rig(RigOptions(model=place, output=place / "me.glb", sequence=place / "frames", fps=50.0))
    base, offsets, (weights,), tree = shapes_of(place / "me.glb")
    table = rows(place / "me.csv")
    assert [row[0] for row in table] == ["frame", "f.1.ply", "f.2.ply", "f.10.ply"]
    written = np.array([row[1:] for row in table[1:]], float)
    np.testing.assert_allclose(weights.reshape(3, 2), written, atol=1e-5)
    played = base + np.tensordot(weights.reshape(3, 2), np.stack(offsets), 1)
    read = np.stack([read_mesh(place / "frames" / f"f.{number}.ply").vertices for number in (1, 2, 10)])
    error = float(capsys.readouterr().out.split(", ")[-1].split()[0])
    np.testing.assert_allclose(np.linalg.norm(played - read, axis=-1).mean(), error, atol=0.01)
    assert tree["animations"][0]["channels"][0]["target"]["path"] == "weights"


def test_kept_detail_gives_the_face_back(model, place):
    options = {"model": place, "face": place / "face.ply", "keep_detail": True}
    rig(RigOptions(output=place / "detail.glb", **options))
    rig(RigOptions(output=place / "plain.glb", **{**options, "keep_detail": False}))
    detailed, plain = (shapes_of(place / f"{name}.glb")[0] for name in ("detail", "plain"))
    face = read_mesh(place / "face.ply").vertices
    np.testing.assert_allclose(detailed - plain, face - model.decode(model.encode(face)).full, atol=0.01)


def test_shapes_as_obj_lie_where_the_face_does(model, place):
    face = read_mesh(place / "face.ply").vertices
    write_mesh(place / "moved.ply", Mesh((face @ TURN.T + [300, -20, 900]) / 1000, model.triangles))
    rig(RigOptions(model=place, output=place / "me.obj", face=place / "moved.ply", align=True, unit="m"))
    rig(RigOptions(model=place, output=place / "here.obj", face=place / "face.ply", align=True))
    for name in ("", "_jaw_open", "_smile"):
        there, here = (read_mesh(place / f"{start}{name}.obj").vertices for start in ("me", "here"))
        np.testing.assert_allclose(there * 1000, here @ TURN.T + [300, -20, 900], atol=0.05)


def test_names_of_shapes_make_no_other_paths(model, place):
    from facedis_jax.reports.faces.rigged import file_names

    names = ["../../etc/passwd", "Smile", "smile", "", "///", "a b", "é", "x" * 300]
    found = file_names(names)
    assert len({name.lower() for name in found}) == len(names)
    assert all(name and set(name) & set("/\\ ") == set() and len(name) < 80 for name in found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"face": None}, "scan: expected a scan, a face or a sequence, found none of them"),
        ({"sequence": "frames"}, "a scan, a face or a sequence, found face and sequence"),
        ({"output": "me.fbx"}, r"a rig to write \(.glb, .obj\), found the ending '.fbx'"),
        ({"output": "me.ply"}, "the ending '.ply'"),
        ({"output": "nowhere/me.glb"}, "a folder that exists"),
        ({"output": "folder.glb"}, "a file to write, found a folder"),
        ({"face": "missing.ply"}, "missing.ply"),
        ({"face": None, "sequence": "missing"}, "missing: expected a folder of meshes"),
        ({"face": None, "sequence": "empty"}, "1 to 20000 meshes in it, found 0"),
        ({"face": None, "scan": "missing.ply"}, "missing.ply: expected a scan that can be read"),
        ({"fps": 0.0}, "fps: expected"),
        ({"fps": np.nan}, "fps: expected"),
        ({"label": "smile"}, "label: .* takes no labels"),
    ],
)
def test_what_cannot_be_rigged(model, place, changes, message):
    (place / "folder.glb").mkdir()
    (place / "empty").mkdir()
    before = set(place.rglob("*"))
    options = {"model": place, "face": "face.ply", "output": "me.glb"} | changes
    for name in ("face", "output", "sequence", "scan"):
        if options.get(name) is not None:
            options[name] = place / options[name]
    with pytest.raises(InputError, match=message):
        rig(RigOptions(**options))
    assert set(place.rglob("*")) == before


def test_an_error_names_the_option(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["facedis", "rig"])
    example_face_model().save(place / MODEL_FILE)
    with pytest.raises(SystemExit) as ended:
        main(["rig", "--model", str(place), "--output", str(place / "me.glb")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: --scan: expected a scan, a face or a sequence, found none of them\n"
