import json
from pathlib import Path

import pytest

from facedis_jax.cli.models import ModelsOptions, models
from facedis_jax.errors import InputError
from facedis_jax.inference import shipped
from facedis_jax.inference.example import example_face_model, example_image_model, example_video_model
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.inference.shipped.pack import pack


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Runs of all kinds, one of them within another, one unfinished and one damaged; and a model with a name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path / "shipped")
    kinds = {"faces": example_face_model, "images/deformable": example_image_model, "clips": example_video_model}
    for name, example in kinds.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        example().save(tmp_path / "runs" / name / MODEL_FILE)
    for name in ("begun", "images", "bad"):
        (tmp_path / "runs" / name).mkdir(exist_ok=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "bad" / MODEL_FILE).write_bytes(b"none")
    (tmp_path / "runs" / "faces" / "results.json").write_text(json.dumps({"reconstruction_mm": {"mean": 0.456}}))
    (tmp_path / "shipped").mkdir()
    (tmp_path / "about").write_text("Four people.\nNo hair.")
    pack(tmp_path / "runs" / "faces", "tiny-face", tmp_path / "shipped", about=tmp_path / "about")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_all_models_are_listed_with_what_is_known_of_them(place, capsys):
    assert models(ModelsOptions()) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert lines[1].startswith("tiny-face")
    assert rows["tiny-face"] == rows["runs/faces"] == ["faces", "36", "vertices", "4", "2", "0", "0.46", "mm"]
    assert rows["runs/images/deformable"] == ["images", "8", "pixels", "0"]
    assert rows["runs/clips"] == ["videos", "16", "pixels,", "4", "frames", "0"]
    assert rows["runs/begun:"] == ["no", "model", "yet"]
    assert "no safetensors file" in next(line for line in lines if "bad" in line)
    assert "runs/images:" not in rows


def test_a_folders_runs_are_listed_alone(place, capsys):
    models(ModelsOptions(place / "runs" / "images"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].split("/")[-1] for line in lines] == ["model", "deformable", "none"]


@pytest.mark.parametrize("name", ["tiny-face", "runs/faces", f"runs/faces/{MODEL_FILE}"])
def test_a_card_says_all(place, capsys, name):
    models(ModelsOptions(Path(name)))
    text = capsys.readouterr().out
    for part in ("ann, ben, cem, dan", "jaw_open, smile", "CC0-1.0", "0.456", "vertices"):
        assert part in text
    assert text.startswith(name.removesuffix(f"/{MODEL_FILE}"))
    assert ("Four people.\nNo hair." in text) == (name == "tiny-face")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing: expected a model file, the folder of a finished run, tiny-face, .*found nothing there"),
        ("empty", "empty: expected a folder with runs below it, found none"),
        ("about", "no safetensors file"),
        ("runs/bad", "no safetensors file"),
    ],
)
def test_what_is_no_model_is_one_clear_line(place, name, message):
    with pytest.raises(InputError, match=message):
        models(ModelsOptions(Path(name)))
