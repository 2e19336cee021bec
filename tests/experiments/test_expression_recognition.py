"""Recognition of expressions, from clips to a report, with networks of a few units."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

import facedis_jax
from experiments import expression_recognition as experiment
from facedis_jax.data.synthetic.videos import SyntheticClipConfig
from facedis_jax.data.videos.clip_set import ArrayClips, ClipSplit, stack_clips
from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_image_model
from facedis_jax.learners import LangevinConfig, RecognitionConfig
from facedis_jax.models import DynamicConfig, MocoganConfig
from facedis_jax.reports.videos.recognition import FEATURES
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.pixels import TrainingConfig
from facedis_jax.runs.videos import VideoDataConfig, load_clip_set

pytestmark = pytest.mark.usefixtures("small_figures")

VIDEOS = SyntheticClipConfig(subjects=2, test_subjects=2, expressions=("happy", "surprise"))
TRAINING = TrainingConfig(epochs=1, batch_size=4, evaluation_examples=2)
CONFIG = replace(
    experiment.TINY,
    data=VideoDataConfig(size=16, frames=3, synthetic=VIDEOS),
    learner=replace(
        experiment.TINY.learner,
        model=DynamicConfig(
            size=16, appearance_latents=3, geometry_latents=4, appearance_filters=8, geometry_filters=8
        ),
        langevin=LangevinConfig(num_steps=1, inference_steps=2),
    ),
    training=TRAINING,
    mocogan=replace(
        experiment.TINY.mocogan,
        model=MocoganConfig(content_latents=3, motion_latents=4, motion_noise=2, filters=8, critic_filters=4),
    ),
    mocogan_training=TRAINING,
    recognition=RecognitionConfig(hidden=3, epochs=2, batch_size=4, components=5),
    frame_network=RecognitionConfig(hidden=3, epochs=1, batch_size=4, filters=(4,)),
    folds=2,
)


def options(workdir):
    return RunOptions(preset="tiny", workdir=workdir, devices=1, quiet=True)


def run(config, folder):
    assert experiment.main(config, options(folder)) == 0
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expressions") / "run"
    return folder, run(CONFIG, folder)


def test_every_feature_is_measured_on_every_clip(finished):
    folder, results = finished
    assert (results["clips"], results["people"], results["clips_per_fold"]) == (8, 4, [4, 4])
    pixels, flows = 16 * 16 * 3, 16 * 16 * 2
    others = {"frames": pixels, "frame_network": pixels, "optical_flow": flows, "mocogan": 4}
    assert results["features"] == {"ddf": flows, "dglf": 4, **others}
    for motion in ("relative", "absolute"):
        assert set(results["accuracy"][motion]) == set(FEATURES)
    for name, entry in results["accuracy"]["relative"].items():
        assert entry["mean"] == pytest.approx(np.mean(entry["folds"]))
        # Folds are of one size, so that their mean is that of all clips.
        counts = np.array(results["confusions"][name])
        assert counts.sum(axis=1).tolist() == [4, 4]
        assert np.trace(counts) / 8 == pytest.approx(entry["mean"])
    ahead = results["accuracy"]["relative"]["ddf"]["mean"] - results["accuracy"]["relative"]["mocogan"]["mean"]
    assert results["margin_of_ddf"]["mocogan"]["mean"] == pytest.approx(ahead)
    assert results["dynamic"]["parameters"] > 0
    assert results["mocogan"]["steps"] == 2
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "results.json", "report.html", "figures", "dynamic", "mocogan"}


def test_a_finished_generator_takes_the_place_of_training(finished, tmp_path, monkeypatch):
    path = finished[0] / "dynamic"
    given = []

    def evaluate(run, config, clip_set, dealt, dynamic, mocogan):
        given.append((dynamic, mocogan))
        raise InputError("the test", "no more", "enough")

    monkeypatch.setattr(experiment, "evaluate", evaluate)
    with pytest.raises(InputError, match="enough"):
        experiment.main(replace(CONFIG, video_model=path, compare=False), options(tmp_path / "run"))
    ((dynamic, mocogan),) = given
    assert mocogan is None
    expected = facedis_jax.load(path).params
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, dynamic.params, expected)))
    assert not (tmp_path / "run" / "dynamic").exists()


def test_codes_are_inferred_anew_or_on_from_the_chains():
    dynamic = SimpleNamespace(codec=SimpleNamespace(infer=lambda clips, start=None: (len(clips), start)), chains="them")
    clips = np.zeros((3, 2, 8, 8, 3), np.uint8)
    assert experiment.latents_of(replace(CONFIG, codes="inferred"), dynamic, clips) == (3, None)
    assert experiment.latents_of(replace(CONFIG, codes="chains"), dynamic, clips) == (3, "them")
    config = replace(CONFIG, codes="at_hand")
    assert experiment.latents_of(config, dynamic, clips) == (3, "them")
    # A finished model has none.
    dynamic.chains = None
    assert experiment.latents_of(config, dynamic, clips) == (3, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 10}, "--folds: expected at least one person for each of 10, found 4 people"),
        ({"folds": 1}, "--folds: expected 2 or more"),
        ({"codes": "chains", "video_model": Path("m.npz")}, "--codes"),
        ({"video_model": Path("nothing.npz")}, "nothing there"),
        ({"learner": replace(CONFIG.learner, model=replace(CONFIG.learner.model, size=32))}, "--learner.model.size"),
        ({"mocogan_training": replace(TRAINING, batch_size=9)}, "--mocogan-training.batch-size"),
        ({"data": VideoDataConfig(kind="folders")}, "--data.folder"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        experiment.main(replace(CONFIG, **changes), options(tmp_path / "run"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("dynamic", {"appearance_filters": 16}, "--learner.model.appearance-filters: expected 8, as of"),
        ("dynamic", {"displacement": 0.25}, "--learner.model.displacement: expected"),
        ("mocogan", {}, "no model.safetensors in it"),
        ("model.npz", {}, "weights of an earlier version; the command of their run writes the other"),
        ("image.safetensors", {}, "expected a model of videos, found one of images"),
    ],
)
def test_another_model_is_refused(finished, tmp_path, model, changes, message):
    (tmp_path / "model.npz").write_bytes(b"PK")
    example_image_model().save(tmp_path / "image.safetensors")
    path = tmp_path / model if (tmp_path / model).exists() else finished[0] / model
    learner = replace(CONFIG.learner, model=replace(CONFIG.learner.model, **changes))
    with pytest.raises(InputError, match=message):
        experiment.main(replace(CONFIG, learner=learner, video_model=path), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_clips_of_different_length_are_named_and_leave_no_run_behind(tmp_path):
    for subject, expression, frames in (("ann", "happy", 3), ("ann", "sad", 3), ("ben", "happy", 3), ("ben", "sad", 2)):
        take = tmp_path / "clips" / subject / expression / "take000"
        take.mkdir(parents=True)
        for i in range(frames):
            Image.fromarray(np.full((16, 16, 3), 9 * i, np.uint8)).save(take / f"img_{i:04d}.png")
    data = VideoDataConfig(kind="folders", folder=tmp_path / "clips", size=16, frames=3, prepared=tmp_path / "copies")
    with pytest.raises(InputError, match=r"ben/sad/take000.*3 .*found.* 2") as raised:
        experiment.main(replace(CONFIG, data=data), options(tmp_path / "run"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def a_split(subjects, expressions):
    names = [f"{s}/{e}/{i}" for i, (s, e) in enumerate(zip(subjects, expressions, strict=True))]
    labels = {"subject": np.array(subjects, np.int32), "expression": np.array(expressions, np.int32)}
    return ClipSplit(ArrayClips(np.zeros((len(names), 2, 8, 8, 3), np.uint8)), names, labels)


def test_no_person_is_in_two_folds():
    clips = a_split([0, 0, 1, 1, 2, 2, 3, 3], [0, 1] * 4)
    folds = experiment.person_folds(clips, ("a", "b"), 2)
    assert sorted(np.bincount(folds)) == [4, 4]
    assert all(len(set(folds[clips.labels["subject"] == person])) == 1 for person in range(4))


@pytest.mark.parametrize(
    ("subjects", "expressions", "message"),
    [
        ([0], [0], "two expressions or more"),
        ([0, 0], [0, 1], "at least one person for each of 2, found 1 people"),
        ([0, 0, 1], [0, 1, 0], "two clips or more, found one of 1/0/2 alone"),
        ([0, 0, 0, 1, 1], [0, 1, 1, 0, 0], "every expression by people of two folds or more, found b in one alone"),
        ([0, 0, 1, 1], [0, -1, 0, 1], "0/-1/1: expected a known expression"),
        ([0, 0, 1, 1], [0, 2, 0, 1], "0/2/1: expected one of 2 expressions"),
        ([0, 0, 1, -1], [0, 1, 0, 1], "-1/1/3: expected a known subject"),
    ],
)
def test_clips_that_cannot_be_cross_validated_are_refused(subjects, expressions, message):
    with pytest.raises(InputError, match=re.escape(message)):
        experiment.person_folds(a_split(subjects, expressions), ("a", "b"), 2)


@pytest.mark.parametrize("label", ["subject", "expression"])
def test_labels_are_needed(label):
    clips = a_split([0, 0, 1, 1], [0, 1, 0, 1])
    clips = replace(clips, labels={name: each for name, each in clips.labels.items() if name != label})
    with pytest.raises(InputError, match=f"clips with the label {label}, found none"):
        experiment.person_folds(clips, ("a", "b"), 2)


class _FromDisk:
    """Clips that are no array."""

    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.clips[index]


def test_halves_are_joined_in_order_whether_in_memory_or_not():
    clip_set = load_clip_set(CONFIG.data)
    together = experiment.joined(clip_set)
    frames = np.concatenate([clip_set.train.source.pixels, clip_set.test.source.pixels])
    apart = [replace(half, source=_FromDisk(half.source)) for half in (clip_set.train, clip_set.test)]
    other = experiment.joined(replace(clip_set, train=apart[0], test=apart[1]))
    assert isinstance(together.source, ArrayClips)
    assert isinstance(other.source, experiment.JoinedClips)
    for clips in (together.source, other.source):
        np.testing.assert_array_equal(stack_clips(clips), frames)
        assert [int(clips[i]["index"]) for i in (0, 5)] == [0, 5]
    assert together.names == [*clip_set.train.names, *clip_set.test.names]
    assert len(np.unique(together.labels["subject"])) == 4
    unlabelled = replace(clip_set.test, labels={"subject": clip_set.test.labels["subject"]})
    assert set(experiment.joined(replace(clip_set, test=unlabelled)).labels) == {"subject"}


def test_the_presets():
    paper = experiment.PRESETS["paper"]
    assert (paper.data.size, paper.data.frames, paper.folds, paper.recognition.hidden) == (64, 60, 10, 30)
    assert (paper.learner.model.appearance_filters, paper.learner.model.geometry_filters) == (512, 256)
    for config in experiment.PRESETS.values():
        assert config.data.size == config.learner.model.size
    videos = experiment.DEMO.data.synthetic
    assert videos.subjects + videos.test_subjects >= 40
    assert len(videos.expressions) == 7
