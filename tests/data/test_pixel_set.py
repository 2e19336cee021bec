import numpy as np
import pytest

from facedis_jax.data.pixel_set import ArrayPixels, Chosen, StoredPixels, pixels_of, stack_pixels

PIXELS = np.arange(7 * 2 * 2 * 3, dtype=np.uint8).reshape(7, 2, 2, 3)


class Source:
    """One that notes what was read."""

    def __init__(self):
        self.read = set()

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        self.read.add(index)
        return {"image": PIXELS[index]}


@pytest.mark.parametrize(
    "rows", [slice(2, 5), slice(5, 99), slice(None), np.array([6, 0, 6]), np.arange(7) == 3, np.array([], int)]
)
def test_the_rows_that_are_asked_for_are_read_and_no_others(rows):
    source = Source()
    found = StoredPixels(source, "image")[rows]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS[rows])
    # Of no rows, one is read for its shape.
    assert source.read == {*np.arange(7)[rows]} or (source.read == {0} and not len(found))


def test_pixels_in_memory_are_taken_as_they_are():
    class Arrays(ArrayPixels):
        key = "image"

    assert pixels_of(Arrays(PIXELS), "image") is PIXELS
    assert stack_pixels(Arrays(PIXELS), "image") is PIXELS
    stored = pixels_of(Source(), "image")
    assert len(stored) == 7
    np.testing.assert_array_equal(stored, PIXELS)
    np.testing.assert_array_equal(stack_pixels(Source(), "image"), PIXELS)


def test_chosen_examples_are_those_of_their_rows():
    chosen = Chosen(Source(), np.array([5, 1]))
    assert len(chosen) == 2
    np.testing.assert_array_equal(stack_pixels(chosen, "image"), PIXELS[[5, 1]])
