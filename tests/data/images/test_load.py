import dataclasses
import inspect

import pytest
from PIL import Image

from facedis_jax.data.images.load import IMAGE_SETS, load_images
from facedis_jax.data.images.prepared import ImageSettings
from facedis_jax.data.prepared_pixels import PixelConfig
from facedis_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        Image.new("RGB", (16, 16), (i, i, i)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_a_kind_that_does_not_exist_is_refused(folder):
    with pytest.raises(InputError, match=r"one of celeba, mafl, .* found 'celebs'"):
        load_images("celebs", folder)


def test_a_setting_that_the_set_does_not_have_is_refused(folder):
    with pytest.raises(InputError, match=r"the set folder: expected settings among size, .* found category"):
        load_images("folder", folder, category="cat")


@pytest.mark.parametrize("size", [48, 4, -16])
def test_sizes_are_powers_of_two(folder, size):
    with pytest.raises(InputError, match=f"size: expected a power of two of at least 8, found {size}"):
        load_images("folder", folder, size=size)


def test_none_stands_for_the_sets_own_value(folder, tmp_path):
    options = {"size": 16, "channels": None, "crop": None, "max_train": None}
    images = load_images("folder", folder, prepared_dir=tmp_path / "prepared", **options)
    assert (images.size, images.channels, len(images.train.source)) == (16, 3, 10)


@pytest.mark.parametrize("kind", IMAGE_SETS)
def test_every_set_says_what_it_reads_and_makes_usable_settings(kind):
    builder = IMAGE_SETS[kind]
    assert issubclass(builder.settings_type, ImageSettings)
    settings = builder.settings_type()
    assert settings.framing.size == settings.size
    assert "manual directory" in inspect.getdoc(builder) or kind in ("folder", "mafl")
    fields = {"size": 8, "channels": 4 - settings.channels, "crop": "celeba_108", "max_train": 3, "max_test": 3}
    others = [dataclasses.replace(settings, **{field: value}) for field, value in fields.items()]
    assert len({PixelConfig.of(made).name for made in (settings, *others)}) == 1 + len(fields)
