import numpy as np
import pytest

from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.objects import Digits, ObjectResults, TransferredDeformations, write_objects_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE = 8


def codec(appearance_latents, channels):
    def canonical(appearance):
        return np.broadcast_to(appearance[:, :1, None, None] / 2, (len(appearance), SIZE, SIZE, channels))

    return ImageCodec(
        infer=lambda images: None,
        decode=lambda latents: canonical(latents.appearance) + 0.1 * np.tanh(latents.geometry[:, :1, None, None]),
        canonical=canonical,
        flow=lambda geometry: np.broadcast_to(geometry[:, None, None], (len(geometry), SIZE, SIZE, 2)),
        appearance_latents=appearance_latents,
        geometry_latents=2,
    )


def results(predicted, *, cars):
    """Digits 0 to 3, two of each, which are taken for those that are given."""
    rng, truth = np.random.default_rng(0), np.repeat(np.arange(4), 2)
    digits = Digits(
        codec=codec(10, 1),
        images=rng.integers(256, size=(8, SIZE, SIZE, 1), dtype=np.uint8),
        truth=truth,
        predicted=np.array(predicted),
        energies=rng.uniform(size=(8, 10)),
        geometry=rng.normal(size=(8, 10, 2)).astype(np.float32),
        name="made-up digits",
    )
    faces = codec(3, 3)
    images = rng.integers(256, size=(5, SIZE, SIZE, 3), dtype=np.uint8)
    return ObjectResults(
        digits=digits,
        cars=codec(3, 3) if cars else None,
        transferred=TransferredDeformations(faces, images, "made-up images"),
        rows={name: metric_rows("squared_error") for name in ("digits", "faces")},
    )


def write(path, found):
    folder = RunFolder.open(path / "run", {})
    write_objects_report(folder, found, command="python -m x", traversal_range=3.0, device="1 x cpu")
    return folder, ShownPage(folder.report_file.read_text(encoding="utf-8"))


ALWAYS = {"digits_1", "digits_2", "digits_explained", "transferred_1", "transferred_2", "curves_digits", "curves_faces"}


def test_accuracies_are_those_of_the_digits_and_confused_ones_are_shown(tmp_path):
    folder, page = write(tmp_path, results([0, 0, 1, 7, 3, 2, 3, 3], cars=True))
    assert page.subtitle == "made-up digits, made-up images, on 1 x cpu"
    assert [value for value, _ in page.facts.values()] == ["75.0%"]
    rows = page.table("digit", "images", "accuracy").rows
    assert [(row["digit"], row["images"], row["accuracy"]) for row in rows] == [
        ("0", "2", "1.000"), ("1", "2", "0.500"), ("2", "2", "0.500"), ("3", "2", "1.000"),
    ]  # fmt: skip
    expected = ALWAYS | {"digits_confused", "cars"}
    assert check_figures(page, folder.figures) == {f"{name}.png" for name in expected}


def test_without_cars_and_without_mistakes_neither_is_shown(tmp_path):
    folder, page = write(tmp_path, results(np.repeat(np.arange(4), 2), cars=False))
    assert [value for value, _ in page.facts.values()] == ["100.0%"]
    assert check_figures(page, folder.figures) == {f"{name}.png" for name in ALWAYS}


def test_templates_are_decoded_at_the_code_of_their_class():
    digits = results([0] * 8, cars=False).digits
    one_hot = np.eye(10, dtype=np.float32)
    images = digits.codec.decode(Latents(one_hot, np.zeros((10, 2), np.float32)))
    np.testing.assert_allclose(images, digits.codec.canonical(one_hot))
