import dataclasses

import jax
import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.inference.example import example_face_model
from facedis_jax.inference.face_model import FaceCodes
from facedis_jax.inference.sequences import (
    Code,
    effective_count,
    likeliest_correlation,
    people_spread,
    shared_code,
    smoothed,
    strangers,
)


def posteriors(seed, frames=6, latents=3):
    rng = np.random.default_rng(seed)
    return Code(rng.normal(size=(frames, latents)), rng.uniform(0.1, 0.9, (frames, latents)))


def dense_posterior(codes, a):
    """Mean and deviation of each frame's code given all frames, by the covariance matrix of the whole walk."""
    frames, latents = codes.mean.shape
    prior = np.float64(a) ** np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))
    mean, std = np.empty((frames, latents)), np.empty((frames, latents))
    for k in range(latents):
        says = 1 / codes.std[:, k] ** 2 - 1
        observed = codes.mean[:, k] / codes.std[:, k] ** 2 / says
        gain = prior @ np.linalg.inv(prior + np.diag(1 / says))
        mean[:, k] = gain @ observed
        std[:, k] = np.sqrt(np.diag(prior - gain @ prior))
    return Code(mean, std)


def test_the_shared_code_is_the_product_of_posteriors_less_all_but_one_prior():
    codes = posteriors(0, latents=1)
    z = np.linspace(-4, 4, 20001)
    log_density = sum(-0.5 * ((z - m) / s) ** 2 for m, s in zip(codes.mean[:, 0], codes.std[:, 0], strict=True))
    density = np.exp(log_density + (len(codes.mean) - 1) * 0.5 * z**2)
    mean = (z * density).sum() / density.sum()
    std = np.sqrt(((z - mean) ** 2 * density).sum() / density.sum())
    found = shared_code(codes)
    np.testing.assert_allclose([found.mean[0], found.std[0]], [mean, std], rtol=1e-4)


def test_frames_that_are_worth_fewer_say_less():
    codes = posteriors(1)
    twice = Code(*(np.repeat(part, 2, axis=0) for part in codes))
    for part, expected in zip(shared_code(twice, len(codes.mean)), shared_code(codes), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-5)
    assert (shared_code(twice).std < shared_code(codes).std).all()


def test_posteriors_no_narrower_than_the_prior_say_nothing():
    codes = posteriors(2)
    idle = Code(np.concatenate([codes.mean, [[5.0, 5, 5]]]), np.concatenate([codes.std, [[1.0, 1.2, 3]]]))
    for found, expected in zip(shared_code(idle), shared_code(codes), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    alone = shared_code(Code(np.ones((1, 2)), np.full((1, 2), 1.5)))
    np.testing.assert_array_equal(alone.mean, 0)
    np.testing.assert_array_equal(alone.std, 1)


@pytest.mark.parametrize("a", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_the_smoother_is_the_posterior_of_the_whole_walk(a, frames):
    codes = posteriors(3, frames)
    found, expected = smoothed(codes, a), dense_posterior(codes, a)
    np.testing.assert_allclose(found.mean, expected.mean, atol=2e-4)
    np.testing.assert_allclose(found.std, expected.std, rtol=2e-3)


def test_the_smoother_goes_from_single_frames_to_one_code():
    codes = posteriors(4)
    none, full = smoothed(codes, 0.0), smoothed(codes, 1.0)
    np.testing.assert_allclose(none.mean, codes.mean, atol=1e-5)
    np.testing.assert_allclose(none.std, codes.std, rtol=1e-5)
    for found, expected in zip(full, shared_code(codes), strict=True):
        np.testing.assert_allclose(found, np.broadcast_to(expected, codes.mean.shape), rtol=1e-4, atol=1e-5)
    mixed = smoothed(codes, np.float32([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(mixed.mean[:, 0], none.mean[:, 0], atol=1e-5)
    np.testing.assert_allclose(mixed.mean[:, 2], full.mean[:, 2], atol=1e-5)


@pytest.mark.parametrize("a", [0.0, 0.9375])
def test_the_likeliest_correlation_is_found_and_lowers_the_error(a):
    rng = np.random.default_rng(5)
    steps = rng.normal(size=(1500, 2))
    truth = np.empty_like(steps)
    truth[0] = steps[0]
    for t in range(1, len(steps)):
        truth[t] = a * truth[t - 1] + np.sqrt(1 - a**2) * steps[t]
    # A frame seen with the noise 0.75 has the posterior N(0.64 of what is seen, 0.6^2) under the prior.
    codes = Code(0.64 * (truth + 0.75 * rng.normal(size=truth.shape)), np.full_like(truth, 0.6))
    found = likeliest_correlation(codes)
    np.testing.assert_allclose(found, a, atol=0.04 if a else 0.5)
    error = np.sqrt(np.mean((smoothed(codes, a).mean - truth) ** 2))
    np.testing.assert_allclose(error, smoothed(codes, a).std[100:-100].mean(), rtol=0.05)


@pytest.mark.parametrize(("a", "expected"), [(0.0, 4000), (0.8, 4000 / 9)])
def test_the_effective_count_of_a_walk(a, expected):
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(4000, 4))
    walk = np.zeros_like(noise)
    for t in range(1, len(walk)):
        walk[t] = a * walk[t - 1] + noise[t]
    # The variance of an AR(1) mean is (1 + a) / (1 - a) that of independent ones.
    np.testing.assert_allclose(effective_count(Code(walk, np.ones_like(walk))), expected, rtol=0.15)


@pytest.mark.parametrize("frames", [1, 5])
def test_frames_without_a_difference_are_one(frames):
    still = Code(np.ones((frames, 2)), np.full((frames, 2), 0.5))
    assert effective_count(still) == 1
    np.testing.assert_allclose(shared_code(still, effective_count(still)).mean, 1)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "conditional"])
def model(request):
    model = example_face_model(conditional=request.param)
    # Codes of training people that lie apart, as those of a trained model do.
    rng = np.random.default_rng(7)
    known = model.trained
    codes = (rng.normal(size=(4, 5)) * 10)[known.subject] + 1e-2 * rng.normal(size=known.codes.shape)
    return dataclasses.replace(model, trained=dataclasses.replace(known, codes=codes.astype(np.float32)))


def frames_of(model, number=6):
    rng = np.random.default_rng(8)
    face = model.trained.neutrals[0]
    return (face + rng.normal(scale=0.2, size=(number, *face.shape))).astype(np.float32)


def test_a_sequence_has_one_identity_and_an_expression_a_frame(model):
    frames = frames_of(model)
    single, codes = model.encode(frames), model.encode_sequence(frames)
    assert np.ptp(codes.identity.mean, axis=0).max() == 0
    expected = shared_code(single.identity, effective_count(single.identity))
    np.testing.assert_allclose(codes.identity.mean[3], expected.mean, atol=1e-4)
    np.testing.assert_allclose(codes.expression.mean, single.expression.mean, atol=1e-4)
    assert model.decode(codes).full.shape == frames.shape
    if model.config.conditional:
        assert codes.labels.shape == (6, 2)
    still = model.encode_sequence(frames, smoothing=1.0)
    assert np.ptp(still.expression.mean, axis=0).max() < 1e-4
    likeliest = model.encode_sequence(frames, smoothing=None)
    assert likeliest.expression.mean.shape == (6, 2)


def test_labels_are_of_frames(model):
    name = "smile" if model.config.conditional else None
    labels = model.labels(name, np.linspace(0, 1, 6, dtype=np.float32))
    frames = frames_of(model)
    codes = model.encode_sequence(frames, labels)
    assert (codes.labels is None) == (labels is None)
    np.testing.assert_array_equal(codes.labels, labels)
    np.testing.assert_allclose(codes.expression.mean, model.encode(frames, labels).expression.mean, atol=1e-4)


def test_points_of_frames_are_followed_as_well(model):
    clouds = list(frames_of(model))
    found = model.of_one_person(model.encode_points(clouds))
    expected = model.encode_sequence(np.stack(clouds))
    np.testing.assert_allclose(found.identity.mean, expected.identity.mean, atol=1e-4)


def test_the_one_identity_can_be_jitted_and_differentiated(model):
    codes = FaceCodes(posteriors(10), posteriors(11, latents=2), None)

    def total(codes):
        found = model.of_one_person(codes, smoothing=None)
        return found.identity.mean.sum() + found.expression.mean.sum()

    value, slope = jax.jit(jax.value_and_grad(total))(codes)
    np.testing.assert_allclose(value, total(codes), rtol=1e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("odd", [1, 3])
def test_frames_of_several_people_are_refused(model, odd):
    codes = model.encode(frames_of(model))
    mean = np.array(codes.identity.mean)
    mean[-odd:] += 10
    mixed = codes._replace(identity=Code(mean, codes.identity.std))
    with pytest.raises(
        InputError, match=rf"frames: expected frames of one person, found {odd} of 6 .*such as frame \d"
    ):
        model.of_one_person(mixed)
    assert model.of_one_person(mixed, check=False).identity.mean.shape == mean.shape


def test_people_who_do_not_lie_apart_are_never_refused():
    rng = np.random.default_rng(9)
    subject = np.repeat(np.arange(5), 40)
    spread = people_spread(rng.normal(size=(200, 3)), subject)
    assert spread.limit == np.inf
    assert not strangers(rng.normal(size=(10, 3)) * 100, spread)[0].any()
    assert people_spread(rng.normal(size=(9, 3)), np.zeros(9, int)).limit == np.inf


@pytest.mark.parametrize(
    ("frames", "smoothing", "found"),
    [
        (np.zeros((0, 36, 3)), 0.0, "frames: expected"),
        (np.zeros((36, 3)), 0.0, r"frames: expected \[frames, 36, 3\], found \[36, 3\]"),
        (np.zeros((2, 35, 3)), 0.0, "frames: expected"),
        (np.zeros((2, 36, 3)), 1.5, "smoothing: expected 0 to 1"),
    ],
)
def test_what_is_no_sequence_is_refused(model, frames, smoothing, found):
    with pytest.raises(InputError, match=found):
        model.encode_sequence(frames, smoothing=smoothing)
