import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from facedis_jax.metrics import bending_energy, canonical_error, fold_share


def grid(size):
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return x, y


def affine(size, matrix, shift=(0, 0)):
    """The flow that takes pixel p to matrix p + shift."""
    places = np.stack(grid(size), -1)
    return (places @ np.asarray(matrix, np.float32).T + np.float32(shift) - places).astype(np.float32)


@pytest.mark.parametrize(
    ("matrix", "folds"),
    [
        ([[1, 0], [0, 1]], 0),
        ([[0.01, 0], [0, 3]], 0),
        ([[0, -1], [1, 0]], 0),  # a quarter turn keeps its orientation
        ([[-1, 0], [0, 1]], 1),  # a mirror image
        ([[0, 0], [0, 1]], 1),  # all on one line: the determinant is 0
    ],
)
def test_an_affine_warp_folds_everywhere_or_nowhere_and_does_not_bend(matrix, folds):
    flow = affine(6, matrix, shift=(3, -2))
    assert float(fold_share(flow)) == folds
    assert float(bending_energy(flow)) == pytest.approx(0, abs=1e-9)


def test_folds_are_counted_by_pixels_and_by_flow():
    """Of 4 x 4 pairs of neighbours, one column of 4 is read backwards."""
    torn = np.zeros((5, 5, 2), np.float32)
    torn[:, 3:, 0] = -1.5
    assert fold_share(np.stack([torn, np.zeros_like(torn)])).tolist() == [0.25, 0]


def test_bending_energy_is_that_of_second_derivatives():
    x, y = grid(9)
    flow = np.stack([0.5 * 0.3 * x**2, 0.2 * x * y], -1)
    # dxx = 0.3 of the first component, dxy = 0.2 of the second, which counts twice.
    np.testing.assert_allclose(bending_energy(flow), 0.3**2 + 2 * 0.2**2, rtol=1e-4)
    np.testing.assert_allclose(bending_energy(np.stack([flow, 2 * flow]))[1], 4 * bending_energy(flow), rtol=1e-4)


@pytest.mark.parametrize("measure", [fold_share, bending_energy])
@pytest.mark.parametrize("shape", [(1, 5, 2), (5, 5, 3), (5, 2)])
def test_what_is_no_flow_is_an_error(measure, shape):
    with pytest.raises(ValueError, match="flow must be"):
        measure(jnp.zeros(shape))


def smooth_images(count, size, seed=0):
    rng = np.random.default_rng(seed)
    images = gaussian_filter(rng.normal(size=(count, size, size, 3)), (0, 2, 2, 0))
    return (0.5 + images).astype(np.float32)


def bent(images, amount):
    """All images read at places that one smooth flow moves."""
    x, y = grid(images.shape[1])
    size = len(x)
    places = [y + amount * np.sin(np.pi * y / size), x + amount * np.sin(np.pi * x / size)]
    return np.stack(
        [
            np.stack([map_coordinates(c, places, order=1, mode="nearest") for c in np.moveaxis(i, -1, 0)], -1)
            for i in images
        ]
    )


def test_one_warp_of_all_images_costs_nothing():
    truth = smooth_images(6, 24)
    canonical = bent(truth, 1.5)
    raw = np.mean((canonical - truth) ** 2) / truth.var(axis=0).mean()
    found, flow = canonical_error(canonical, truth)
    assert found < 0.1 * raw
    assert flow.shape == (24, 24, 2)
    assert fold_share(flow) == 0
    assert canonical_error(truth, truth)[0] == 0


def test_their_mean_has_all_of_the_variance_and_another_persons_image_more():
    truth = smooth_images(40, 16)
    mean = np.repeat(truth.mean(axis=0)[None], len(truth), axis=0)
    assert canonical_error(mean, truth)[0] == pytest.approx(1, abs=0.02)
    # Twice the variance, less what one warp of all can do.
    assert 1.4 < canonical_error(np.roll(truth, 1, axis=0), truth)[0] < 2


@pytest.mark.parametrize("shape", [(3, 16, 16, 3), (4, 16, 16, 1), (4, 16, 16)])
def test_images_that_do_not_belong_together_are_an_error(shape):
    with pytest.raises(ValueError, match="alike"):
        canonical_error(np.zeros(shape), np.zeros((4, 16, 16, 3)))


def test_true_images_that_do_not_differ_are_an_error():
    with pytest.raises(ValueError, match="differ from each other"):
        canonical_error(np.zeros((4, 16, 16, 3)), np.ones((4, 16, 16, 3)))
