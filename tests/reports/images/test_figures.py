import numpy as np
import pytest

from facedis_jax.reports.images.figures import (
    DISPLAY_SIZE,
    GRID_COLOR,
    GRID_LINES,
    covariance_bars,
    display_image,
    grid_overlay,
    image_grid,
    latents_against_view,
)
from tests.pages import cells

BLACK = np.zeros((16, 16, 3), np.float32)
FACTOR = DISPLAY_SIZE // 16


def constant_flow(dx, dy, size=16):
    return np.broadcast_to(np.float32([dx, dy]), (size, size, 2))


@pytest.mark.parametrize(("size", "shown"), [(8, 160), (16, 160), (32, 160), (64, 192), (128, 256), (256, 256)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_displayed_a_whole_number_of_times_as_large(size, shown, channels):
    image = np.random.default_rng(0).uniform(size=(size, size, channels))
    for made in (display_image(image), grid_overlay(image), grid_overlay(image, constant_flow(1, 2, size))):
        assert (made.shape, made.dtype) == ((shown, shown, 3), np.uint8)
    assert np.ptp(display_image(np.full_like(image, 0.4))) == 0


def test_large_images_are_displayed_as_they_are():
    image = np.random.default_rng(0).integers(256, size=(256, 256, 3), dtype=np.uint8)
    np.testing.assert_array_equal(display_image(image / 255), image)


def test_an_enlarged_image_keeps_its_corners_and_its_ramps():
    ramp = np.repeat(np.linspace(0.1, 0.9, 16)[None, :, None], 16, axis=0)
    shown = display_image(ramp)[DISPLAY_SIZE // 2, :, 0] / 255
    # Pixel i covers the displayed pixels from 10 i to 10 i + 9.
    x = (np.arange(DISPLAY_SIZE) + 0.5) / FACTOR - 0.5
    inside = (x > 3) & (x < 12)
    np.testing.assert_allclose(shown[inside], (0.1 + 0.8 * x / 15)[inside], atol=1 / 255)
    np.testing.assert_allclose(shown[[0, -1]], [0.1, 0.9], atol=0.01)


def lines(shown, along):
    """Where the lines of a black image with a grid on it are, in pixels: vertical ones along "x"."""
    strength = shown[..., 2] / (255 * GRID_COLOR[2])
    # Those of the other direction cover less than half of it.
    profile = np.median(strength, axis=0 if along == "x" else 1)
    places = np.flatnonzero(profile > 0.01)
    groups = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return np.array([np.average(group, weights=profile[group]) for group in groups])


CANONICAL = np.linspace(0, DISPLAY_SIZE - 1, GRID_LINES + 1)


@pytest.mark.parametrize("flow", [None, constant_flow(0, 0)], ids=["none", "zero"])
def test_without_a_flow_the_grid_is_the_canonical_one(flow):
    shown = grid_overlay(BLACK, flow)
    for along in ("x", "y"):
        found = lines(shown, along)
        assert len(found) == GRID_LINES + 1
        np.testing.assert_allclose(found[1:-1], CANONICAL[1:-1], atol=0.15)
        # Of the outermost lines only the half inside is drawn.
        np.testing.assert_allclose(found[[0, -1]], CANONICAL[[0, -1]], atol=0.6)
    np.testing.assert_array_equal(shown, np.swapaxes(shown, 0, 1))


@pytest.mark.parametrize(("dx", "dy"), [(0.7, 0.0), (-0.4, 0.0), (0.0, 0.5), (0.3, -0.6)])
def test_a_constant_flow_moves_the_grid_the_other_way(dx, dy):
    """The output at x shows what lay at x + dx, so that lines move by -dx, in displayed pixels."""
    shown = grid_overlay(BLACK, constant_flow(dx, dy))
    for along, amount in (("x", dx), ("y", dy)):
        found = lines(shown, along)
        # The outermost lines are cut in half, as the image is.
        inner = CANONICAL[1:-1] - amount * FACTOR
        assert len(found) >= len(inner) - 1
        for line in inner[(inner > 2) & (inner < DISPLAY_SIZE - 3)]:
            assert np.abs(found - line).min() < 0.15


def test_what_lies_outside_of_the_image_has_no_lines():
    shown = grid_overlay(BLACK, constant_flow(8, 0))
    assert not shown[:, DISPLAY_SIZE // 2 + 1 :].any()
    assert shown[:, : DISPLAY_SIZE // 2].any()


def test_the_grid_is_drawn_over_the_image():
    image = np.full((16, 16, 3), 0.5)
    shown = grid_overlay(image)
    untouched = (shown == display_image(image)).all(axis=-1)
    assert 0.4 < untouched.mean() < 0.9
    strongest = np.round(255 * (0.25 * 0.5 + 0.75 * GRID_COLOR))
    assert np.abs(shown - strongest).sum(axis=-1).min() <= 3


def test_image_grids_take_images_of_either_kind_and_empty_cells():
    rows = [[np.full((8, 8, 1), 0.2), display_image(BLACK)], [None, np.ones((8, 8, 3))]]
    shown = cells(image_grid(rows, row_labels=["a", "b"]))
    # Each has a margin of three white pixels.
    assert [image.shape for image in shown] == [(166, 166, 3)] * 3
    assert [image[3:-3, 3:-3].mean() for image in shown] == [51, 0, 255]


def test_covariances_are_bars_on_one_scale():
    values = {"geometry code": np.array([0.1, 4.0, 0.2]), "appearance code": np.array([0.5, 0.3])}
    figure = covariance_bars(values)
    for axes, (name, expected) in zip(figure.axes, values.items(), strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], expected)
        assert axes.get_title(loc="left") == name
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[1] > 4


def test_latents_are_drawn_against_their_views_on_one_scale():
    angles = np.array([-30.0, 0.0, 30.0])
    values = {"geometry 3": np.array([-2.0, 0.1, 2.5]), "appearance 0": np.array([0.2, 0.1, 0.0])}
    figure = latents_against_view(angles, values)
    for axes, expected in zip(figure.axes, values.values(), strict=True):
        line = axes.lines[-1]
        np.testing.assert_array_equal(line.get_xdata(), angles)
        np.testing.assert_array_equal(line.get_ydata(), expected)
        low, high = axes.get_ylim()
        assert low == -high < -2.5
