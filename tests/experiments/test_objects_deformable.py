"""A whole run on digits and faces of 8 x 8."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import objects_deformable
from experiments.objects_deformable import DigitDataConfig, ObjectsConfig
from facedis_jax.data.synthetic.digits import DigitConfig
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.learners import AbpConfig, LangevinConfig
from facedis_jax.models import GeneratorConfig
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.images import ImageDataConfig
from facedis_jax.runs.pixels import TrainingConfig
from tests.pages import ShownPage

pytestmark = pytest.mark.usefixtures("small_figures")

SMALL = AbpConfig(
    model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=3),
    langevin=LangevinConfig(num_steps=2, inference_steps=2),
)
TRAINING = TrainingConfig(
    epochs=2, batch_size=4, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=2
)
FEW = ImageDataConfig(size=8, synthetic=SyntheticImageConfig(train_subjects=1, images_per_subject=4, test_subjects=1))
CONFIG = ObjectsConfig(
    digits=DigitDataConfig(synthetic=DigitConfig(train=20, test=10)),
    digit_learner=replace(SMALL, model=replace(SMALL.model, channels=1, appearance_latents=10)),
    digit_training=TRAINING,
    faces=FEW,
    target=FEW,
    learner=SMALL,
    training=TRAINING,
    traversal_range=3.0,
)


def options(workdir):
    return RunOptions(preset="tiny", workdir=workdir, devices=1, quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("objects") / "run"
    assert objects_deformable.main(CONFIG, options(path)) == 0
    return path


@pytest.mark.thorough
def test_a_run_leaves_its_results_behind(run):
    expected = {"config.json", "results.json", "report.html", "figures", "digits", "faces"}
    assert {path.name for path in run.iterdir()} == expected
    results = json.loads((run / "results.json").read_text())
    assert results["digits"]["images"] == {"train": 20, "test": 10}
    assert 0 <= results["digits"]["accuracy"] <= 1
    assert results["digits"]["steps"] == 10
    page = ShownPage((run / "report.html").read_text())
    assert [value for value, _ in page.facts.values()] == [f"{100 * results['digits']['accuracy']:.1f}%"]
    # Of digits and of faces; no cars were given.
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"digits_1", "digits_2", "transferred_1", "transferred_2", "curves_digits", "curves_faces"} <= figures
    assert "cars" not in figures


def test_digits_need_a_code_of_ten(tmp_path):
    config = replace(CONFIG, digit_learner=SMALL)
    with pytest.raises(InputError, match="10, one for each digit"):
        objects_deformable.main(config, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_too_few_digits_for_a_batch_leave_no_folder(tmp_path):
    config = replace(CONFIG, digit_training=replace(TRAINING, batch_size=21))
    with pytest.raises(InputError, match="no more than there are images"):
        objects_deformable.main(config, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"digit_learner": replace(CONFIG.digit_learner, model=replace(CONFIG.digit_learner.model, channels=3))},
            "--digit-learner.model.channels: expected 1",
        ),
        ({"target": replace(FEW, size=16)}, "--target.size: expected 8"),
        ({"faces_model": Path("nowhere")}, "nowhere: expected a model file, the folder of a finished run"),
    ],
)
def test_models_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, changes, named):
    with pytest.raises(InputError, match=named):
        objects_deformable.main(replace(CONFIG, **changes), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
