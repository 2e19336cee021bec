import numpy as np
import pytest

from facedis_jax.evaluation.canonical import (
    canonical_truth,
    carried_points,
    dense_correspondence,
    factor_probes,
    flow_results,
    image_places,
)
from facedis_jax.evaluation.images import pca_errors, view_results
from facedis_jax.inference.codecs import ImageCodec
from facedis_jax.models import Latents

RNG = np.random.default_rng(0)
VIEWS = np.tile(np.float32([-30, -15, 0, 15, 30]), 24)
PEOPLE = np.repeat(np.arange(24), 5)
FACES = RNG.uniform(size=(24, 8, 8, 1)).astype(np.float32)


def codec(flow):
    nothing = lambda *_: None  # noqa: E731
    return ImageCodec(
        infer=nothing, decode=nothing, canonical=nothing, flow=flow, appearance_latents=3, geometry_latents=2
    )


def test_flows_of_all_codes_are_measured_in_parts():
    """Of 101 images, the last one's flow mirrors it."""

    def flow(geometry):
        x = np.broadcast_to(np.arange(8, dtype=np.float32), (len(geometry), 8, 8))
        return np.stack([-2 * x * (geometry[:, :1, None] == 100), np.zeros_like(x)], -1)

    found = flow_results(codec(flow), np.arange(202, dtype=np.float32).reshape(101, 2) // 2)
    assert found["folds"] == pytest.approx(1 / 101, rel=1e-3)
    assert found["bending_energy"] == pytest.approx(0, abs=1e-9)


def test_canonical_images_are_compared_with_the_frontal_one_of_their_sitting():
    shown = np.stack([np.roll(FACES[p], int(v // 15), axis=1) for p, v in zip(PEOPLE, VIEWS, strict=True)])
    found = canonical_truth(shown, FACES[PEOPLE], PEOPLE, VIEWS)
    assert found["canonical"] == pytest.approx(0, abs=1e-9)
    assert found["images"] > 0.3
    # Those of other people have twice the variance.
    assert canonical_truth(shown, FACES[PEOPLE - 1], PEOPLE, VIEWS)["canonical"] > 1


@pytest.mark.parametrize("views", [VIEWS + 40, np.where(PEOPLE == 0, VIEWS, 90)])
def test_without_frontal_images_of_two_sittings_there_is_no_truth(views):
    assert canonical_truth(FACES[PEOPLE], FACES[PEOPLE], PEOPLE, views) is None


def test_classifiers_read_from_each_code_what_it_holds():
    person = RNG.normal(size=(24, 30)).astype(np.float32)[PEOPLE] + 0.01 * RNG.normal(size=(120, 30))
    view = VIEWS[:, None] * np.float32([[1, 0.5]]) + 0.01 * RNG.normal(size=(120, 2))
    found = factor_probes(Latents(person, view), FACES[PEOPLE], VIEWS, PEOPLE)
    assert found["chance"] == {"view": 1 / 5, "person": 1 / 24}
    assert found["view_from_geometry"] == 1
    assert found["person_from_appearance"] > 0.7
    assert found["person_from_canonical"] > 0.7
    assert found["view_from_appearance"] < 0.45
    assert found["person_from_geometry"] < 0.2


@pytest.mark.parametrize(
    ("views", "people", "absent"),
    [
        (None, PEOPLE, "view"),
        (np.zeros(120), PEOPLE, "view"),
        (RNG.uniform(-30, 30, 120), PEOPLE, "view"),  # every image at a view of its own
        (VIEWS, None, "person"),
        (VIEWS, np.arange(120), "person"),
    ],
)
def test_what_is_not_known_of_enough_images_is_not_classified(views, people, absent):
    code = RNG.normal(size=(120, 2)).astype(np.float32)
    found = factor_probes(Latents(code, None), FACES[PEOPLE], views, people)
    assert not any(name.startswith(absent) for name in found)
    assert absent not in found["chance"]
    assert len(found) == 3  # from the appearance and from canonical images, and chance


def test_a_pca_of_as_many_numbers_as_there_are_factors_has_no_error():
    images = np.tensordot(RNG.normal(size=(30, 3)), FACES[:3], 1).astype(np.float32)
    np.testing.assert_allclose(pca_errors(images[:20], images[20:], 3), 0, atol=1e-6)
    mean = images[:20].mean(axis=0)
    exact = np.square(images[20:] - mean).sum(axis=(1, 2, 3))
    assert np.all(pca_errors(images[:20], images[20:], 1) < exact)


def test_a_code_that_never_changes_has_no_covariance_with_views_of_one_side():
    views = np.repeat(np.float32([0, 15, 30]), 4)
    codes = Latents(np.ones((12, 2), np.float32), np.stack([views, np.ones(12)], 1))
    found = view_results(codes, views)
    np.testing.assert_allclose(found["appearance"]["covariance"], 0, atol=1e-6)
    assert found["geometry"]["covariance"].argmax() == 0


def shifting(geometry):
    """Flows that shift by the code."""
    return np.broadcast_to(geometry[:, None, None], (len(geometry), 16, 16, 2))


def test_points_are_carried_by_the_canonical_image():
    y, x = np.mgrid[:16, :16].astype(np.float64)
    stretched, shifted = np.stack([0.25 * (x - 8), 0 * y], -1), np.stack([0 * x, 0 * y + 1.5], -1)
    points = np.array([[8.0, 5.0], [6.0, 9.5]])
    np.testing.assert_allclose(carried_points(stretched, shifted, points), [[8, 3.5], [5.5, 8]], atol=0.07)
    np.testing.assert_allclose(carried_points(shifted, stretched, np.array([[8.0, 3.5], [5.5, 8]])), points, atol=0.07)
    np.testing.assert_allclose(image_places(shifted, points), points - [0, 1.5], atol=0.07)


def test_correspondence_is_measured_on_what_is_seen_from_both_sides():
    """Codes hold the true shift of two people's views, but for one person's left view, which is half a pixel off."""
    views, sittings = np.float32([-30, 0, 30, 60] * 2), np.repeat([0, 1], 4)
    shifts = np.stack([views / 15, 0 * views], -1)
    points = np.float32([[6, 5], [9, 8], [7, 11]]) + shifts[:, None]
    seen = np.ones((8, 3), np.int32)
    points[0, 2], seen[0, 2] = 0, 0  # hidden
    codes = -shifts
    codes[4, 1] += 0.5
    labels = {"sitting": sittings, "view": views, "points": points, "points_seen": seen}
    found = dense_correspondence(codec(shifting), codes.astype(np.float32), labels)
    assert found["pairs"] == 4
    assert found["median"] == pytest.approx(0, abs=0.07)
    assert found["mean"] == pytest.approx(3 * 0.5 / 11, abs=0.05)
    assert found["unmoved"] == 2
    assert dense_correspondence(codec(shifting), codes, {**labels, "view": views + 5}) is None
    assert dense_correspondence(codec(shifting), codes, {"view": views}) is None
