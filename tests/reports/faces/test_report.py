import dataclasses

import numpy as np
import pytest

from facedis_jax.evaluation.faces import evaluate, predict
from facedis_jax.reports.faces.report import FaceResults, write_face_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

COMMAND = "python -m experiments.coma_ib --preset tiny --note '<&>'"
FIGURES = {"reconstructions", "kept_motion", "identity_codes", "one_expression_on_many", "swaps", "samples", "errors"}


def results_of(codec, face_set, predictions):
    return evaluate(codec, face_set, predictions, intersection_faces=1)


def write(path, codec, face_set, **options):
    predictions = predict(codec, face_set.test, face_set.neutrals)
    numbers = results_of(codec, face_set, predictions)
    folder = RunFolder.open(path, {})
    results = FaceResults(numbers, codec, face_set, predictions, **options)
    write_face_report(folder, results, title="Faces", subtitle="made-up people", command=COMMAND)
    return ShownPage(folder.report_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("full") / "run"


@pytest.fixture(scope="module")
def results(codec, face_set):
    return results_of(codec, face_set, predict(codec, face_set.test, face_set.neutrals))


@pytest.fixture(scope="module")
def page(folder, codec, face_set):
    return write(folder, codec, face_set, rows=metric_rows("loss", "reconstruction_mm"))


def test_the_page_holds_every_figure_and_the_folder_has_them_as_files(page, folder):
    expected = FIGURES | {"expressions_on_one_identity", "level_sweep", "curves"}
    assert check_figures(page, folder / "figures") == {f"{name}.png" for name in expected}
    assert {path.name for path in folder.iterdir()} == {"config.json", "figures", "report.html"}


def test_the_page_names_its_command_and_its_data(page, face_set):
    assert page.commands == [COMMAND, COMMAND]
    data = {row["data"]: row["value"] for row in page.table("data", "value").rows}
    assert data["content (sha256)"] == face_set.content_hash
    shown = [row["expression"] for row in page.table("expression", "test faces").rows]
    assert shown == [face_set.expressions[number] for number in np.unique(face_set.test.expression)]


def test_numbers_on_the_page_are_those_of_the_results(page, results):
    ours, pca = results["reconstruction_mm"], results["baselines"]["pca"]
    row = page.table("measure", "ours", "paper").row(measure="reconstruction (mm)")
    assert row["ours"] == f"{ours['mean']:.3f} ± {ours['std']:.3f}"
    assert row["PCA"] == f"{pca['reconstruction_mm']['mean']:.3f} ± {pca['reconstruction_mm']['std']:.3f}"
    assert row["paper"] == "0.663 ± 0.215"
    values = [fact[0] for fact in page.facts.values()]
    assert values[:3] == [
        f"{results[n]['mean']:.3f} mm" for n in ("reconstruction_mm", "neutral_mm", "disentanglement_mm")
    ]
    assert page.facts["Error of expressions on other people"][0] == f"{results['transfer_mm']['mean']:.3f} mm"
    assert page.facts["Donor's share of that error"][0] == f"{100 * results['donor_share']:.1f}%"
    for leak, label in (
        ("subject_from_expression", "Subject read from the expression code"),
        ("expression_from_identity", "Expression read from the identity code"),
    ):
        value, note = page.facts[label]
        assert value == f"{100 * results['probes'][leak]['accuracy']:.1f}%"
        assert note.startswith(f"chance {100 * results['probes'][leak]['chance']:.1f}%")
    rivals = page.table("method", "disentanglement (mm)")
    assert rivals.row(method="SpiralNet++") == {
        "method": "SpiralNet++", "disentanglement (mm)": "–", "reconstruction (mm)": "0.543", "neutral (mm)": "–",
    }  # fmt: skip


def test_the_conditional_model_is_shown_by_named_expressions(tmp_path, named_codec, face_set):
    page = write(tmp_path / "run", named_codec, face_set)
    names = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    named = {"named_expressions_1", "named_expressions_2", "named_levels", "free_latent"}
    assert names == FIGURES | named
    assert "1 of 2" in [fact[0] for fact in page.facts.values()]
    results = page.table("measure", "paper", "where")
    assert results.row(measure="reconstruction (mm)")["where"] == "§4.6"
    assert "Training" not in page.headings


def test_expressions_on_other_people_are_told_beside_the_pictures_of_them(page, results):
    table = page.table("measure", "ours", "linear model", "meaning")
    shares = results["transfer"]["error_shares"]
    linear = results["baselines"]["linear"]
    row = table.row(measure="donor's share")
    assert row["ours"] == f"{100 * results['donor_share']:.1f}%"
    assert row["linear model"] == f"{100 * linear['donor_share']:.1f}%"
    assert table.row(measure="average's share")["ours"] == f"{100 * shares['average']:.1f}%"
    assert "512 pairs" in table.caption


def test_kept_motion_stands_beside_each_expression(page, results):
    table = page.table("expression", "kept motion")
    kept, linear = results["kept_motion"], results["baselines"]["linear"]["kept_motion"]
    for row in table.rows:
        name = row["expression"]
        assert row["kept motion"] == (f"{kept[name]:.2f}" if name in kept else "–")
        assert row["linear model's"] == (f"{linear[name]:.2f}" if name in linear else "–")
    weakest = min(kept, key=kept.get)
    value, note = page.facts["Motion kept of the weakest expression"]
    assert value == f"{100 * kept[weakest]:.1f}%"
    assert note.startswith(weakest.replace("_", " "))


def test_who_is_tested_is_said(page, tmp_path, codec, face_set):
    assert any("all 3 have faces in the training half" in text for text in page.paragraphs)
    two = dataclasses.replace(face_set, train=face_set.train.take(np.flatnonzero(face_set.train.subject < 2)))
    third = dataclasses.replace(two, test=face_set.test.take(np.flatnonzero(face_set.test.subject == 2)))
    unseen = write(tmp_path / "unseen", codec, third)
    assert any("people of whom none was learned from, 1 in number" in text for text in unseen.paragraphs)


def test_where_nothing_can_be_transferred_the_page_says_nothing_of_it(tmp_path, codec, face_set):
    """Real scans of one person at rest."""
    rows = np.flatnonzero(face_set.test.subject == 0)[:3]
    test = dataclasses.replace(face_set.test.take(rows), level=np.zeros(3, np.float32))
    train = face_set.train.take(np.flatnonzero(face_set.train.subject == 0))
    page = write(tmp_path / "run", codec, dataclasses.replace(face_set, train=train, test=test, truth=None))
    assert "Error of expressions on other people" not in page.facts
    assert "Motion kept of the weakest expression" not in page.facts
    assert not [table for table in page.tables if "linear model" in table.columns and "meaning" in table.columns]
