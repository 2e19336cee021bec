import hashlib
import json
import os
import re

import pytest

from facedis_jax.errors import InputError
from facedis_jax.training import RunFolder
from facedis_jax.training.run_folder import first_difference

CONFIG = {"model": {"latents": 8, "widths": (64, 128)}, "seed": 0, "rate": 1e-4}


def test_new_folder_holds_its_config_and_opens_again(tmp_path):
    workdir = tmp_path / "runs" / "one"
    folder = RunFolder.open(workdir, CONFIG | {"workdir": workdir})
    assert json.loads(folder.config_file.read_text()) == {
        "model": {"latents": 8, "widths": [64, 128]},
        "seed": 0,
        "rate": 1e-4,
    }
    assert os.listdir(workdir) == ["config.json"]
    moved = workdir.rename(tmp_path / "moved")
    assert RunFolder.open(moved, CONFIG | {"workdir": moved}).config == folder.config
    assert RunFolder.read(moved).config == folder.config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG | {"seed": 1}, "expected a run with seed = 1, found seed = 0"),
        (
            CONFIG | {"model": {"latents": 4, "widths": (64, 128)}},
            "model.latents = 4, found model.latents = 8",
        ),
        (CONFIG | {"model": {"latents": 8, "widths": (64,)}}, r"model.widths = \[64\]"),
        (
            CONFIG | {"extra": 1},
            "this version of the program, found one of an earlier version, without a setting extra",
        ),
        (CONFIG | {"rate": 2e-4, "seed": 1}, "rate = 0.0002"),
    ],
)
def test_another_config_names_the_first_key_that_differs(tmp_path, config, message):
    RunFolder.open(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match=message):
        RunFolder.open(tmp_path / "run", config)
    assert RunFolder.open(tmp_path / "run", CONFIG)


def test_other_content_of_files_is_said_in_words(tmp_path):
    old, new = ({"data": hashlib.sha256(content).hexdigest()} for content in (b"old", b"new"))
    RunFolder.open(tmp_path / "run", old)
    message = (
        f'a run with data = "{new["data"][:12]}...", found data = "{old["data"][:12]}...", the hash of other content;'
    )
    with pytest.raises(InputError, match=re.escape(message)):
        RunFolder.open(tmp_path / "run", new)


def test_equal_values_of_other_types_differ():
    assert first_difference({"a": 1}, {"a": True}) == ("a", "1", "true")
    assert first_difference({"a": None}, {}) == ("a", "null", "nothing")
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None


def test_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(InputError, match=r"found files but no config.json"):
        RunFolder.open(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["holiday.jpg"]
    with pytest.raises(InputError):
        RunFolder.open(tmp_path / "holiday.jpg", CONFIG)


def test_reading_what_is_not_there_or_broken(tmp_path):
    with pytest.raises(InputError, match="the folder of a run"):
        RunFolder.read(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(InputError, match=r"config.json: expected a JSON file"):
        RunFolder.read(tmp_path)


def test_a_folder_that_is_no_text_is_refused_before_it_is_made(tmp_path):
    path = tmp_path / os.fsdecode(b"na\xefve")
    with pytest.raises(InputError, match=r"na\\udcefve: expected a folder for checkpoints whose path is UTF-8 text"):
        RunFolder.open(path, {})
    assert not path.exists()
