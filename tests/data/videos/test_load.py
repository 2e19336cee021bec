import inspect

import pytest
from PIL import Image

from facedis_jax.data.videos.load import VIDEO_SETS, load_videos
from facedis_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for subject in ("anna", "ben"):
        take = tmp_path / "videos" / subject / "talk" / "take0"
        take.mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (64, 64), (i, i, i)).save(take / f"img_{i}.png")
    return tmp_path / "videos"


def test_a_kind_that_does_not_exist_is_refused(folder):
    with pytest.raises(InputError, match=r"one of folders, files, found 'film'"):
        load_videos("film", folder)


def test_a_setting_that_does_not_exist_is_refused(folder):
    with pytest.raises(InputError, match=r"the set folders: expected settings among size, .* found category"):
        load_videos("folders", folder, category="cat")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 48}, "size: expected a power of two of at least 8, found 48"),
        ({"frames": 0}, "frames: expected 1 or more, found 0"),
        ({"cut": "last"}, "cut: expected one of first"),
        ({"channels": 2}, "channels: expected 1"),
        ({"crop": "face"}, "crop: expected one of none"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_read(tmp_path, folder, options, message):
    for kind in VIDEO_SETS:
        with pytest.raises(InputError, match=message):
            load_videos(kind, folder, prepared_dir=tmp_path / "prepared", **{"frames": 3, **options})
    assert not (tmp_path / "prepared").exists()


def test_none_stands_for_the_usual_value(folder, tmp_path):
    options = {"size": None, "frames": 3, "crop": None, "max_train": None, "expressions": None}
    videos = load_videos("folders", folder, prepared_dir=tmp_path / "prepared", **options)
    assert (videos.size, videos.channels, videos.frames, len(videos.train.source)) == (64, 3, 3, 1)


@pytest.mark.parametrize("kind", VIDEO_SETS)
def test_every_set_says_what_it_reads(kind):
    assert "manual directory" in inspect.getdoc(VIDEO_SETS[kind])
