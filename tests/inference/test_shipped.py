import json
import shutil

import jax
import numpy as np
import pytest

import facedis_jax
from facedis_jax.data.synthetic.expressions import ARKIT_NAMES
from facedis_jax.errors import InputError
from facedis_jax.formats.tensors import read_tensors
from facedis_jax.inference import shipped
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_codes import Code, FaceCodes
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.inference.shipped.pack import fewer_codes, pack, portable_command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shipped"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    example_face_model().save(tmp_path / "run" / MODEL_FILE)
    (tmp_path / "run" / "results.json").write_text(json.dumps({"reconstruction_mm": {"mean": 0.5}, "rank_1": 1.0}))
    (tmp_path / "about.txt").write_text("Faces of four people.\n")
    return tmp_path / "run"


def test_all_that_is_shipped_loads_and_is_small():
    assert {"cc0-face", "cc0-images", "ict-face"} <= shipped.shipped_models().keys()
    for name, path in shipped.shipped_models().items():
        assert facedis_jax.load(name).origin.command
        assert path.stat().st_size <= 12_000_000
        assert read_tensors(path, "a model")[0]["about"] == path.with_name(f"{name}.about.txt").read_text().strip()


def test_the_cc0_face_knows_how_faces_feel():
    model = facedis_jax.load("cc0-face")
    assert {*model.shown_expressions} >= {"angry", "disgust", "fear", "happy", "sad", "surprise"}
    assert {*model.shown_expressions} >= {*ARKIT_NAMES} - {"tongueOut"}
    assert model.origin.licence == "CC0-1.0"
    who = np.asarray(model.trained.codes[:1, : model.config.model.identity_latents])
    person = FaceCodes(Code(who[0], who[0]), Code(*model.trained.codes[:2, who.shape[1] :]), None)
    surprise, happy = (np.asarray(model.expression(person, name)) for name in ("surprise", "happy"))
    chin = surprise[:, 1].argmin()
    assert surprise[chin, 1] < happy[chin, 1] - 5


def test_the_ict_face_moves_as_arkit_names_it():
    model = facedis_jax.load("ict-face")
    assert {*model.shown_expressions} == {*ARKIT_NAMES} - {"tongueOut"}
    assert model.origin.licence.startswith("MIT")
    assert "USC" in shipped.shipped_models()["ict-face"].with_name("ict-face.LICENSE.txt").read_text()
    person = FaceCodes(Code(np.zeros(40), np.ones(40)), Code(np.zeros(48), np.ones(48)), None)
    rest = np.asarray(model.expression(person, "jawOpen", 0.0))
    moved = {
        name: np.asarray(model.expression(person, name)) - rest for name in ("eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
    }
    # The person's left is at x > 0. A lid falls by a centimetre, the chin by several.
    assert rest[np.linalg.norm(moved["eyeBlinkLeft"], axis=1).argmax(), 0] > 20
    assert moved["eyeBlinkLeft"][:, 1].min() < -6
    assert rest[np.linalg.norm(moved["eyeBlinkRight"], axis=1).argmax(), 0] < -20
    assert moved["jawOpen"][:, 1].min() < -25
    np.testing.assert_allclose(model.neutral(person), rest, atol=2)


def test_the_images_keep_a_head_that_flows_turn():
    model = facedis_jax.load("cc0-images")
    assert (model.origin.licence, len(model.codes.geometry)) == ("CC0-1.0", 800)
    some = jax.tree.map(lambda z: z[:6], model.codes)
    # Appearance has the colour of a face, whatever geometry does.
    turned = model.recombine(some, jax.tree.map(lambda z: z[::-1], some))
    made, swapped, canonical = (np.asarray(x) for x in (model.decode(some), turned, model.canonical(some.appearance)))
    assert made.shape == swapped.shape == canonical.shape == (6, 32, 32, 3)
    colour = [x[:, 12:20, 12:20].mean((1, 2)) for x in (made, swapped, canonical)]
    np.testing.assert_allclose(colour[1], colour[0], atol=0.1)
    np.testing.assert_allclose(colour[2], colour[0], atol=0.1)
    assert np.abs(swapped - made).mean() > 0.01


def test_a_packed_run_is_found_by_its_name_and_works_alike(folder, run, tmp_path, monkeypatch):
    monkeypatch.setattr("facedis_jax.inference.shipped.pack._LEAST_HALVED", 100)
    pack(run, "tiny-face", folder, about=tmp_path / "about.txt", notice=tmp_path / "about.txt", licence="one's own")
    assert facedis_jax.load("tiny-face").origin.licence == "one's own"
    card, _ = read_tensors(folder / "tiny-face.safetensors", "a model")
    assert (card["about"], card["figures"]) == ("Faces of four people.", {"reconstruction_mm": 0.5})
    assert (folder / "tiny-face.LICENSE.txt").read_text() == "Faces of four people.\n"
    model, expected = facedis_jax.load("tiny-face"), facedis_jax.load(run)
    codes = model.encode(expected.trained.neutrals)
    np.testing.assert_allclose(model.decode(codes).full, expected.decode(codes).full, atol=0.3)
    assert len(model.trained.neutrals) == 0
    assert (folder / "tiny-face.safetensors").stat().st_size < (run / MODEL_FILE).stat().st_size


def test_fewer_codes_have_the_means_of_all(monkeypatch):
    monkeypatch.setattr("facedis_jax.inference.shipped.pack._MOST_CODES", 12)
    rng = np.random.default_rng(0)
    expression, level = np.arange(90) % 3, np.float32(np.arange(90) // 3 % 2)
    arrays = {"codes": rng.normal(size=(90, 5)), "subject": np.arange(90), "expression": expression, "level": level}
    kept = fewer_codes(arrays)
    assert [len(array) for array in kept.values()] == [12] * 4
    for name in range(3):
        for strength in (0, 1):
            some, of_all = ((x["expression"] == name) & (x["level"] == strength) for x in (kept, arrays))
            np.testing.assert_allclose(kept["codes"][some].mean(0), arrays["codes"][of_all].mean(0), atol=1e-9)


def test_fewer_codes_are_of_as_many_people(monkeypatch):
    monkeypatch.setattr("facedis_jax.inference.shipped.pack._MOST_CODES", 60)
    subject, expression = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    arrays = {"codes": np.zeros((120, 2)), "subject": subject, "expression": expression, "level": np.ones(120)}
    kept = fewer_codes(arrays)
    assert np.bincount(kept["expression"]).tolist() == [20] * 3
    assert {*np.bincount(kept["subject"], minlength=40)} == {1, 2}


def test_a_path_of_the_same_name_comes_first(folder, run):
    shutil.copyfile(run / MODEL_FILE, folder / "tiny.safetensors")
    assert facedis_jax.load("tiny").expressions
    (run.parent / "tiny").mkdir()
    with pytest.raises(InputError, match="tiny: expected the folder of a run"):
        facedis_jax.load("tiny")


def test_an_unknown_name_lists_what_is_shipped(folder, run):
    shutil.copyfile(run / MODEL_FILE, folder / "tiny.safetensors")
    with pytest.raises(InputError, match="small: expected a model file, the folder of a finished run, tiny, found not"):
        facedis_jax.load("small")


def test_a_command_is_shipped_without_its_machine():
    command = "python -m experiments.coma_ib --workdir /home/me/a --data.face-model=/data/ict.npz --seed 1"
    assert portable_command(command) == "python -m experiments.coma_ib --data.face-model=ict.npz --seed 1"
