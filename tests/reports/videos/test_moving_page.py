import io

import numpy as np
import pytest
from PIL import Image

from facedis_jax.reports.videos.moving_page import CELL, MovingPage, clip_grid, gif
from tests.pages import ShownPage

RNG = np.random.default_rng(0)
FRAMES, SIZE = 5, 16
SIDE = -(-CELL // SIZE) * SIZE


def grey(levels, channels=3):
    """A clip whose every frame is of one brightness."""
    return np.broadcast_to(np.float32(levels)[:, None, None, None], (len(levels), SIZE, SIZE, channels))


def decoded(data):
    """Frames and durations in ms of a GIF."""
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.info["loop"]) == ("GIF", 0)
        frames, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return np.stack(frames), durations


def test_every_clip_of_a_grid_plays_at_its_place():
    one, other = grey([0, 0.2, 0.4, 0.6, 0.8]), grey([1, 0.5, 1, 0.5, 1], channels=1)
    grid = clip_grid([[one, None], [None, other]])
    assert grid.dtype == np.uint8
    assert grid.shape[0] == FRAMES
    near, far = SIDE // 2, grid.shape[2] - SIDE // 2
    np.testing.assert_array_equal(grid[:, near, near, 0], [0, 51, 102, 153, 204])
    np.testing.assert_array_equal(grid[:, far, far, 0], [255, 128, 255, 128, 255])
    assert (grid[:, near, far] == 255).all()


def test_labels_stand_beside_the_clips_and_do_not_move():
    plain = clip_grid([[grey([0.5] * FRAMES)]])
    labelled = clip_grid([[grey([0.5] * FRAMES)]], row_labels=["a person, and then some"], column_labels=["happy"])
    left, top = labelled.shape[2] - plain.shape[2], labelled.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(labelled[:, top:, left:], plain)
    assert labelled[:, top:, : left - 4].min() < 100
    assert labelled[:, :top, left:].min() < 100
    assert (labelled == labelled[:1]).all()


def test_labels_that_are_wider_than_a_clip_go_on_in_another_line():
    clip = grey([0.5] * FRAMES)
    labels = ["surprise as neutral", "neutral as surprise"]
    short, long = (clip_grid([[clip] * 2], column_labels=words) for words in (["a", "b"], labels))
    assert long.shape[1] > short.shape[1]
    top = long.shape[1] - SIDE - 4
    # Between both labels, as between both clips, is white.
    assert (long[:, :top, SIDE : SIDE + 4] == 255).all()


def test_a_gif_shows_all_frames_and_holds_the_last():
    frames = clip_grid([[grey(np.linspace(0, 1, FRAMES))]])
    found, durations = decoded(gif(frames, seconds=1.0))
    np.testing.assert_allclose(found.astype(int), frames, atol=4)
    assert durations[:-1] == [200] * (FRAMES - 1)
    assert durations[-1] > 500
    assert gif(frames) == gif(frames)


def test_colours_of_late_frames_are_not_lost():
    frames = np.zeros((FRAMES, 40, 40, 3), np.uint8)
    frames[-1] = [200, 30, 60]
    found, _ = decoded(gif(frames))
    assert np.abs(found[-1].astype(int) - frames[-1]).max() <= 8


def test_white_stays_white():
    frames = clip_grid([[grey(np.linspace(0, 1, FRAMES))]] * 4, row_labels=["a person, and then some"] * 4)
    found, _ = decoded(gif(frames))
    assert (found[(frames == 255).all(axis=-1)] == 255).all()


@pytest.fixture
def page(tmp_path):
    return MovingPage("Clips", "of people", tmp_path / "figures")


def test_clips_on_a_page_are_in_it_and_beside_it(page):
    page.clips("some", [[grey([0.1, 0.9])]], alt='clips & "more"', caption="Two <frames>.")
    data = (page.folder / "some.gif").read_bytes()
    assert len(decoded(data)[0]) == 2
    (shown,) = ShownPage(page.html()).images
    assert (shown.media_type, shown.data) == ("image/gif", data)
    assert (shown.alt, shown.caption) == ('clips & "more"', "Two <frames>.")
    assert shown.size == (SIDE + 4, SIDE + 4)
