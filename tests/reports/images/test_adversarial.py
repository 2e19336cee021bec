import numpy as np
import pytest

from facedis_jax.evaluation.images import summary
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.adversarial import LABELS, AdversarialResults, write_adversarial_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE, IMAGES = 8, 9


def test_the_page(tmp_path):
    rng = np.random.default_rng(0)
    codec = ImageCodec(
        infer=lambda images: None,
        decode=lambda latents: np.broadcast_to(latents.appearance[:, :1, None, None], (len(latents[0]), SIZE, SIZE, 3)),
        canonical=lambda appearance: np.full((len(appearance), SIZE, SIZE, 3), 0.5),
        flow=lambda geometry: np.zeros((len(geometry), SIZE, SIZE, 2)),
        appearance_latents=3,
        geometry_latents=2,
    )
    errors = {"likelihood": np.array([1.0, 3.0]), "adversarial": np.array([2.0, 5.0])}
    numbers = {"images": {"train": 20, "test": IMAGES}, "device": "1 x cpu", "sharpness_of_images": 0.5}
    for name, sharpness in (("likelihood", 0.1), ("adversarial", 0.4)):
        numbers[name] = {"squared_error": summary(errors[name]), "sharpness": sharpness, "steps": 7, "seconds": 90.0}
    latents = Latents(rng.uniform(size=(IMAGES, 3)).astype(np.float32), rng.normal(size=(IMAGES, 2)).astype(np.float32))
    results = AdversarialResults(
        numbers=numbers,
        codecs=dict.fromkeys(LABELS, codec),
        images=rng.integers(256, size=(IMAGES, SIZE, SIZE, 3), dtype=np.uint8),
        latents=dict.fromkeys(LABELS, latents),
        predictions=dict.fromkeys(LABELS, codec.decode(latents)),
        rows=dict.fromkeys(LABELS, metric_rows("squared_error")),
    )
    folder = RunFolder.open(tmp_path / "run", {})
    write_adversarial_report(folder, results, command="python -m x", subtitle="faces", traversal_range=(3.0, 2.0))
    page = ShownPage(folder.report_file.read_text(encoding="utf-8"))
    # Sharpness as a part of the images' own.
    assert [value for value, _ in page.facts.values()] == ["20%", "80%"]
    table = page.table("model", "squared error per image", "sharpness")
    ours = table.row(model=LABELS["adversarial"])
    assert (ours["squared error per image"], ours["sharpness"], ours["minutes"]) == ("3.50 ± 1.50", "0.4000", "1.5")
    assert [row["sharpness"] for row in table.rows] == ["0.1000", "0.4000", "0.5000"]
    figures = {"reconstructions", "appearance_basis", "geometry_basis", "geometry_on_others", "recombinations"}
    expected = figures | {f"curves_{name}" for name in LABELS}
    assert check_figures(page, folder.figures) == {f"{name}.png" for name in expected}
