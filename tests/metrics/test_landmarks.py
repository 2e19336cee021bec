import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedis_jax.metrics import landmark_error


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_it_is_its_formula_in_float64():
    prediction, target = draw(0, 5, 2), draw(1, 5, 2)
    for eyes in [(0, 1), (3, 2)]:
        p, t = prediction.astype(np.float64), target.astype(np.float64)
        distances = np.hypot(*(p - t).T)
        expected = 100 * distances.mean() / np.hypot(*(t[eyes[0]] - t[eyes[1]]))
        np.testing.assert_allclose(landmark_error(prediction, target, eyes=eyes), expected, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.1, 100), st.floats(-3, 3))
def test_unit_place_and_rotation_do_not_matter(seed, scale, angle):
    prediction, target = draw(seed, 5, 2), draw(seed + 1, 5, 2)
    rotation = np.float32([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = [np.float32(scale) * (x @ rotation + 1) for x in (prediction, target)]
    np.testing.assert_allclose(landmark_error(*moved), landmark_error(prediction, target), rtol=1e-3)


def test_the_targets_eyes_are_the_measure():
    target = np.float32([[0, 0], [10, 0], [5, 5]])
    assert landmark_error(2 * target, target) == pytest.approx(100 * (0 + 10 + np.sqrt(50)) / 3 / 10, rel=1e-6)
    assert landmark_error(target, target) == 0


def test_batches_come_from_vmap():
    predictions, targets = draw(0, 4, 5, 2), draw(1, 4, 5, 2)
    expected = [landmark_error(p, t) for p, t in zip(predictions, targets, strict=True)]
    np.testing.assert_allclose(jax.vmap(landmark_error)(predictions, targets), expected, rtol=1e-6)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(5, 2\).*\(4, 2\)"):
        landmark_error(draw(0, 5, 2), draw(1, 4, 2))
    with pytest.raises(ValueError, match=r"\(5, 3\)"):
        landmark_error(draw(0, 5, 3), draw(1, 5, 3))
    with pytest.raises(ValueError, match=r"5 points.*5"):
        landmark_error(draw(0, 5, 2), draw(1, 5, 2), eyes=(0, 5))
