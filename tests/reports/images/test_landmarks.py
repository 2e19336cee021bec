import numpy as np

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.landmarks import (
    METHODS,
    TABLE_2,
    LandmarkResults,
    draw_landmarks,
    write_landmark_report,
)
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

SIZE = 16


def test_landmarks_are_drawn_where_they_are():
    truth, predicted = np.array([[3.0, 4.0]]), np.array([[12.0, 9.0]])
    shown = draw_landmarks(np.full((SIZE, SIZE, 1), 0.5), truth, predicted).astype(int)
    factor = len(shown) / SIZE
    for (x, y), channel in ((truth[0], 1), (predicted[0], 0)):
        colored = shown[..., channel] - np.delete(shown, channel, axis=2).max(axis=2) > 100
        rows, columns = np.nonzero(colored)
        # A pixel's centre is half a pixel from its edge in either resolution.
        np.testing.assert_allclose([columns.mean(), rows.mean()], [(x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5])
    assert shown[0, -1].tolist() == [128, 128, 128]


def test_landmarks_outside_of_the_image_are_not_drawn():
    far = np.array([[-9.0, 40.0]])
    assert np.ptp(draw_landmarks(np.full((SIZE, SIZE, 3), 0.5), far, far)) == 0


def test_the_page(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, SIZE, SIZE, 3), np.uint8)
    truth = rng.uniform(0, SIZE, (6, 5, 2))
    errors = {name: rng.uniform(1, 9, 6) for name in METHODS}
    codec = ImageCodec(
        infer=lambda images: None,
        decode=lambda latents: None,
        canonical=lambda appearance: np.full((len(appearance), SIZE, SIZE, 3), 0.5, np.float32),
        flow=lambda geometry: np.zeros((len(geometry), SIZE, SIZE, 2), np.float32),
        appearance_latents=3,
        geometry_latents=2,
    )
    results = LandmarkResults(
        numbers={
            "images": {"train": 30, "test": 6},
            "device": "1 x cpu",
            "deformable": {"steps": 4, "seconds": 60.0},
            "landmark_error_percent": {
                name: {"mean": 12.5 if name == "deformation_fields" else 30.0, "median": 3.0} for name in METHODS
            },
            "dense_correspondence": {"median": 0.75, "mean": 1.2, "unmoved": 3.5, "pairs": 8},
            "regressors": {"pixels": {"features": 768, "weight_decay": 3.0, "epochs": 7}},
        },
        codec=codec,
        images=pixels,
        latents=Latents(np.zeros((6, 3), np.float32), np.zeros((6, 2), np.float32)),
        predictions=pixels / np.float32(255),
        truth=truth,
        landmarks=dict.fromkeys(METHODS, truth + 1),
        errors=errors,
        rows=metric_rows("squared_error"),
    )
    split = ImageSplit(ArrayImages(pixels), [str(i) for i in range(6)])
    folder = RunFolder.open(tmp_path / "run", {"a": 1})
    faces = ImageSet("faces", split, split, (SIZE, SIZE, 3), "hash")
    write_landmark_report(folder, faces, results, command="python -m x")
    page = ShownPage(folder.report_file.read_text(encoding="utf-8"))
    # Of the distance between the eyes, of the mean shape's error, and of the error from raw pixels.
    assert [value for value, _ in page.facts.values()] == ["12.50%", "42%", "42%", "0.75 px"]
    table = page.table("landmarks from", "error (%)", "paper")
    assert [row["landmarks from"] for row in table.rows[: len(METHODS)]] == list(METHODS.values())
    ours, pixels = table.row(landmarks_from="deformation fields"), table.row(landmarks_from="raw pixels")
    assert (ours["error (%)"], ours["median (%)"], ours["epochs"]) == ("12.50", "3.00", "–")
    assert (pixels["features"], pixels["weight decay"], pixels["epochs"]) == ("768", "3.0", "7")
    published = {row["landmarks from"]: row["paper"] for row in table.rows if row["paper"] != "–"}
    # Each of the paper's figures once, beside what stands for its method here.
    assert published == {
        "deformation fields": "5.18",
        "fields of a deforming autoencoder": "5.45",
        "dense equivariant embedding": "5.83",
        "MTCNN": "5.39",
        "TDCN": "7.95",
    }
    assert sorted(published.values()) == sorted(f"{error:.2f}" for error in TABLE_2.values())
    figures = {"landmarks", "carried_grid", "best_and_worst", "error_distribution", "curves"}
    assert check_figures(page, folder.figures) == {f"{name}.png" for name in figures}
