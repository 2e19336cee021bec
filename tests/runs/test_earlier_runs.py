"""Folders of runs of an earlier version are refused with one line that says so, and left as they are."""

import shutil
from pathlib import Path

import pytest

from experiments import coma_ib, faces_deformable
from facedis_jax import load
from facedis_jax.errors import InputError
from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.settings import as_json
from facedis_jax.runs.renamed import new_key
from facedis_jax.training import RunFolder

# The config.json of `--preset tiny`, written before options were renamed.
EARLIER = Path(__file__).parent / "earlier"
TODAY = {"coma_ib": coma_ib.TINY, "faces_deformable": faces_deformable.TINY}


@pytest.fixture(params=sorted(TODAY))
def earlier(request, tmp_path):
    """The folder of an earlier run, and what the same command makes its config today."""
    shutil.copyfile(EARLIER / f"{request.param}.json", tmp_path / "config.json")
    data = read_json(tmp_path / "config.json")["data"]
    return tmp_path, {"experiment": request.param, "data": data, "config": as_json(TODAY[request.param])}


def test_the_same_command_does_not_take_it_for_its_own(earlier):
    folder, today = earlier
    before = (folder / "config.json").read_bytes()
    with pytest.raises(
        InputError, match=r"expected a run of this version.*one of an earlier version, which ca"
    ) as told:
        RunFolder.open(folder, today, new_key=new_key)
    assert str(folder) in str(told.value)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert (folder / "config.json").read_bytes() == before


def test_another_experiment_is_named_first(earlier):
    folder, today = earlier
    with pytest.raises(InputError, match="found experiment = "):
        RunFolder.open(folder, today | {"experiment": "another"}, new_key=new_key)


def test_a_finished_one_says_how_its_model_file_is_made(tmp_path):
    shutil.copyfile(EARLIER / "coma_ib.json", tmp_path / "config.json")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"expected a run with model.safetensors, found one of an earlier version"):
        load(tmp_path)
