import re

import pytest
from PIL import Image

from facedis_jax.evaluation.faces import evaluate, predict
from facedis_jax.reports.faces.report import write_face_report

pytestmark = pytest.mark.usefixtures("small_pictures")

COMMAND = "python -m experiments.coma_ib --preset tiny --note '<&>'"
ROWS = [
    {"step": s, "split": split, "loss": 10.0 / (s + 1), "reconstruction_mm": 2.0}
    for s in range(3)
    for split in ("train", "test")
]
PICTURES = {"reconstructions", "identity_codes", "one_expression_on_many", "swaps", "samples", "errors"}


def write(folder, codec, face_set, **options):
    predictions = predict(codec, face_set.test, face_set.neutrals)
    write_face_report(
        folder / "report.html",
        title="Faces",
        subtitle="made-up people",
        command=COMMAND,
        face_set=face_set,
        codec=codec,
        predictions=predictions,
        results=evaluate(codec, face_set, predictions, intersection_faces=1),
        figures_folder=folder / "figures",
        **options,
    )
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def page(folder, codec, face_set):
    return write(folder, codec, face_set, metrics_rows=ROWS)


def test_the_page_holds_every_picture_and_the_folder_has_them_as_files(page, folder):
    names = {path.name for path in (folder / "figures").iterdir()}
    expected = PICTURES | {"expressions_on_one_identity", "level_sweep", "curves"}
    assert names == {f"{name}.png" for name in expected}
    for name in names:
        with Image.open(folder / "figures" / name) as image:
            image.verify()
    assert page.count("<img ") == len(names)
    assert {path.name for path in folder.iterdir()} == {"figures", "report.html"}


def test_nothing_is_fetched_from_anywhere(page):
    assert "<script" not in page
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'(?:src|href)="([^"]*)', page))


def test_the_page_names_command_data_and_the_papers_figures(page, face_set):
    assert page.count("--preset tiny --note &#x27;&lt;&amp;&gt;&#x27;") == 2
    assert face_set.content_hash in page
    for text in (
        "0.663 ± 0.215",
        "SpiralNet++",
        "PCA with 5 components",
        face_set.expressions[face_set.test.expression[0]],
        "real CoMA scans",
    ):
        assert text in page, text


def test_every_picture_says_what_is_seen(page):
    pictures = re.findall(r'<figure class="picture">.*?</figure>', page, re.DOTALL)
    assert len(pictures) == page.count("<img ")
    for picture in pictures:
        assert re.search(r'alt="[^"]+"', picture)
        assert re.search(r"<figcaption>.{30,}</figcaption>", picture, re.DOTALL)


def test_the_conditional_model_is_shown_by_named_expressions(tmp_path, named_codec, face_set):
    page = write(tmp_path, named_codec, face_set)
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    named = {"named_expressions_1", "named_expressions_2", "named_levels", "free_latent"}
    assert names == PICTURES | named
    assert "1 of 2 expression latents have collapsed" in page
    assert "§4.6" in page
    assert "<h2>Training</h2>" not in page
