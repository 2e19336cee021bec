"""Digits made by warping glyphs."""

import numpy as np
import pytest

from facedis_jax.data.synthetic.digits import DigitConfig, synthetic_digits
from facedis_jax.errors import InputError

UNBENT = DigitConfig(train=20, test=10, turn=0, stretch=0, slant=0, shift=0, ripple=0)


def pixels(config, size=16):
    return synthetic_digits(config, size=size).train.source.pixels.astype(int)


def test_without_a_warp_every_digit_is_its_glyph():
    images = pixels(UNBENT)
    np.testing.assert_array_equal(images[:10], images[10:])
    differences = np.abs(images[:10, None] - images[None, :10]).sum(axis=(2, 3, 4))
    assert differences[~np.eye(10, dtype=bool)].min() > 1000


def test_digits_stand_in_the_middle_of_their_images():
    images = pixels(UNBENT, size=64)[:10, ..., 0]
    rows, columns = np.indices((64, 64))
    for image in images:
        assert abs(np.average(rows, weights=image) - 31.5) < 6
        assert abs(np.average(columns, weights=image) - 31.5) < 6
        assert image[[0, -1]].max() == image[:, [0, -1]].max() == 0


@pytest.mark.parametrize("warp", ["turn", "stretch", "slant", "shift", "ripple"])
def test_each_warp_changes_the_images(warp):
    changed = DigitConfig(
        train=10, test=1, **({"turn": 0, "stretch": 0, "slant": 0, "shift": 0, "ripple": 0} | {warp: 0.2})
    )
    assert (pixels(changed) != pixels(UNBENT)[:10]).any()


def test_an_image_does_not_depend_on_how_many_there_are():
    few, many = (pixels(DigitConfig(train=count, test=1)) for count in (5, 12))
    np.testing.assert_array_equal(few, many[:5])


def test_the_hash_tells_settings_apart():
    hashes = {synthetic_digits(DigitConfig(train=2, test=1, seed=seed), size=8).content_hash for seed in (0, 0, 1)}
    assert len(hashes) == 2


def test_no_images_are_refused():
    with pytest.raises(InputError, match="at least one image"):
        DigitConfig(test=0)
