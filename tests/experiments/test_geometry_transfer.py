"""The transfer of geometry, from images to a report, with networks of a few units."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

import facedis_jax
from experiments import geometry_transfer
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.learners import LangevinConfig
from facedis_jax.learners.rivals.images import DeformingNetworks
from facedis_jax.models import GeneratorConfig
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.images import DeformingRivalConfig, ImageDataConfig
from facedis_jax.runs.pixels import TrainingConfig, open_model_run
from tests.pages import ShownPage

TRAINING = TrainingConfig(epochs=1, batch_size=4, evaluation_examples=4)
CONFIG = replace(
    geometry_transfer.TINY,
    source=ImageDataConfig(
        size=8, synthetic=SyntheticImageConfig(train_subjects=4, images_per_subject=2, test_subjects=2)
    ),
    target=ImageDataConfig(size=8),
    frontal=4,
    learner=replace(
        geometry_transfer.TINY.learner,
        model=GeneratorConfig(size=8, filters=16, appearance_latents=4, geometry_latents=4),
        langevin=LangevinConfig(num_steps=1, inference_steps=2),
    ),
    deforming=DeformingRivalConfig(DeformingNetworks(filters=8, growth=0)),
    training=TRAINING,
    fine_tuning=TRAINING,
)
MODELS = ("deformable", "abp", "vae", "deforming_autoencoder")


def options(workdir):
    return RunOptions(preset="tiny", workdir=workdir, devices=1, quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_figures):
    folder = tmp_path_factory.mktemp("transfer") / "run"
    assert geometry_transfer.main(CONFIG, options(folder)) == 0
    return folder


@pytest.mark.thorough
def test_results_are_of_all_views(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["images"] == {"source": 8, "frontal": 4, "test": 10}
    for name in MODELS:
        table = results["squared_error"][name]
        assert set(table) == {"-30", "-15", "0", "15", "30", "all"}
        views = np.array([table[view]["mean"] for view in table if view != "all"])
        assert np.all((views > 0) & (views < 8 * 8 * 3))
        assert views.mean() == pytest.approx(table["all"]["mean"])
    images = ShownPage((finished / "report.html").read_text()).images
    assert len(images) == len(list((finished / "figures").iterdir())) >= 7


@pytest.mark.thorough
def test_the_bends_stay_as_they_were_and_all_else_is_tuned(finished):
    for name in MODELS:
        before, after = (facedis_jax.load(finished / "run_0" / f"{name}{end}").params for end in ("", "_fine_tuned"))
        for network in before:
            same = jax.tree.leaves(jax.tree.map(np.array_equal, before[network], after[network]))
            assert all(same) if network == "geometry_network" else not any(same), (name, network)


def test_runs_have_seeds_and_folders_of_their_own(tmp_path):
    run = open_model_run(
        "x", replace(CONFIG, seed=5), options(tmp_path / "run"), trainings=[CONFIG.training], data={}, sources=[]
    )
    runs = [geometry_transfer.nth_run(run, number) for number in range(2)]
    assert [each.seed for each in runs] == [5, 6]
    assert [each.folder.path.name for each in runs] == ["run_0", "run_1"]
    # A run's models are not taken for another's.
    (tmp_path / "run" / "run_0").rename(tmp_path / "run" / "moved")
    (tmp_path / "run" / "run_1").rename(tmp_path / "run" / "run_0")
    with pytest.raises(InputError, match="run = 0"):
        geometry_transfer.nth_run(run, 0)


@pytest.mark.thorough
def test_the_same_command_trains_no_more(finished):
    files = sorted(finished.glob("run_*/*/metrics.jsonl"))
    assert len(files) == 2 * len(MODELS)
    before = [path.read_bytes() for path in files]
    results = json.loads((finished / "results.json").read_text())
    assert geometry_transfer.main(CONFIG, options(finished)) == 0
    assert [path.read_bytes() for path in files] == before
    assert json.loads((finished / "results.json").read_text())["squared_error"] == results["squared_error"]


def test_frontal_faces_are_of_view_zero_and_fewer_are_among_more():
    target = geometry_transfer.load_sets(CONFIG).target
    views = np.float32([0, 30, 0, 15, 0, 0, -15, 0])
    target = replace(target, train=replace(target.train, labels={"view": views}))
    pixels = stack_images(target.train.source)
    every, few = (geometry_transfer.frontal_faces(replace(CONFIG, frontal=count), target).pixels for count in (None, 4))
    np.testing.assert_array_equal(every, pixels[views == 0])
    assert len(few) == 4
    assert all(any(np.array_equal(one, other) for other in every) for one in few)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """A folder of images without views, as the configuration of its set."""
    folder = tmp_path_factory.mktemp("portraits")
    for i in range(10):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
    return ImageDataConfig(kind="folder", folder=folder, size=8, prepared=folder.parent / "prepared")


def test_a_target_needs_views(portraits, tmp_path):
    with pytest.raises(InputError, match="known views"):
        geometry_transfer.main(replace(CONFIG, target=portraits), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"runs": 0}, "--runs"),
        ({"rivals": ("abp", "mine")}, "--rivals: expected some of abp, vae"),
        ({"rivals": ()}, "--rivals: expected one or more"),
        ({"target": ImageDataConfig(size=16)}, "--target.size"),
        ({"target": ImageDataConfig(size=8, folder="somewhere")}, "--target"),
        ({"frontal": 3}, "frontal faces"),
        ({"learner": geometry_transfer.TINY.learner}, "--learner.model.size"),
        ({"target": ImageDataConfig(kind="multi_pie", size=8)}, "--target.folder"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, named):
    with pytest.raises(InputError, match=named) as raised:
        geometry_transfer.main(replace(CONFIG, **changes), options(tmp_path / "run"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_every_preset_starts_without_a_data_set(preset, monkeypatch):
    made = []
    monkeypatch.setattr(geometry_transfer, "transfer_images", lambda *given, size, target_model: made.append(size))
    config = geometry_transfer.PRESETS[preset]
    geometry_transfer.load_sets(config)
    assert made == [config.source.size]


def test_the_presets():
    paper = geometry_transfer.PRESETS["paper"]
    assert (paper.runs, paper.frontal, paper.source.max_train) == (10, 1000, 10_000)
    # 1,000 images of each of five views (section 5.2).
    assert (paper.target.max_test, paper.target.max_test_per_view) == (None, 1000)
    assert (paper.training.epochs, paper.training.batch_size, paper.source.size) == (1001, 100, 64)
