import numpy as np
import pytest

from facedis_jax.data.images.image_set import ArrayImages, ImageSet, ImageSplit
from facedis_jax.evaluation.images import pose_difference, summary, view_results
from facedis_jax.inference.codecs import ImageCodec, squared_errors
from facedis_jax.models import Latents
from facedis_jax.reports.images.deformable import MODEL_NAMES, DeformableResults, write_deformable_report
from facedis_jax.training import RunFolder
from tests.pages import ShownPage, check_figures, metric_rows

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE, VIEWS = 8, np.float32([-30, -15, 0, 15, 30])
COMMAND = "python -m experiments.faces_deformable --preset tiny --note '<&>'"
RNG = np.random.default_rng(0)
APPEARANCE = RNG.normal(size=(3, SIZE, SIZE, 3)).astype(np.float32) / 10


def canonical(appearance):
    return np.clip(0.5 + np.tensordot(appearance, APPEARANCE, 1), 0, 1)


def flow(geometry):
    return np.broadcast_to(geometry[:, None, None, :2], (len(geometry), SIZE, SIZE, 2))


def decode(latents):
    """Images warped by whole pixels."""
    shifts = np.round(latents.geometry[:, :2]).astype(int)
    images = canonical(latents.appearance)
    return np.stack([np.roll(image, (-dy, -dx), (0, 1)) for image, (dx, dy) in zip(images, shifts, strict=True)])


CODEC = ImageCodec(
    infer=lambda images: None,
    decode=decode,
    canonical=canonical,
    flow=flow,
    appearance_latents=3,
    geometry_latents=2,
)


def results(*, labels, compare):
    """Four people, each at five views."""
    count = 4 * len(VIEWS)
    latents = Latents(
        np.repeat(RNG.normal(size=(4, 3)), len(VIEWS), axis=0).astype(np.float32),
        RNG.normal(size=(count, 2)).astype(np.float32),
    )
    predictions, images = decode(latents), RNG.integers(256, size=(count, SIZE, SIZE, 3), dtype=np.uint8)
    error = summary(squared_errors(images, predictions))
    models = tuple(MODEL_NAMES) if compare else ("deformable",)
    numbers = {"images": {"train": 30, "test": count}, "device": "1 x cpu (cpu)"}
    for i, name in enumerate(models):
        numbers[name] = {"squared_error": {**error, "mean": 40.0 + i}, "steps": 9, "seconds": 60.0}
    if compare:
        numbers["pca"] = {"squared_error": {**error, "mean": 44.0}}
        numbers["deforming_autoencoder"] |= {"folds": 0.01, "bending_energy": 0.03, "canonical_truth": 0.5}
        numbers["deforming_autoencoder"] |= {"view_from_geometry": 0.4, "chance": {"view": 0.2}}
    covariances = None
    if labels:
        numbers |= {"folds": 0.004, "bending_energy": 0.02, "canonical_truth": 0.25, "canonical_truth_of_images": 0.9}
        numbers |= {f"view_from_{name}": 0.3 for name in ("appearance", "canonical", "geometry")}
        numbers["chance"] = {"view": 0.2}
        views, sittings = np.tile(VIEWS, 4), np.repeat(np.arange(4), len(VIEWS))
        covariances = view_results(latents, views)
        largest = {name: covariances[name]["largest"] for name in Latents._fields}
        numbers["view_covariance"] = {"data": "faces", "images": len(images), **largest, "ratio": covariances["ratio"]}
        numbers["pose_difference"] = pose_difference(images, canonical(latents.appearance), sittings)
        if compare:
            rival = numbers["deforming_autoencoder"]
            rival["view_covariance"] = {"geometry": 1.5, "appearance": 0.5, "ratio": 3.0}
            rival["pose_difference"] = {"canonical": 0.02, "ratio": 0.25}
        labels = {"view": views, "sitting": sittings}
    return DeformableResults(
        numbers=numbers,
        codec=CODEC,
        images=images,
        latents=latents,
        predictions=predictions,
        canonical=canonical(latents.appearance),
        covariances=covariances,
        rows={name: metric_rows("squared_error", "energy_nats") for name in models},
        labels=labels or {},
        rivals=dict.fromkeys(models[1:], (CODEC, latents)),
    )


def write(path, found):
    split = ImageSplit(ArrayImages(found.images), [str(i) for i in range(len(found.images))], found.labels)
    folder = RunFolder.open(path, {})
    images = ImageSet("made-up people", split, split, (SIZE, SIZE, 3), "hash")
    write_deformable_report(folder, images, found, command=COMMAND, traversal_range=(3.0, 2.0))
    return folder, ShownPage(folder.report_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("full") / "run", results(labels=True, compare=True))


ALWAYS = {"reconstructions", "appearance_basis", "geometry_basis", "geometry_on_others", "recombinations"}
OF_VIEWS = {"view_covariance", "latents_against_view", "view_traversals"}
CURVES = {f"curves_{name}" for name in MODEL_NAMES} | {"rivals"}


def test_the_page_holds_every_figure_and_the_folder_has_them_as_files(written):
    folder, page = written
    assert check_figures(page, folder.figures) == {f"{name}.png" for name in ALWAYS | OF_VIEWS | CURVES}


def test_the_page_names_its_command_and_its_data(written):
    _, page = written
    assert page.commands == [COMMAND]
    assert page.subtitle == "made-up people, 8 x 8, 9 steps in 1.0 min on 1 x cpu (cpu)"


def test_every_model_is_in_the_table_and_the_rivals_stand_beside_ours_at_a_glance(written):
    _, page = written
    table = page.table("model", "squared error per image")
    found = {row["model"]: row["squared error per image"].split(" ± ")[0] for row in table.rows}
    assert list(found.values()) == ["40.00", "41.00", "42.00", "43.00", "44.00"]
    assert list(found) == [*MODEL_NAMES.values(), "PCA"]
    (value, note), *_ = page.facts.values()
    assert value == "40.0"
    assert note == "non-deformable ABP: 41.0, VAE: 42.0, deforming autoencoder: 43.0, PCA: 44.0"


def test_covariances_and_differences_are_those_of_the_results(tmp_path):
    found = results(labels=True, compare=False)
    _, page = write(tmp_path / "run", found)
    covariance, difference = found.numbers["view_covariance"], found.numbers["pose_difference"]
    values = [value for value, *_ in page.facts.values()]
    assert values[1:] == [f"{covariance['ratio']:.1f}×", f"{100 * difference['ratio']:.0f}%", "25%", "0.40%"]
    table = page.table("code", "largest covariance with the view")
    shown = {row["code"]: row["largest covariance with the view"] for row in table.rows}
    assert shown == {name: f"{covariance[name]:.3f}" for name in ("geometry", "appearance")}


def test_what_classifiers_read_and_how_flows_bend_stand_in_tables(written):
    _, page = written
    table = page.table("read from", "view")
    assert {row["read from"]: row["view"] for row in table.rows} == {
        "appearance code": "30.0%", "canonical image": "30.0%", "geometric code": "30.0%", "chance": "20.0%",
        "appearance code, deforming autoencoder": "–", "canonical image, deforming autoencoder": "–",
        "geometric code, deforming autoencoder": "40.0%",
    }  # fmt: skip
    values = [row["deformable generator"] for row in page.table("measure", "deformable generator").rows]
    assert values == ["0.4000", "0.0200", "0.2500", "0.9000"]
    values = [row["deforming autoencoder"] for row in page.table("measure", "deforming autoencoder").rows]
    assert values == ["1.0000", "0.0300", "0.5000", "–"]
    covariances = {row["code"]: row["largest covariance with the view"] for row in page.table("code").rows}
    assert covariances["geometry, deforming autoencoder"] == "1.500"
    assert covariances["appearance, deforming autoencoder"] == "0.500"
    differences = page.table("images", "difference between poses").rows
    assert [row["difference between poses"] for row in differences][2:] == ["0.0200"]


def test_of_images_without_labels_nothing_is_said_about_views_or_rivals(tmp_path):
    folder, page = write(tmp_path / "run", results(labels=False, compare=False))
    assert {path.stem for path in folder.figures.iterdir()} == ALWAYS | {"curves_deformable"}
    assert len(page.facts) == 1
    (table,) = page.tables
    assert [row["model"] for row in table.rows] == ["deformable generator"]
