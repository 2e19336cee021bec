"""A whole run with a critic on images of 8 x 8."""

import json
from dataclasses import replace

import pytest

from experiments import faces_adversarial
from experiments.faces_adversarial import AdversarialFacesConfig
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.learners import AbpConfig, AdversarialConfig, LangevinConfig
from facedis_jax.models import GeneratorConfig
from facedis_jax.reports.images.adversarial import LABELS
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.images import ImageDataConfig
from facedis_jax.runs.pixels import TrainingConfig
from tests.pages import ShownPage

pytestmark = pytest.mark.usefixtures("small_figures")

CONFIG = AdversarialFacesConfig(
    data=ImageDataConfig(
        size=8,
        synthetic=SyntheticImageConfig(train_subjects=1, images_per_subject=4, test_subjects=1, views=(0.0, 30.0)),
    ),
    learner=AdversarialConfig(
        AbpConfig(
            model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=3),
            langevin=LangevinConfig(num_steps=2, inference_steps=2),
        )
    ),
    training=TrainingConfig(
        epochs=2, batch_size=4, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=2
    ),
    traversal_range=(3.0, 3.0),
)


def options(workdir):
    return RunOptions(preset="tiny", workdir=workdir, devices=1, quiet=True)


@pytest.mark.thorough
def test_a_run_leaves_its_results_behind(tmp_path):
    path = tmp_path / "run"
    assert faces_adversarial.main(CONFIG, options(path)) == 0
    expected = {"config.json", "results.json", "report.html", "figures", "likelihood", "adversarial"}
    assert {entry.name for entry in path.iterdir()} == expected
    results = json.loads((path / "results.json").read_text())
    assert results["images"] == {"train": 4, "test": 2}
    for name in ("likelihood", "adversarial"):
        assert results[name]["steps"] == 2
        assert results[name]["sharpness"] > 0
    lines = [json.loads(line) for line in (path / "adversarial" / "metrics.jsonl").read_text().splitlines()]
    assert {"critic_nats", "generator_nats", "penalty"} <= lines[0].keys()
    page = ShownPage((path / "report.html").read_text())
    shown = {row["model"]: row["sharpness"] for row in page.table("model", "sharpness").rows}
    assert shown[LABELS["adversarial"]] == f"{results['adversarial']['sharpness']:.4f}"


def test_a_model_of_another_size_leaves_no_folder(tmp_path):
    config = replace(CONFIG, data=replace(CONFIG.data, size=16))
    with pytest.raises(InputError, match="size"):
        faces_adversarial.main(config, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
