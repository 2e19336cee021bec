import threading

import jax
import jax.numpy as jnp
import pytest

from facedis_jax.geometry import farthest_point_sample, warp
from facedis_jax.geometry.platforms import by_platform, traced_only_for


def branches(x):
    return by_platform(x, cpu=lambda x: x + 1, tpu=lambda x: x * jnp.sin(x), default=lambda x: x - 1)


def traced(function, *arguments):
    return str(jax.make_jaxpr(function)(*arguments))


def test_all_platforms_are_traced_unless_one_is_named():
    assert "sin" in traced(branches, 1.0)
    with traced_only_for("cpu"):
        assert "sin" not in traced(branches, 1.0)
        assert float(branches(1.0)) == 2.0
    with traced_only_for("other"):
        assert float(branches(1.0)) == 0.0
    assert "sin" in traced(branches, 1.0)


def test_other_threads_trace_it_too_and_what_was_jitted_before_is_traced_again():
    jitted = jax.jit(branches)
    assert float(jitted(1.0)) == 2.0
    found = []
    with traced_only_for("other"):
        thread = threading.Thread(target=lambda: found.append(float(jitted(1.0))))
        thread.start()
        thread.join()
    assert found == [0.0]


def test_an_error_ends_it():
    with pytest.raises(ValueError, match="inside"), traced_only_for("cpu"):
        raise ValueError("inside")
    assert "sin" in traced(branches, 1.0)


@pytest.mark.parametrize("name", ["warp", "farthest_point_sample"])
def test_results_are_the_same_bit_for_bit(name):
    points = jax.random.normal(jax.random.key(0), (2, 16, 8, 3))

    def function(points):
        if name == "warp":
            return jax.vmap(warp)(points, 3 * points[..., :2])
        return jax.vmap(lambda cloud: farthest_point_sample(cloud.reshape(-1, 3), 9))(points)

    before = jax.jit(function)(points)
    with traced_only_for("cpu"):
        text, after = traced(function, points), jax.jit(function)(points)
    assert "pallas_call" not in text
    assert (before == after).all()
