"""A whole run on images of 8 x 8, stopped by Ctrl-C on its way."""

import json
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

import facedis_jax
from experiments import faces_deformable
from experiments.faces_deformable import FacesConfig, ViewsConfig
from facedis_jax.data import pipeline
from facedis_jax.data.images.image_set import stack_images
from facedis_jax.data.pipeline import train_batches
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.evaluation.images import reconstructions
from facedis_jax.inference.codecs import ImageCodec, squared_errors
from facedis_jax.learners import AbpConfig, LangevinConfig
from facedis_jax.learners.rivals.images import DeformingNetworks
from facedis_jax.models import GeneratorConfig, Latents
from facedis_jax.runs import images as image_runs
from facedis_jax.runs import pixels as pixel_runs
from facedis_jax.runs.command_line import RunInterrupted, RunOptions
from facedis_jax.runs.images import (
    GENERATOR_RIVALS,
    DeformingRivalConfig,
    ImageDataConfig,
    TrainedImages,
    deforming_autoencoder_like,
    rivals_of,
    without_geometry,
)
from facedis_jax.runs.pixels import ModelRun, TrainingConfig
from tests.pages import ShownPage

pytestmark = pytest.mark.usefixtures("small_figures")

CONFIG = FacesConfig(
    data=ImageDataConfig(
        size=8,
        synthetic=SyntheticImageConfig(train_subjects=2, images_per_subject=5, test_subjects=2, views=(-30, 0, 30)),
    ),
    learner=AbpConfig(
        model=GeneratorConfig(size=8, filters=16, appearance_latents=3, geometry_latents=3, linear_flow=True),
        langevin=LangevinConfig(num_steps=2, inference_steps=2),
    ),
    training=TrainingConfig(
        epochs=4, batch_size=5, evaluate_every_epochs=4, checkpoint_every_epochs=4, evaluation_examples=4
    ),
    deforming=DeformingRivalConfig(DeformingNetworks(filters=8, growth=0)),
    traversal_range=(3.0, 3.0),
)


def options(workdir, **changes):
    return RunOptions(**{"preset": "tiny", "workdir": workdir, "devices": 1, "quiet": True, **changes})


class Watched:
    """Batches before one of which, counted over all models, somebody presses Ctrl-C."""

    def __init__(self, batches, given, stop_at):
        self.batches, self.given, self.stop_at = batches, given, stop_at
        self.get_state, self.set_state = batches.get_state, batches.set_state

    def __iter__(self):
        return self

    def __next__(self):
        self.given.append(1)
        if len(self.given) == self.stop_at:
            signal.raise_signal(signal.SIGINT)
        return next(self.batches)


def start(path, stop_at=None):
    """Runs the experiment; returns how many batches were taken."""
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "train_batches", lambda *a, **k: Watched(iter(train_batches(*a, **k)), given, stop_at))
        if stop_at is None:
            assert faces_deformable.main(CONFIG, options(path)) == 0
        else:
            with pytest.raises(RunInterrupted, match="stopped at step 3 of 8; the same command resumes") as stopped:
                faces_deformable.main(CONFIG, options(path))
            assert stopped.value.exit_code == 130
    return len(given)


@pytest.fixture(scope="module")
def image_set():
    return image_runs.load_image_set(CONFIG.data)


@pytest.fixture(scope="module", autouse=True)
def taken_once(image_set):
    """The images of the configuration, without making them again for each run."""

    def load(data, *option):
        return image_set if data == CONFIG.data else image_runs.load_image_set(data, *option)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces_deformable, "load_image_set", load)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that was stopped within its second model and finished by the same command."""
    path = tmp_path_factory.mktemp("faces") / "run"
    # A model looks at one batch to begin with, and trains on eight.
    start(path, stop_at=9 + 4)
    assert not (path / "results.json").exists()
    # The first model is finished, the second has five steps to go.
    assert start(path) == 1 + (1 + 5) + 2 * 9
    return path


def test_a_run_leaves_its_results_behind(run):
    assert {path.name for path in run.iterdir()} == {
        "config.json", "results.json", "report.html", "figures", "deformable", "abp", "vae", "deforming_autoencoder",
    }  # fmt: skip
    results = json.loads((run / "results.json").read_text())
    assert results["images"] == {"train": 10, "test": 6}
    for name in ("deformable", *GENERATOR_RIVALS):
        assert results[name]["steps"] == 8
        assert 0 < results[name]["squared_error"]["mean"] < 8 * 8 * 3
    assert results["deformable"]["squared_error"] != results["abp"]["squared_error"]
    assert results["view_covariance"]["ratio"] > 0
    # What is said of our warp and codes is said of the rival that has some too.
    rival = results["deforming_autoencoder"]
    for found in (results, rival):
        assert 0 < found["pose_difference"]["ratio"] < 10
        assert 0 <= found["folds"] <= 1
    assert rival["view_covariance"]["ratio"] != results["view_covariance"]["ratio"]
    assert "folds" not in results["vae"]
    page = ShownPage((run / "report.html").read_text())
    assert len(page.images) == len(list((run / "figures").glob("*.png"))) == 13


@pytest.mark.parametrize("name", ["deformable", "vae", "deforming_autoencoder"])
def test_results_of_a_models_file_alone_are_those_of_the_run(run, image_set, name):
    model = facedis_jax.load(run if name == "deformable" else run / name)
    _, _, errors = reconstructions(model.codec, stack_images(image_set.test.source))
    results = json.loads((run / "results.json").read_text())
    np.testing.assert_allclose(errors.mean(), results[name]["squared_error"]["mean"], rtol=1e-6)
    assert (model.origin.experiment, model.origin.licence) == ("faces_deformable", "CC0-1.0")
    assert (model.codes is None) == (name != "deformable")
    if name == "deformable":
        # The largest field is the code's first number, and the chains' codes are in the same axes.
        sizes = np.square(model.params["geometry_network"]["fields"]).sum(axis=1)
        assert np.all(np.diff(sizes) < 0)
        last = [json.loads(line) for line in (run / name / "metrics.jsonl").read_text().splitlines()][3]
        predictions = model.codec.decode(model.codes)
        errors = squared_errors(stack_images(image_set.train.source), predictions)
        assert errors.mean() < 1.5 * last["squared_error"]


def test_every_step_is_logged_once_though_the_run_was_stopped(run):
    for name in ("deformable", *GENERATOR_RIVALS):
        lines = [json.loads(line) for line in (run / name / "metrics.jsonl").read_text().splitlines()]
        assert [(line["step"], line["split"]) for line in lines] == [
            (2, "train"), (4, "train"), (6, "train"), (8, "train"), (8, "test"),
        ]  # fmt: skip


def test_another_configuration_and_other_images_do_not_touch_it(run, image_set, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(InputError, match=r"a run with config\.seed = 1, found config\.seed = 0"):
        faces_deformable.main(replace(CONFIG, seed=1), options(run))
    # The same images in another order: their chains would be each other's.
    other = replace(image_set, content_hash="another order")
    monkeypatch.setattr(faces_deformable, "load_image_set", lambda data: other)
    with pytest.raises(InputError, match=r"a run with data = .another order"):
        faces_deformable.main(CONFIG, options(run))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def with_model(**changes):
    return {"learner": replace(CONFIG.learner, model=replace(CONFIG.learner.model, **changes))}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (with_model(size=16), "--learner.model.size: expected 8"),
        (with_model(geometry_latents=0), "--learner.model.geometry-latents: expected 1 or more"),
        (with_model(channels=1), "--learner.model.channels: expected 3"),
        ({"training": replace(CONFIG.training, batch_size=16)}, "--training.batch-size"),
        ({"training": replace(CONFIG.training, batch_size=6)}, "batch_size"),
        ({"data": ImageDataConfig(kind="celeba")}, "--data.folder"),
        ({"data": ImageDataConfig(folder="photographs")}, "--data.kind"),
        ({"data": ImageDataConfig(kind="folder", folder="nowhere")}, "nowhere"),
        ({"rivals": ("vae", "gan")}, "--rivals: expected some of abp, vae, deforming_autoencoder, .* found gan"),
        ({"rivals": ("vae", "vae")}, "--rivals: expected .* each once, found vae"),
        ({"data": replace(CONFIG.data, size=48)}, "size: expected a power of two"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, named):
    with pytest.raises(InputError, match=named) as raised:
        faces_deformable.main(replace(CONFIG, **changes), options(tmp_path / "run", devices=4))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"epochs": -1.0}, {"evaluation_examples": 0}])
def test_training_on_nothing_is_refused(changes):
    with pytest.raises(InputError, match=f"^{next(iter(changes))}: expected"):
        TrainingConfig(**changes)


def test_devices_that_cannot_share_the_chains_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_runs, "CHAIN_MULTIPLE", 10)
    config = replace(CONFIG, training=replace(CONFIG.training, batch_size=8))
    with pytest.raises(InputError, match="--devices: expected a divisor of 10, found 4"):
        faces_deformable.main(config, options(tmp_path / "run", devices=4))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("views", [(0.0,), (-30.0, 30.0)])
def test_nothing_is_said_about_views_where_there_is_one(image_set, views):
    rows = np.flatnonzero(np.isin(image_set.test.labels["view"], views))
    test = replace(
        image_set.test,
        source=image_set.test.source.take(rows),
        labels={name: values[rows] for name, values in image_set.test.labels.items()},
    )
    codes = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    codec = ImageCodec(
        infer=lambda images: Latents(codes, codes),
        decode=lambda latents: np.full((len(rows), 8, 8, 3), 0.5),
        canonical=lambda appearance: np.full((len(rows), 8, 8, 3), 0.5),
        flow=lambda geometry: np.zeros((len(rows), 8, 8, 2)),
        appearance_latents=3,
        geometry_latents=3,
    )
    run = ModelRun("x", options(None), 0, jax.devices()[:1], None)
    model = TrainedImages(codec, None, None, [], 1, 1.0)
    found = faces_deformable.evaluate(run, replace(image_set, test=test), {"deformable": model})
    assert (found.covariances is not None) == (len(views) > 1)
    for name in ("view_covariance", "pose_difference"):
        assert (name in found.numbers) == (len(views) > 1)


def test_the_models_to_compare_with_have_as_many_latents():
    models = without_geometry(CONFIG.learner)
    for model in (models["abp"].model, models["vae"].model):
        assert (model.appearance_latents, model.geometry_latents) == (6, 0)
        assert model.filters == CONFIG.learner.model.filters
    assert models["vae"].sigma == CONFIG.learner.sigma
    assert models["abp"].langevin == CONFIG.learner.langevin
    rivals = rivals_of(CONFIG.learner, CONFIG.deforming)
    assert list(rivals) == list(GENERATOR_RIVALS)
    sizes = rivals["deforming_autoencoder"].model
    assert (sizes.size, sizes.channels, sizes.appearance_latents, sizes.geometry_latents) == (8, 3, 3, 3)
    # Of the demo's warp, 8 x 8 pixels have no room for fewer steps.
    assert deforming_autoencoder_like(CONFIG.learner, faces_deformable.DEMO.deforming).model.networks.flow_scale == 1


def test_the_models_to_compare_with_are_free_to_draw_turned_heads():
    learner = faces_deformable.DEMO.learner
    assert learner.model.asymmetry_scale > 0
    assert learner.geometry_first_epochs > 0
    models = without_geometry(learner)
    assert models["abp"].model.asymmetry_scale == models["vae"].model.asymmetry_scale == 0
    assert models["abp"].geometry_first_epochs == 0


def test_the_presets():
    for config in faces_deformable.PRESETS.values():
        assert config.data.size == config.learner.model.size


def test_the_paper_preset_is_the_paper_and_its_code():
    config = faces_deformable.PRESETS["paper"]
    model, learner, langevin = config.learner.model, config.learner, config.learner.langevin
    assert (model.size, model.appearance_latents, model.geometry_latents) == (64, 64, 64)
    assert (model.filters, model.filter_balance, model.displacement * model.size) == (128, 0.625, 20)
    assert (langevin.scheme, langevin.num_steps, langevin.step_size) == ("alternating", 20, 0.1)
    assert (learner.sigma, learner.early_sigma, learner.early_epochs) == (1.0, 1.5, 101)
    # The authors compare `epoch <= 100`, counting from 0.
    assert [epoch for epoch, _ in learner.optimiser.steps] == [101, 201, 301, 401, 501, 701, 901]
    assert config.data.max_train == 10_000
    assert (config.training.epochs, config.training.batch_size) == (1001, 100)
    assert config.traversal_range == (10, 8)


@pytest.mark.thorough
def test_covariances_are_measured_on_another_set_where_one_is_given(tmp_path):
    """A model of synthetic images, measured on a folder in Multi-PIE's layout: one image of each of its views."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "multi_pie"
    folder.mkdir()
    for subject in range(2):
        for camera in ("130", "140", "051", "050", "041"):
            for light in range(2):
                pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{subject:03d}_01_01_{camera}_{light:02d}.png")
    config = replace(
        CONFIG,
        views=ViewsConfig(folder, per_view=1, prepared=tmp_path / "prepared"),
        training=replace(CONFIG.training, epochs=1),
        compare=False,
    )
    assert faces_deformable.main(config, options(tmp_path / "run")) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())["view_covariance"]
    assert (found["data"], found["images"]) == ("multi_pie", 5)
    assert found["ratio"] == pytest.approx(found["geometry"] / found["appearance"])


def test_a_folder_of_views_that_is_none_is_refused_before_training(tmp_path):
    config = replace(CONFIG, views=ViewsConfig(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: expected .*Multi-PIE"):
        faces_deformable.main(config, options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
