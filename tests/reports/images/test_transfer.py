import numpy as np
import pytest

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.evaluation.transfer import errors_over_runs, margins
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents
from facedis_jax.reports.images.transfer import (
    SHORT_NAMES,
    TABLE_1,
    TransferResults,
    write_transfer_report,
)
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures

pytestmark = pytest.mark.usefixtures("small_figures")

VIEWS = np.float32([-30, -15, 0, 15, 30])
SIZE = 8


def decode(latents):
    """Images that show the codes, so that every reconstruction differs."""
    level = latents.appearance[:, :1] + (0 if latents.geometry is None else latents.geometry[:, :1])
    return np.broadcast_to(0.5 + 0.1 * np.tanh(level)[..., None, None], (len(level), SIZE, SIZE, 3)).astype(np.float32)


CODEC = ImageCodec(
    infer=lambda images: Latents(np.zeros((len(images), 3), np.float32), np.zeros((len(images), 2), np.float32)),
    decode=decode,
    canonical=lambda appearance: decode(Latents(appearance, None)),
    flow=lambda geometry: np.broadcast_to(geometry[:, None, None], (len(geometry), SIZE, SIZE, 2)),
    appearance_latents=3,
    geometry_latents=2,
)


def rows(level):
    return [
        {"step": step, "split": split, "squared_error": level / step, "energy_nats": 5.0}
        for step in (1, 2)
        for split in ("train", "test")
    ]


def image_set(name, count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    split = ImageSplit(ArrayImages(pixels), [str(i) for i in range(count)], {"view": np.resize(VIEWS, count)})
    return ImageSet(name, split, split, (SIZE, SIZE, 3), "hash")


def results(num_runs, *, labels):
    table = {
        name: errors_over_runs([{**{f"{v:g}": level + r for v in VIEWS}, "all": level} for r in range(num_runs)])
        for name, level in (("deformable", 6.0), ("abp", 10.0), ("vae", 8.0), ("deforming_autoencoder", 9.0))
    }
    codes = np.random.default_rng(1).normal(size=(15, 3)).astype(np.float32)
    images = image_set("target", 15).test
    return TransferResults(
        numbers={
            "images": {"source": 9, "frontal": 7, "test": 15},
            "device": "1 x cpu",
            "runs": num_runs,
            "squared_error": table,
            "margin": margins(table),
            "training": {name: {s: {"steps": 4, "seconds": 60.0} for s in ("source", "frontal")} for name in table},
        },
        codec=CODEC,
        front=images.source.pixels[:7],
        images=images.source.pixels,
        latents=Latents(codes, codes[:, :2]),
        predictions=dict.fromkeys(table, decode(Latents(codes, None))),
        source_rows={name: rows(10.0) for name in table},
        target_rows={name: rows(20.0) for name in table},
        labels={"view": np.resize(VIEWS, 15), **labels},
    )


@pytest.mark.parametrize(
    ("num_runs", "labels", "cell"),
    [
        (1, {"sitting": np.arange(15) // 5}, "8.00"),
        (3, {"subject": np.arange(15) // 5}, "9.00 ± 1.00"),
        (2, {}, "8.50 ± 0.71"),
    ],
)
def test_the_page(tmp_path, num_runs, labels, cell):
    folder = RunFolder.open(tmp_path / "run", {"a": 1})
    found = results(num_runs, labels=labels)
    write_transfer_report(
        folder,
        image_set("source <1>", 9),
        image_set("target", 15),
        found,
        command="python -m x --note '<&>'",
        traversal_range=3,
    )
    page = ShownPage(folder.report_file.read_text(encoding="utf-8"))
    assert page.commands == ["python -m x --note '<&>'"]
    assert page.subtitle.startswith("From source <1> to target, 8 x 8")
    table = page.table("view", *SHORT_NAMES.values())
    row = table.row(view="30°")
    assert row["VAE"] == cell
    assert [row[f"{SHORT_NAMES[name]}, paper"] for name in TABLE_1] == ["110.99", "117.28", "89.94"]
    assert check_figures(page, folder.figures) >= {
        f"{name}.png"
        for name in (
            "frontal_faces",
            "unseen_views_0",
            "grids",
            "transferred_geometry",
            "error_by_view",
            "curves_source",
            "curves_frontal",
        )
    }
