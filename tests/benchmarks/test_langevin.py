import pytest

from benchmarks import langevin
from benchmarks.langevin import LangevinBenchmarkConfig, main
from benchmarks.measurement import Timing
from facedis_jax.errors import InputError


def test_image_steps_are_gradient_steps(monkeypatch):
    samplers = []
    monkeypatch.setattr(langevin, "sampler", lambda *arguments: samplers.append(arguments))
    monkeypatch.setattr(
        langevin, "time_in_turn", lambda calls, repeats: {name: Timing(0.5, 0.5, 0.5, repeats) for name in calls}
    )
    rows = main(LangevinBenchmarkConfig(batch_sizes=(3,), blocks=(1, 2), steps=4, size=8))
    expected = [("alternating", 1), ("alternating", 2), ("joint", 1)]
    assert [(row["scheme"], row["block"]) for row in rows] == expected
    assert samplers == [(8, scheme, block, 4, 3) for scheme, block in expected]
    # Each latent moves 4 times; in turn that is 8 gradients per image, together 4.
    assert [row["image_steps_per_s"] for row in rows] == [3 * 8 / 0.5, 3 * 8 / 0.5, 3 * 4 / 0.5]


def test_a_call_moves_the_latents():
    moved = langevin.sampler(8, "alternating", block=2, steps=2, batch_size=3)()
    assert moved.appearance.shape == (3, 64)
    assert moved.geometry.shape == (3, 64)


@pytest.mark.parametrize("wrong", [{"blocks": (3,)}, {"blocks": (0,)}, {"batch_sizes": (0,)}, {"steps": 0}])
def test_a_wrong_request_is_refused(wrong):
    with pytest.raises(InputError):
        LangevinBenchmarkConfig(**wrong)
