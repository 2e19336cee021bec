import numpy as np
import pytest

from facedis_jax.evaluation.faces import evaluate, predict
from facedis_jax.reports.faces.report import FaceResults, write_face_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

COMMAND = "python -m experiments.coma_ib --preset tiny --note '<&>'"
FIGURES = {"reconstructions", "identity_codes", "one_expression_on_many", "swaps", "samples", "errors"}


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
    leak = results["probes"]["expression_from_identity"]["accuracy"]
    assert values[3] == f"{100 * leak:.0f}%"
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
