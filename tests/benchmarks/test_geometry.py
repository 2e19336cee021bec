import numpy as np
import pytest

from benchmarks.geometry import GeometryConfig, main, point_calls, warp_calls
from facedis_jax.errors import InputError


def test_points_are_sampled_and_grouped_at_the_papers_sizes():
    calls = point_calls(1, 520)
    results = {name: call() for name, call in calls.items()}
    assert results["farthest points, 520 -> 512"].shape == (1, 512)
    assert results["32 neighbours of 512"].shape == (1, 512, 32)
    fast, plain = results["first layer over neighbours, gradients"], results["the same as PCT writes it"]
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())


def test_the_warps_gradients_are_of_what_they_say():
    results = {name: call() for name, call in warp_calls(2, 8).items()}
    image, flow = results["warp, gradient of both"]
    np.testing.assert_allclose(results["warp, gradient of image"], image, rtol=1e-5)
    np.testing.assert_allclose(results["warp, gradient of flow"], flow, rtol=1e-5)
    assert results["warp"].shape == image.shape == (2, 8, 8, 3)


def test_every_call_gets_a_row(capsys):
    rows = main(GeometryConfig(batch=1, vertices=512, images=2, size=8, repeats=1))
    assert len(rows) == 9
    assert all(row["per_s"] == row["batch"] / row["call"].median_s for row in rows)
    assert "warp, gradient of flow" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"vertices": 511}, {"images": 0}, {"size": 0}])
def test_a_wrong_request_is_refused(wrong):
    with pytest.raises(InputError):
        GeometryConfig(**wrong)
