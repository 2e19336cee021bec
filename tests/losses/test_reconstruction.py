import numpy as np
import pytest

from facedis_jax.losses import reconstruction_loss


@pytest.fixture
def faces():
    return np.random.default_rng(0).normal(scale=0.3, size=(2, 4, 50, 3)).astype(np.float32)


def test_reductions_are_their_formulas_in_float64(faces):
    prediction, target = faces
    squared = (prediction.astype(np.float64) - target) ** 2
    for reduction, expected in {
        "sum": squared.sum((1, 2)),
        "mean_mm2": (squared * 156.0**2).mean((1, 2)),
        "mean_scaled": 5000 * squared.mean((1, 2)),
    }.items():
        value = reconstruction_loss(prediction, target, reduction=reduction, scale=156.0)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_reductions_relate_as_the_papers_numbers_say():
    """At V = 5,023 and lambda_1 = 6.6e-2: about 995 times the mean as a sum, and about 4,462 in mm^2."""
    prediction, target = np.full([5023, 3], 0.01, np.float32), np.zeros([5023, 3], np.float32)
    mean = 1e-4
    assert 6.6e-2 * reconstruction_loss(prediction, target) / mean == pytest.approx(994.6, rel=1e-3)
    in_mm = reconstruction_loss(prediction, target, reduction="mean_mm2")
    assert 6.6e-2 * in_mm / mean == pytest.approx(4461.6, rel=1e-3)


def test_order_of_vertices_and_common_motion_do_not_matter(faces):
    prediction, target = faces
    order = np.random.default_rng(1).permutation(50)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0].astype(np.float32)
    value = reconstruction_loss(prediction, target)
    np.testing.assert_allclose(reconstruction_loss(prediction[:, order], target[:, order]), value, rtol=1e-5)
    np.testing.assert_allclose(reconstruction_loss(prediction @ rotation, target @ rotation), value, rtol=1e-5)


def test_bad_arguments_are_named(faces):
    with pytest.raises(ValueError, match="mean_mm2"):
        reconstruction_loss(faces[0], faces[1], reduction="mean")
    with pytest.raises(ValueError, match=r"\(1, 50, 3\).*\(4, 50, 3\)"):
        reconstruction_loss(faces[0][:1], faces[1])
