import numpy as np

from facedis_jax.reports.faces.ablation import summarise, write_ablation_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage


def test_intervals_are_students():
    rows = [
        {"beta_id": 1.0, "beta_mi": 0.0, "disentanglement_mm": x, "reconstruction_mm": x, "neutral_mm": 0.0}
        for x in (1.0, 2.0, 3.0)
    ]
    (entry,) = summarise(rows)
    # t with 2 degrees of freedom at 97.5 % is 4.3027; the standard error of 1, 2, 3 is 1 / sqrt(3).
    assert entry["disentanglement_mm"] == 2.0
    np.testing.assert_allclose(entry["disentanglement_mm_interval"], 4.302653 / np.sqrt(3), rtol=1e-6)


def test_the_page(tmp_path):
    rows = [
        {"beta_id": i, "beta_mi": m, "disentanglement_mm": m + i + s, "reconstruction_mm": 1.0, "neutral_mm": 2.0}
        for i, m in ((10.0, 0.0), (10.0, 50.0), (10.0, 100.0))
        for s in range(3)
    ]
    folder = RunFolder.open(tmp_path / "run", {})
    write_ablation_report(folder, rows, summarise(rows), subtitle="made up", command="python -m x")
    page = ShownPage(folder.report_file.read_text(encoding="utf-8"))
    assert page.commands == ["python -m x"]
    assert [image.data for image in page.images] == [(folder.figures / "figure_3_tradeoff.png").read_bytes()]
    published, every = page.tables
    assert [row["model"] for row in published.rows] == ["Ours - beta_mi = 0", "Ours"]
    assert [row["disentanglement (mm)"] for row in every.rows] == [f"{m:.4f} ± 2.4841" for m in (11, 61, 111)]
