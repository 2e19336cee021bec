import numpy as np
import pytest

from facedis_jax.metrics import nearest


@pytest.mark.parametrize("shape", [(1, 8), (30, 3)])
def test_the_nearest_is_that_of_the_definition(shape: tuple[int, int]):
    rng = np.random.default_rng(0)
    probes, gallery = (rng.normal(size=(count, *shape)).astype(np.float32) for count in (50, 7))
    differences = probes[:, None].astype(np.float64) - gallery
    expected = np.sqrt(np.square(differences).sum(axis=-1)).mean(axis=-1).argmin(axis=1)
    np.testing.assert_array_equal(nearest(probes, gallery), expected)


def test_it_is_the_mean_distance_that_counts_and_of_equals_the_first():
    probe = np.zeros((1, 4, 3), np.float32)
    far_at_one_vertex, near_everywhere = np.zeros((2, 4, 3), np.float32)
    far_at_one_vertex[0, 0], near_everywhere[:, 0] = 3.0, 1.2
    # The root mean square would choose the other one.
    assert int(nearest(probe, np.stack([near_everywhere, far_at_one_vertex]))[0]) == 1
    assert int(nearest(probe, np.stack([near_everywhere, near_everywhere]))[0]) == 0
