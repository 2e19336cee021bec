import io

import numpy as np
import pytest
from PIL import Image

from facedis_jax.reports.figures import WIDTH, png
from facedis_jax.reports.grids import ColorScale, grid_figure


def pixels(figure) -> np.ndarray:
    with Image.open(io.BytesIO(png(figure))) as image:
        return np.asarray(image.convert("RGB"))


def image(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((50, 40, 3), color, np.uint8)


def test_a_grid_shows_each_image_in_its_place():
    colors = [[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), None]]
    images = [[None if c is None else image(c) for c in row] for row in colors]
    shown = pixels(grid_figure(images))
    height, width = shown.shape[:2]
    for i, row in enumerate(colors):
        for j, color in enumerate(row):
            middle = shown[(2 * i + 1) * height // 4, (2 * j + 1) * width // 4]
            np.testing.assert_allclose(middle, (255, 255, 255) if color is None else color, atol=1)


def test_images_in_a_grid_keep_their_aspect_beside_labels_title_and_bar():
    figure = grid_figure(
        [[image((9, 9, 9))] * 3] * 2,
        row_labels=["subject 1", "subject 2"],
        column_labels=["input", "reconstruction", "a label too long for one line"],
        title="Faces",
        colorbar=ColorScale(0.0, 2.0, "distance (mm)"),
    )
    width, height = figure.get_size_inches()
    assert width <= WIDTH
    cells, box = figure.axes[0], figure.axes[0].get_position()
    assert len(cells.images) == 6
    for each in cells.images:
        left, right, bottom, top = each.get_extent()
        assert right - left == pytest.approx(box.width * width / 3)
        assert top - bottom == pytest.approx(box.height * height / 2)
        assert (top - bottom) / (right - left) == pytest.approx(50 / 40)
    bar = figure.axes[-1]
    assert bar.get_ylim() == (0.0, 2.0)
    assert bar.get_ylabel() == "distance (mm)"
    shown = {text.get_text() for text in figure.texts}
    assert {"subject 1", "subject 2", "input", "reconstruction", "Faces"} <= shown


def test_many_columns_still_fit_the_page():
    figure = grid_figure([[image((9, 9, 9))] * 12], row_labels=["mouth extreme"])
    assert figure.get_size_inches()[0] == pytest.approx(WIDTH)


def test_labels_are_shown_as_they_are():
    odd = r"a $\nope$ b"
    figure = grid_figure([[image((9, 9, 9))]], row_labels=[odd], column_labels=[odd])
    assert {text.get_text().replace("\n", " ") for text in figure.texts} == {odd}
    assert png(figure, dpi=40)


def test_labels_of_rows_end_before_the_images():
    labels = ["shape of another person", "warped template", "canonical image", "non-deformable ABP"]
    figure = grid_figure([[image((9, 9, 9))] * 6] * 4, row_labels=labels)
    figure.draw_without_rendering()
    left = min(axes.get_window_extent().x0 for axes in figure.axes)
    assert max(text.get_window_extent().x1 for text in figure.texts) < left - 0.05 * figure.dpi


@pytest.mark.parametrize("labels", [["shape of another person"], []])
def test_nothing_touches_the_border(labels: list[str]):
    options = {"row_labels": labels, "column_labels": labels * 2, "colorbar": ColorScale(0.0, 2.0, "distance (mm)")}
    shown = pixels(grid_figure([[image((9, 9, 9))] * 2], title="Faces", **options))
    for border in (shown[:5], shown[-5:], shown[:, :5], shown[:, -5:]):
        assert (border == 255).all()


def test_a_scale_that_is_cut_says_so():
    whole, cut = (
        grid_figure([[image((9, 9, 9))]], colorbar=ColorScale(0.0, 2.0, "distance (mm)", largest=largest)).axes[-1]
        for largest in (2.0, 7.125)
    )
    assert whole.get_ylabel() == "distance (mm)"
    assert cut.get_ylabel() == "distance (mm); cut, the largest is 7.12"
    assert len(cut.patches) > len(whole.patches)  # the arrow at its end
