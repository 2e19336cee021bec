import numpy as np
import pytest

from facedis_jax.data.videos.clip_set import ArrayClips, ClipSet, ClipSplit
from facedis_jax.evaluation.recognition import chance, confusions, margin, table_3
from facedis_jax.inference.codecs import VideoCodec
from facedis_jax.learners import FoldResults
from facedis_jax.models import DynamicLatents, Latents, Trajectory
from facedis_jax.reports.videos.recognition import (
    FEATURES,
    MODEL_NAMES,
    TABLE_3_OTHERS,
    RecognitionResults,
    confusion_panels,
    fold_points,
    write_recognition_report,
)
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE, FRAMES, CLIPS, FOLDS = 16, 3, 18, 3
EXPRESSIONS = ("happy", "neutral", "surprise")
LABELS, SUBJECTS = np.arange(CLIPS) % 3, np.arange(CLIPS) // 3
FOLD = SUBJECTS % FOLDS


def recognised(wrong, rng):
    predictions = LABELS.copy()
    predictions[:wrong] = (LABELS[:wrong] + 1) % 3
    right = predictions == LABELS
    accuracy = np.array([right[fold == FOLD].mean() for fold in range(FOLDS)])
    return FoldResults(accuracy, predictions, rng.dirichlet(np.ones(3), CLIPS))


def some_results(wrong):
    """Of features that take the first so many clips for others."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (CLIPS, FRAMES, SIZE, SIZE, 3), np.uint8)
    codec = VideoCodec(
        infer=lambda clips: None,
        decode=lambda latents: np.full((len(latents.geometry.first), FRAMES, SIZE, SIZE, 3), 0.5, np.float32),
        codes=lambda latents: Latents(*(np.repeat(path.first[:, None], FRAMES, axis=1) for path in latents)),
        frames=lambda codes: None,
        flow=lambda geometry: np.zeros((*geometry.shape[:2], SIZE, SIZE, 2), np.float32),
        prior=lambda count, frames: None,
        appearance_latents=2,
        geometry_latents=2,
    )
    found = {name: recognised(count, rng) for name, count in wrong.items()}
    generator = {"parameters": 1234, "squared_error": {"mean": 2.5, "std": 0.5}, "steps": 4, "seconds": 60.0}
    numbers = {
        "clips": CLIPS,
        "people": 6,
        "frames": FRAMES,
        "clips_per_fold": [6, 6, 6],
        "device": "1 x cpu",
        "motion": "relative",
        "chance": chance(LABELS),
        "features": dict.fromkeys(found, 5),
        "accuracy": table_3({"relative": found, "absolute": found}),
        "margin_of_ddf": {name: margin(found["ddf"], each) for name, each in found.items() if name != "ddf"},
        "confusions": {name: confusions(each.predictions, LABELS, 3).tolist() for name, each in found.items()},
        "dynamic": generator,
    }
    if "mocogan" in wrong:
        numbers["mocogan"] = generator
    path = Trajectory(np.zeros((CLIPS, 2), np.float32), np.zeros((CLIPS, FRAMES - 1, 2), np.float32))
    results = RecognitionResults(
        numbers=numbers,
        codec=codec,
        clips=pixels,
        latents=DynamicLatents(path, path),
        labels=LABELS,
        subjects=SUBJECTS,
        expressions=EXPRESSIONS,
        recognised=found,
        rows={"dynamic": metric_rows("squared_error")},
    )
    split = ClipSplit(ArrayClips(pixels), [str(i) for i in range(CLIPS)])
    return ClipSet("faces", split, split, (FRAMES, SIZE, SIZE, 3), "hash"), results


def page_of(path, wrong):
    folder = RunFolder.open(path / "run", {"a": 1})
    write_recognition_report(folder, *some_results(wrong), command="python -m x")
    return folder, ShownPage(folder.report_file.read_text(encoding="utf-8"))


def test_the_page(tmp_path):
    wrong = {"ddf": 1, "dglf": 5, "frames": 9, "frame_network": 4, "optical_flow": 3, "mocogan": 18}
    folder, page = page_of(tmp_path, wrong)
    # 17 of 18 right: folds of 5/6, 1 and 1.
    values = [value for value, _ in page.facts.values()]
    notes = [note for _, note in page.facts.values()]
    assert values == ["94.4 ± 7.9%", "+22.2", "+11.1", "+94.4"]
    assert notes[0] == "above 85%: met; by chance 33%"
    assert all(note.endswith("above 0: met") for note in notes[1:])
    table = page.table("expression from", "behind Ddf", "paper")
    assert [row["expression from"] for row in table.rows] == [*FEATURES.values(), *TABLE_3_OTHERS]
    ours = table.row(expression_from=FEATURES["ddf"])
    assert (ours["per frame"], ours["relative to the first frame (%)"], ours["behind Ddf"]) == ("5", "94.4 ± 7.9", "–")
    published = [row["paper"] for row in table.rows]
    assert published == ["92.0", "85.5", "–", "–", "–", "83.1", "87.7", "87.2", "85.6", "85.4", "82.3"]
    assert check_figures(page, folder.figures) == {
        "folds.png", "confusions.png", "recognised.gif", "mistaken.gif", "curves_dynamic.png",
    }  # fmt: skip


def test_a_page_without_mistakes_and_without_a_mocogan(tmp_path):
    folder, page = page_of(tmp_path, {"ddf": 0, "dglf": 0, "frames": 1})
    (ours, _), (ahead, note) = page.facts.values()
    assert ours == "100.0 ± 0.0%"
    # No more than from the codes.
    assert (ahead, note.endswith("above 0: missed")) == ("+0.0", True)
    shown = [row["expression from"] for row in page.table("expression from", "paper").rows]
    assert FEATURES["mocogan"] not in shown
    assert [row["model"] for row in page.table("model", "parameters").rows] == [MODEL_NAMES["dynamic"]]
    assert not (folder.figures / "mistaken.gif").exists()


def test_points_of_folds_stand_in_the_row_of_their_name():
    accuracies = {"one": np.array([0.5, 0.7]), "other": np.array([0.9, 1.0])}
    axes = fold_points(accuracies).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "other"]
    for i, (points, values) in enumerate(zip(axes.collections, accuracies.values(), strict=True)):
        np.testing.assert_allclose(points.get_offsets()[:, 0], 100 * values)
        assert np.all(np.abs(points.get_offsets()[:, 1] - i) < 0.5)
        np.testing.assert_allclose(axes.lines[i].get_xdata(), 100 * values.mean())


def test_confusions_are_percent_of_each_truth():
    (axes,) = confusion_panels({"one": np.array([[3, 1], [0, 0]])}, ["a", "b"]).axes
    np.testing.assert_allclose(axes.images[0].get_array(), [[75, 25], [0, 0]])
    assert [(text.get_text(), text.get_position()) for text in axes.texts] == [("75", (0, 0)), ("25", (1, 0))]
