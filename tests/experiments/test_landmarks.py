"""Landmarks from deformation fields, from images to a report, with networks of a few units."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments import landmarks
from facedis_jax.data.images.labels import LANDMARK_COLUMNS
from facedis_jax.data.synthetic.images import SyntheticImageConfig
from facedis_jax.errors import InputError
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.learners import LangevinConfig, RegressionConfig
from facedis_jax.learners.rivals.images import (
    DeformingNetworks,
    EmbeddingConfig,
    EmbeddingNetworks,
    MaskedAutoencoderConfig,
    MaskedNetworks,
)
from facedis_jax.models import GeneratorConfig, Latents
from facedis_jax.reports.images.landmarks import METHODS
from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.images import DeformingRivalConfig, ImageDataConfig, load_image_set
from facedis_jax.runs.pixels import TrainingConfig
from tests.pages import ShownPage

CONFIG = replace(
    landmarks.TINY,
    data=ImageDataConfig(
        size=8, synthetic=SyntheticImageConfig(train_subjects=4, images_per_subject=2, test_subjects=2)
    ),
    learner=replace(
        landmarks.TINY.learner,
        model=GeneratorConfig(size=8, filters=16, appearance_latents=4, geometry_latents=3),
        langevin=LangevinConfig(num_steps=1, inference_steps=2),
    ),
    training=TrainingConfig(epochs=1, batch_size=4, evaluation_examples=4),
    deforming=DeformingRivalConfig(DeformingNetworks(filters=8, growth=0)),
    embedding=EmbeddingConfig(EmbeddingNetworks(3, (4,), (3,)), epochs=1),
    masked=MaskedAutoencoderConfig(MaskedNetworks(4, 8, 1, 2, 8, 1), epochs=2),
    regression=RegressionConfig(hidden=4, epochs=2, batch_size=4, weight_decays=(0.1,)),
)


def options(workdir):
    return RunOptions(preset="tiny", workdir=workdir, devices=1, quiet=True)


def run(config, folder):
    assert landmarks.main(config, options(folder)) == 0
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_figures):
    folder = tmp_path_factory.mktemp("landmarks") / "run"
    return folder, run(CONFIG, folder)


def test_every_method_of_the_table_is_measured(finished):
    folder, results = finished
    assert set(results["landmark_error_percent"]) == set(METHODS)
    features = {name: chosen["features"] for name, chosen in results["regressors"].items()}
    assert features == {
        "deformation_fields": 8 * 8 * 2, "geometric_latents": 3, "fields_and_latents": 8 * 8 * 2 + 3,
        "both_latents": 7, "pixels": 8 * 8 * 3, "deforming_autoencoder": 8 * 8 * 2,
        "equivariant_embedding": 4 * 4 * 3, "masked_autoencoder": 4 * 8,
    }  # fmt: skip
    assert len(ShownPage((folder / "report.html").read_text()).images) == 8
    assert results["dense_correspondence"]["median"] >= 0
    assert 0 <= results["folds"] <= 1
    steps = {name: effort["steps"] for name, effort in results["rivals"].items()}
    assert steps == {"deforming_autoencoder": 2, "equivariant_embedding": 2, "masked_autoencoder": 4}


def test_the_mean_shape_is_that_of_the_training_images(finished):
    images = load_image_set(CONFIG.data)
    shape = images.train.labels["landmarks"].astype(np.float64).mean(axis=0)
    truth = images.test.labels["landmarks"].astype(np.float64)
    apart = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=1)
    errors = 100 * np.linalg.norm(truth - shape, axis=2).mean(axis=1) / apart
    assert finished[1]["landmark_error_percent"]["mean_shape"]["mean"] == pytest.approx(errors.mean(), rel=1e-5)


@pytest.mark.thorough
def test_the_same_command_trains_no_more(finished):
    folder, results = finished
    metrics = (folder / "deformable" / "metrics.jsonl").read_bytes()
    assert run(CONFIG, folder)["landmark_error_percent"] == results["landmark_error_percent"]
    assert (folder / "deformable" / "metrics.jsonl").read_bytes() == metrics


def test_codes_of_training_images_are_inferred_or_the_chains_last():
    inferred = Latents(np.zeros((8, 3), np.float32), np.zeros((8, 2), np.float32))
    chains = Latents(*(z[:4] + 1 for z in inferred))
    codec = SimpleNamespace(infer=lambda images: Latents(*(z[: len(images)] for z in inferred)))
    model, images = SimpleNamespace(codec=codec, chains=chains), np.zeros((4, 8, 8, 3), np.uint8)
    for kind, expected, shape in (("inferred", 0, (2, 4, 2)), ("chains", 1, (1, 4, 2))):
        codes = landmarks.training_codes(replace(CONFIG, codes=kind), model, images).latents.geometry
        np.testing.assert_array_equal(codes, np.full(shape, expected))


def test_features_are_means_over_samples():
    def infer(images):
        noise = np.random.default_rng(0).normal(size=(len(images), 5)).astype(np.float32)
        codes = images.mean(axis=(1, 2, 3))[:, None] + noise
        return Latents(codes[:, :2], codes[:, 2:])

    def flow(geometry):
        return np.repeat(geometry[:, None, :2] ** 2, 4, axis=1).reshape(-1, 2, 2, 2)

    codec = ImageCodec(infer=infer, decode=None, canonical=None, flow=flow, appearance_latents=2, geometry_latents=3)
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    codes = landmarks.Codes.infer(codec, images, 400)
    assert codes.latents.geometry.shape == (400, 6, 3)
    features = codes.features()
    expected = np.arange(6)[:, None]
    np.testing.assert_allclose(features["geometric_latents"], np.repeat(expected, 3, axis=1), atol=0.2)
    np.testing.assert_allclose(features["both_latents"], np.repeat(expected, 5, axis=1), atol=0.2)
    # The mean of the fields, not the field of the mean: E[z^2] is one more than E[z]^2.
    np.testing.assert_allclose(features["deformation_fields"], np.repeat(expected**2 + 1, 8, axis=1), atol=2)
    assert abs(features["deformation_fields"][0].mean() - 1) < 0.2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"samples": 0}, "--samples"),
        ({"rivals": ("vae",)}, "--rivals: expected some of deforming_autoencoder, equivariant_embedding, masked"),
        ({"masked": MaskedAutoencoderConfig(MaskedNetworks(patch=8))}, "--masked.networks.patch: expected a part of 8"),
        ({"learner": landmarks.TINY.learner}, "--learner.model.size"),
        ({"data": ImageDataConfig(kind="celeba")}, "--data.folder"),
    ],
)
def test_bad_input_leaves_no_run_behind(tmp_path, changes, named):
    with pytest.raises(InputError, match=named) as raised:
        landmarks.main(replace(CONFIG, **changes), options(tmp_path / "run"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_landmarks_are_checked_before_anything_is_trained():
    images = load_image_set(CONFIG.data)
    with pytest.raises(InputError, match="without any"):
        landmarks.check_landmarks(replace(images, train=replace(images.train, labels={})))
    alone = {**images.train.labels, "subject": np.zeros(len(images.train.source), int)}
    with pytest.raises(InputError, match="two people or more"):
        landmarks.check_landmarks(replace(images, train=replace(images.train, labels=alone)))
    points = images.test.labels["landmarks"].copy()
    points[3, 0] = points[3, 1]
    with pytest.raises(InputError, match=re.escape(images.test.names[3])):
        landmarks.check_landmarks(replace(images, test=replace(images.test, labels={"landmarks": points})))


@pytest.fixture
def mafl(tmp_path):
    """CelebA with eight images, of which MAFL has five."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    points = " ".join(map(str, range(10, 20)))
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        Image.new("RGB", (178, 218), (number, 0, 0)).save(folder / "img_align_celeba" / name)
    lines = ["8", " ".join(LANDMARK_COLUMNS), *(f"{name} {points}" for name in names)]
    (folder / "list_landmarks_align_celeba.txt").write_text("\n".join(lines))
    (folder / "training.txt").write_text("\n".join(names[2:5]))
    (folder / "testing.txt").write_text("\n".join(names[6:]))
    data = ImageDataConfig("mafl", folder, 8, prepared=tmp_path / "prepared")
    return replace(landmarks.PRESETS["paper"], data=data)


def test_with_mafl_the_generator_of_the_paper_learns_all_of_celeba_but_its_test_images(mafl):
    images = load_image_set(mafl.data)
    assert images.train.names == ("2.png", "3.png", "4.png")
    learned = landmarks.load_generator_images(mafl, images)
    assert learned.train.names == tuple(f"{number}.png" for number in range(6))
    assert learned.test.names == images.test.names
    assert landmarks.load_generator_images(replace(mafl, generator_images="data"), images) is images
    celeba = replace(mafl, data=replace(mafl.data, kind="celeba"))
    assert landmarks.load_generator_images(celeba, images) is images
    with pytest.raises(InputError, match="--codes: expected inferred"):
        landmarks.load_generator_images(replace(mafl, codes="chains"), images)


def test_the_presets():
    paper = landmarks.PRESETS["paper"]
    assert (paper.training.epochs, paper.data.size, paper.regression.hidden) == (1001, 64, 100)
