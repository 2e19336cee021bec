import dataclasses
import itertools

import numpy as np
import pytest

from facedis_jax.data.pixel_set import StoredPixels
from facedis_jax.evaluation.images import (
    pose_difference,
    reconstruction_by_view,
    reconstructions,
    sharpness,
    strongest_dimensions,
    summary,
    traversal,
    view_results,
)
from facedis_jax.inference.codecs import Decoded, ImageCodec
from facedis_jax.models import Latents

RNG = np.random.default_rng(0)
# Images that are linear in their codes: dimension 2 of the geometry and 1 of the appearance change them most.
APPEARANCE = RNG.normal(size=(3, 4, 4, 1)) * np.array([1, 5, 2])[:, None, None, None]
GEOMETRY = RNG.normal(size=(4, 4, 4, 1)) * np.array([2, 1, 6, 4])[:, None, None, None]


def decode(latents):
    return np.tensordot(latents.appearance, APPEARANCE, 1) + np.tensordot(latents.geometry, GEOMETRY, 1)


def infer(images):
    basis = np.concatenate([APPEARANCE, GEOMETRY]).reshape(7, -1)
    codes = np.linalg.lstsq(basis.T, images.reshape(len(images), -1).T, rcond=None)[0].T
    return Latents(codes[:, :3], codes[:, 3:])


CODEC = ImageCodec(
    infer=infer,
    decode=decode,
    canonical=lambda appearance: np.tensordot(appearance, APPEARANCE, 1),
    flow=lambda geometry: np.broadcast_to(geometry[:, None, None, :2], (len(geometry), 4, 4, 2)),
    appearance_latents=3,
    geometry_latents=4,
)
BASE = Latents(RNG.normal(size=3), RNG.normal(size=4))


def test_a_summary_is_over_images():
    assert summary(np.array([1.0, 2.0, 6.0])) == {"mean": 3.0, "std": pytest.approx(np.sqrt(14 / 3)), "median": 2.0}


def test_errors_are_averaged_by_view():
    errors, views = np.array([1.0, 2.0, 3.0, 5.0, 9.0]), np.float32([0, -30, 0, -30, 30])
    assert reconstruction_by_view(errors, views) == {"-30": 3.5, "0": 2.0, "30": 9.0, "all": 4.0}


@pytest.mark.parametrize("with_geometry", [True, False])
def test_view_results_are_equation_21_over_mean_codes(with_geometry):
    angles = np.array([-30.0, -15.0, 0.0, 15.0, 30.0])
    views = RNG.permutation(np.repeat(angles, 7)).astype(np.float32)
    # A code that follows the view, and one that does not.
    geometry = RNG.normal(size=(35, 4)) + np.outer(views, [0.1, 0, 0, 0])
    appearance = RNG.normal(size=(35, 3))
    results = view_results(Latents(appearance, geometry if with_geometry else None), views)
    np.testing.assert_array_equal(results["angles"], angles)
    theta = angles / np.sqrt(np.sum(angles**2))
    largest = {}
    for name, code in (("appearance", appearance), ("geometry", geometry)):
        if name not in results:
            continue
        mean = np.array(
            [[np.mean([code[i, k] for i in range(35) if views[i] == a]) for k in range(code.shape[1])] for a in angles]
        )
        np.testing.assert_allclose(results[name]["mean"], mean, rtol=1e-5)
        covariance = np.abs(mean.T @ theta)
        np.testing.assert_allclose(results[name]["covariance"], covariance, rtol=1e-4, atol=1e-5)
        largest[name] = covariance.max()
        assert results[name]["largest"] == pytest.approx(covariance.max(), rel=1e-4)
    assert ("ratio" in results) == with_geometry
    if with_geometry:
        assert results["geometry"]["covariance"].argmax() == 0
        assert results["ratio"] == pytest.approx(largest["geometry"] / largest["appearance"], rel=1e-4)


def test_only_a_few_canonical_images_are_made_at_once():
    images = RNG.integers(256, size=(220, 4, 4, 3), dtype=np.uint8)
    canonical, subjects = RNG.uniform(size=images.shape).astype(np.float32), RNG.integers(20, size=220)
    counts = []

    def make(latents):
        counts.append(len(latents))
        return latents

    stored = StoredPixels([{"image": image} for image in images], "image")
    found = pose_difference(stored, Decoded(make, canonical), subjects)
    assert found == pose_difference(images, canonical, subjects)
    assert max(counts) <= 50
    # Of several people each time, or most of what is decoded together would be padding.
    assert sum(counts) == 220
    assert len(counts) < 8


@pytest.mark.parametrize("as_bytes", [True, False])
def test_the_difference_between_poses_is_over_all_pairs_of_each_persons_images(as_bytes):
    images = RNG.integers(256, size=(9, 4, 4, 3), dtype=np.uint8)
    canonical = RNG.uniform(size=(9, 4, 4, 3)).astype(np.float32)
    # The last person's one image has no pair.
    subjects = np.array([4, 7, 4, 7, 7, 4, 4, 7, 9])
    found = pose_difference(images if as_bytes else np.float32(images / 255), canonical, subjects)
    pairs = [(a, b) for a, b in itertools.combinations(range(9), 2) if subjects[a] == subjects[b]]
    assert len(pairs) == 6 + 6
    inputs = np.mean([np.mean((images[a] / 255 - images[b] / 255) ** 2) for a, b in pairs])
    outputs = np.mean([np.mean((np.float64(canonical[a]) - canonical[b]) ** 2) for a, b in pairs])
    assert found == {
        "input": pytest.approx(inputs, rel=1e-5),
        "canonical": pytest.approx(outputs, rel=1e-5),
        "ratio": pytest.approx(outputs / inputs, rel=1e-5),
    }


def test_reconstructions_come_with_codes_and_errors():
    codes = Latents(RNG.normal(size=(5, 3)), RNG.normal(size=(5, 4)))
    noise = RNG.normal(size=(5, 4, 4, 1))
    latents, predictions, errors = reconstructions(CODEC, decode(codes) + noise)
    np.testing.assert_allclose(decode(latents), predictions)
    np.testing.assert_allclose(errors, ((decode(codes) + noise - predictions) ** 2).sum(axis=(1, 2, 3)))
    assert (errors < (noise**2).sum(axis=(1, 2, 3))).all()


def test_the_strongest_dimensions_come_first():
    for which, basis in (("appearance", APPEARANCE), ("geometry", GEOMETRY)):
        order = np.argsort(-np.square(basis).sum(axis=(1, 2, 3)))
        np.testing.assert_array_equal(strongest_dimensions(CODEC, which, BASE, 3.0, 3), order[:3])
    assert len(strongest_dimensions(CODEC, "appearance", BASE, 3.0, 10)) == 3


def test_a_traversal_sets_one_dimension_and_leaves_the_others():
    before = Latents(*(z.copy() for z in BASE))
    values = np.array([-2.0, 0.5, 3.0])
    images = traversal(CODEC, "geometry", BASE, 2, values)
    for image, value in zip(images, values, strict=True):
        geometry = np.where(np.arange(4) == 2, value, BASE.geometry)
        np.testing.assert_allclose(image, decode(Latents(BASE.appearance[None], geometry[None]))[0])
    np.testing.assert_array_equal(np.concatenate(BASE), np.concatenate(before))


def test_of_many_reconstructions_some_are_in_memory_at_a_time():
    sizes = []

    def counted(latents):
        sizes.append(len(latents.appearance))
        return decode(latents)

    codec = dataclasses.replace(CODEC, decode=counted)
    images = decode(Latents(RNG.normal(size=(120, 3)), RNG.normal(size=(120, 4))))
    _, predictions, errors = reconstructions(codec, images)
    assert (sum(sizes), max(sizes), len(errors), len(predictions)) == (120, 50, 120, 120)
    np.testing.assert_allclose(predictions[np.array([3, 110])], images[[3, 110]], atol=1e-8)
    np.testing.assert_array_equal(sharpness(predictions)[100:], sharpness(predictions[100:]))
    assert max(sizes) == 50
