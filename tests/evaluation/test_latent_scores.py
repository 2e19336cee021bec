import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.evaluation.latent_scores import latent_scores

NAMES = {"mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness"}


@pytest.fixture(scope="module")
def factors():
    rng = np.random.default_rng(0)
    return {
        "subject": rng.integers(0, 4, 400).astype(np.int32),
        "level": rng.uniform(size=400).astype(np.float32),
        "pose": rng.normal(size=(400, 1)).astype(np.float32),
    }


def columns(factors):
    return np.stack([np.ravel(factor).astype(np.float64) for factor in factors.values()], axis=1)


def test_a_code_per_factor_scores_near_one(factors):
    scores = latent_scores(columns(factors) * [1, 20, 0.1], factors)
    assert set(scores) == NAMES
    assert all(type(value) is float for value in scores.values())
    assert scores["mig"] > 0.8
    assert scores["sap"] > 0.7
    assert min(scores[name] for name in NAMES if name.startswith("dci")) > 0.95


def test_entangled_codes_score_low_but_stay_informative(factors):
    standard = columns(factors)
    standard = (standard - standard.mean(axis=0)) / standard.std(axis=0)
    rotation = np.array([[1, 1, 1], [1, -2, 1], [1, 0, -1]]) / np.sqrt([3, 6, 2])[:, None]
    clean, mixed = latent_scores(standard, factors), latent_scores(standard @ rotation, factors)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        assert mixed[name] < clean[name] - 0.3, name
    assert mixed["dci_informativeness"] > 0.6


def test_codes_of_noise_score_near_zero(factors):
    scores = latent_scores(np.random.default_rng(1).normal(size=(400, 3)), factors)
    assert scores["mig"] < 0.1
    assert scores["sap"] < 0.15
    assert scores["dci_informativeness"] < 0.2


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 2**31))
def test_order_and_scale_of_the_codes_do_not_matter(factors, seed):
    rng = np.random.default_rng(seed)
    codes = columns(factors) + 0.3 * rng.normal(size=(400, 3))
    scores = latent_scores(codes, factors)
    changed = latent_scores(codes * rng.uniform(0.1, 10, size=3) + rng.normal(size=3), factors)
    assert changed == pytest.approx(scores, abs=0.02)
    assert latent_scores(codes, factors) == scores


def test_factors_that_do_not_vary_are_left_out_and_one_alone_is_an_error(factors):
    codes = columns(factors)
    assert latent_scores(codes, factors | {"gaze": np.ones([400, 2], np.float32)}) == latent_scores(codes, factors)
    with pytest.raises(ValueError, match="two varying factors, got 3 and 1"):
        latent_scores(codes, {"subject": factors["subject"], "gaze": np.ones(400)})
    with pytest.raises(ValueError, match="got 1 and 3"):
        latent_scores(codes[:, :1], factors)
