"""A whole run on clips of 16 x 16, and what is said of bad input."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

import facedis_jax
from experiments import faces_video
from experiments.faces_video import FacesVideoConfig, frame_learner, latents_per_clip, of_frames
from facedis_jax.data.synthetic.videos import SyntheticClipConfig
from facedis_jax.errors import InputError
from facedis_jax.learners import AbpVideoConfig, LangevinConfig
from facedis_jax.learners.generator_functions import clip_prior
from facedis_jax.models import DynamicConfig
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.pixels import TrainingConfig
from facedis_jax.runs.videos import VideoDataConfig, load_clip_set
from tests.pages import ShownPage

pytestmark = pytest.mark.usefixtures("small_figures")

LANGEVIN = LangevinConfig(num_steps=1, inference_steps=1)
CONFIG = replace(
    faces_video.TINY,
    data=VideoDataConfig(
        size=16, frames=3, synthetic=SyntheticClipConfig(subjects=2, test_subjects=2, expressions=("happy", "surprise"))
    ),
    learner=AbpVideoConfig(
        model=DynamicConfig(
            size=16,
            appearance_latents=4,
            geometry_latents=3,
            appearance_noise=1,
            geometry_noise=2,
            appearance_filters=8,
            geometry_filters=8,
        ),
        langevin=LANGEVIN,
    ),
    training=TrainingConfig(
        epochs=2, batch_size=2, evaluate_every_epochs=2, checkpoint_every_epochs=2, evaluation_examples=2
    ),
    frame_learner=replace(
        faces_video.TINY.frame_learner,
        model=replace(faces_video.TINY.frame_learner.model, filters=8),
        langevin=LANGEVIN,
    ),
    pairs=4,
)


def options(workdir, **changes):
    return RunOptions(**{"preset": "tiny", "workdir": workdir, "devices": 1, "quiet": True, **changes})


@pytest.fixture(scope="module")
def clips():
    return load_clip_set(CONFIG.data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "run"
    assert faces_video.main(CONFIG, options(path)) == 0
    return path


@pytest.mark.thorough
def test_a_run_leaves_its_results_behind(run):
    assert {path.name for path in run.iterdir()} == {
        "config.json", "results.json", "report.html", "figures", "dynamic", "image",
    }  # fmt: skip
    results = json.loads((run / "results.json").read_text())
    assert (results["clips"], results["frames"]) == ({"train": 4, "test": 4}, 3)
    # Both see as many frames in as many steps.
    assert results["dynamic"]["steps"] == results["image"]["steps"] == 4
    for name in ("dynamic", "image"):
        assert 0 < results[name]["squared_error"]["mean"] < 16 * 16 * 3
    assert 0 <= results["share_of_frames_with_lower_error"] <= 1
    # 4 + 2 * 1 and 3 + 2 * 2; rounded up to 2 + 3 for each of three frames.
    assert results["latents_per_clip"] == {"dynamic": 13, "image": 15}
    for name in ("recombination", "recombination_of_training_clips"):
        scores = results[name]
        assert scores["pairs"] == 4
        assert set(scores["level"]) == {"recombined", "reconstructed", "real", "donors", "closer"}
        assert scores["donor"]["chance_person"] == 0.5
        assert scores["person"]["chance"] == 0.5
    # What the reader was fitted to is what it reads best.
    assert scores["level"]["real"]["mean"] > 0.99
    clips = [image for image in ShownPage((run / "report.html").read_text()).images if image.media_type == "image/gif"]
    assert len(clips) == len(list((run / "figures").glob("*.gif"))) == 4


@pytest.mark.thorough
def test_a_models_file_alone_makes_the_clips_of_the_run(run):
    model = facedis_jax.load(run)
    assert [path.name for path in (run / "dynamic").glob("model.*")] == ["model.safetensors"]
    shown = np.asarray(model.decode(model.codes))
    assert shown.shape == (4, 3, 16, 16, 3)
    np.testing.assert_allclose(model.codec.decode(model.codes), shown, atol=1e-6)


@pytest.mark.thorough
def test_the_same_command_on_a_finished_run_trains_no_more(run):
    metrics = (run / "dynamic" / "metrics.jsonl").read_bytes()
    before = json.loads((run / "results.json").read_text())
    assert faces_video.main(CONFIG, options(run)) == 0
    assert (run / "dynamic" / "metrics.jsonl").read_bytes() == metrics
    assert json.loads((run / "results.json").read_text())["recombination"] == before["recombination"]


def test_the_generator_of_frames_has_no_fewer_latents_per_clip(clips):
    for frames in (3, 16, 60):
        model = frame_learner(FacesVideoConfig(), replace(clips, shape=(frames, *clips.shape[1:]))).model
        for per_frame, per_clip in zip(
            (model.appearance_latents, model.geometry_latents), latents_per_clip(DynamicConfig(), frames), strict=True
        ):
            assert 0 <= per_frame * frames - per_clip < frames
    assert (model.size, model.channels) == (16, 3)


def test_the_latents_per_clip_are_those_that_are_inferred():
    shapes = jax.eval_shape(lambda: clip_prior(CONFIG.learner.model, jax.random.key(0), 3))
    sizes = tuple(sum(path.size for path in jax.tree.leaves(kind)) for kind in shapes)
    assert sizes == latents_per_clip(CONFIG.learner.model, 3) == (6, 7)


def test_both_see_as_many_frames_in_a_step():
    training = of_frames(TrainingConfig(batch_size=5, evaluation_examples=10), 16)
    assert (training.batch_size, training.evaluation_examples) == (80, 160)


@pytest.fixture(scope="module")
def real_clips(tmp_path_factory):
    """Folders of frames of three people who each say something twice."""
    folder = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(0)
    for subject in ("anna", "ben", "cleo"):
        for take in ("take000", "take001"):
            path = folder / subject / "speech" / take
            path.mkdir(parents=True)
            for number in range(4):
                frame = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(frame).save(path / f"img_{number:04d}.png")
    return folder


@pytest.mark.thorough
def test_real_clips_are_learned_from_without_levels(real_clips, tmp_path):
    data = VideoDataConfig(
        "folders", real_clips, size=16, frames=3, num_test_subjects=2, prepared=tmp_path / "prepared"
    )
    config = replace(CONFIG, data=data, compare=False)
    assert faces_video.main(config, options(tmp_path / "run")) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["clips"] == {"train": 2, "test": 4}
    assert "image" not in results
    assert set(results["recombination"]) == {"pairs", "donor", "person"}
    assert results["folds"] >= 0
    # Of the one person who is left to learn from, there is nobody to recombine with.
    assert "recombination_of_training_clips" not in results


def with_model(**changes):
    return {"learner": replace(CONFIG.learner, model=replace(CONFIG.learner.model, **changes))}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (with_model(size=32), "--learner.model.size: expected 16"),
        (with_model(channels=1), "--learner.model.channels: expected 3"),
        ({"training": replace(CONFIG.training, batch_size=16)}, "no more than there are clips"),
        ({"training": replace(CONFIG.training, batch_size=3)}, "batch_size"),
        ({"data": VideoDataConfig("folders")}, "--data.folder"),
        ({"data": VideoDataConfig(folder="videos")}, "--data.kind"),
        ({"data": VideoDataConfig("files", "nowhere")}, "nowhere"),
        ({"data": replace(CONFIG.data, frames=1)}, "--data.frames: expected 2"),
        ({"data": replace(CONFIG.data, size=24)}, "size: expected a power of two"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, named):
    with pytest.raises(InputError, match=named) as raised:
        faces_video.main(replace(CONFIG, **changes), options(tmp_path / "run", devices=4))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_recordings_that_are_too_short_leave_no_run_behind(real_clips, tmp_path):
    data = VideoDataConfig("folders", real_clips, size=16, frames=9, prepared=tmp_path / "prepared")
    with pytest.raises(InputError, match="take000"):
        faces_video.main(replace(CONFIG, data=data), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_no_pairs_are_refused():
    with pytest.raises(InputError, match="pairs: expected 1"):
        replace(CONFIG, pairs=0)


def test_the_paper_preset_is_table_5_and_the_nearest_public_code():
    paper = faces_video.PRESETS["paper"]
    assert (paper.data.size, paper.data.frames) == (64, 60)
    assert paper.learner == AbpVideoConfig(model=DynamicConfig())
    assert (paper.learner.langevin.num_steps, paper.learner.langevin.step_size, paper.learner.sigma) == (15, 0.03, 1)
    assert (paper.learner.optimiser.learning_rate, paper.learner.optimiser.beta_1) == (2e-3, 0.5)
    assert paper.training.epochs == 3000
