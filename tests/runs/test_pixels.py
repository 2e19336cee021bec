"""What runs on images and on clips say of their data."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.learners import AbpConfig
from facedis_jax.models import GeneratorConfig
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.images import with_channels
from facedis_jax.runs.pixels import open_model_run, report_run


@dataclass(frozen=True)
class _Config:
    seed: int = 0


@pytest.mark.parametrize(("of_data", "of_model", "expected"), [(1, 3, 1), (1, 1, 1), (3, 3, 3), (3, 1, 1)])
def test_grey_images_are_learned_by_a_grey_generator(of_data, of_model, expected):
    """A generator of too few channels is refused by `check_model`."""
    split = ImageSplit(ArrayImages(np.zeros((2, 8, 8, of_data), np.uint8)), ["a", "b"])
    images = ImageSet("faces", split, split, (8, 8, of_data), "hash")
    learner = AbpConfig(model=GeneratorConfig(size=8, channels=of_model))
    assert with_channels(learner, images).model.channels == expected


def test_a_run_tells_what_was_found_of_its_data_at_its_start_and_in_its_results(tmp_path, capsys):
    split = ImageSplit(ArrayImages(np.zeros((2, 8, 8, 3), np.uint8)), ["a", "b"])
    found = {"images": "9 of 10 listed images are there, in img", "split": "none"}
    faces = ImageSet("faces", split, split, (8, 8, 3), "hash", data_files=found)
    made_up = ImageSet("made-up faces", split, split, (8, 8, 3), "hash")
    options = RunOptions(workdir=tmp_path / "run", devices=1)
    data = {"images": faces, "views": made_up, "others": None, "target": faces}
    run = open_model_run("x", _Config(), options, trainings=[], data=data, sources=[])
    line = "images: 9 of 10 listed images are there, in img; split: none"
    assert capsys.readouterr().out == f"faces: {line}\nfaces (target): {line}\n"
    report_run(run, {"error": 1.0}, lambda command: None)
    results = json.loads(run.folder.results_file.read_text())
    assert results["data_files"] == {"faces": found, "faces (target)": found}
