import shutil

import av
import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.videos.clip_set import stack_clips
from facedis_jax.data.videos.load import load_videos
from facedis_jax.errors import InputError

_TAKES = {
    "001/happiness/take000": 9,
    "001/sadness/take000": 8,
    "002/happiness/take000": 8,
    "002/happiness/take001": 13,
    "003/anger/take000": 8,
}


def _shade(name, frame):
    """The grey of a frame, which no other frame has."""
    return 17 * sorted(_TAKES).index(name) + frame


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """MUG's arrangement; takes begin at numbers of their own, and one has another size."""
    folder = tmp_path_factory.mktemp("mug")
    for k, (name, count) in enumerate(_TAKES.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            side = (24, 20) if k == 3 else (16, 16)
            Image.new("RGB", side, 3 * (_shade(name, i),)).save(folder / name / f"img_{k + i:04d}.png")
    (folder / "001" / "Thumbs.db").write_bytes(b"left by a file manager")
    return folder


@pytest.fixture
def folder(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "mug")


@pytest.fixture
def load(folder, tmp_path):
    defaults = {"size": 16, "frames": 4, "test_subjects": ("002",), "prepared_dir": tmp_path / "prepared"}
    return lambda kind="folders", **options: load_videos(kind, folder, **{**defaults, **options})


def _shades(clips):
    return stack_clips(clips)[:, :, 5, 5, 0].tolist()


def test_a_set_may_lie_in_a_folder_of_its_own(folder, load):
    expected = load()
    shutil.move(folder, folder.parent / "inside")
    shutil.move(folder.parent / "inside", folder / "mug")
    (folder / "readme.txt").write_text("about MUG")
    found = load()
    assert (found.content_hash, found.name) == (expected.content_hash, expected.name)
    assert found.data_files == {"takes": "5 of 3 people", "split": "by person: 1 of 3 are tested"}


def test_clips_have_their_frames_people_and_expressions(load):
    videos = load()
    assert (videos.name, videos.frames, videos.size, videos.channels) == ("videos of mug", 4, 16, 3)
    assert videos.train.names == ("001/happiness/take000", "001/sadness/take000", "003/anger/take000")
    assert videos.test.names == ("002/happiness/take000", "002/happiness/take001")
    assert videos.classes == {"subject": ("001", "002", "003"), "expression": ("anger", "happiness", "sadness")}
    assert videos.train.labels["subject"].tolist() == [0, 0, 2]
    assert videos.train.labels["expression"].tolist() == [1, 2, 0]
    assert all(array.dtype == np.int32 for array in videos.train.labels.values())
    for half in (videos.train, videos.test):
        assert _shades(half.source) == [[_shade(name, i) for i in range(4)] for name in half.names]
        clip = half.source[1]
        assert (clip["frames"].shape, clip["frames"].dtype) == ((4, 16, 16, 3), np.uint8)
        assert (clip["index"], clip["index"].dtype) == (1, np.int32)


def test_all_clips_of_a_take_are_kept_on_request(load):
    videos = load(cut="all", stride=1)
    windows = ["001/happiness/take000#0", "001/happiness/take000#1", "001/sadness/take000#0", "001/sadness/take000#1"]
    assert list(videos.train.names) == [*windows, "003/anger/take000#0", "003/anger/take000#1"]
    assert len(videos.test.names) == 2 + 3
    assert videos.test.labels["expression"].tolist() == [1] * 5
    assert videos.train.labels["subject"].tolist() == [0, 0, 0, 0, 2, 2]
    names = [name.split("#")[0] for name in videos.test.names]
    places = [range(4), range(4, 8), range(4), range(4, 8), range(8, 12)]
    expected = [[_shade(name, i) for i in place] for name, place in zip(names, places, strict=True)]
    assert _shades(videos.test.source) == expected


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"cut": "middle"}, [[2, 3, 4, 5], [4, 5, 6, 7]]),
        ({"cut": "evenly_spaced", "frames": 3}, [[0, 4, 7], [0, 6, 12]]),
        ({"stride": 2}, [[0, 2, 4, 6], [0, 2, 4, 6]]),
    ],
)
def test_cuts_and_strides_choose_the_frames(load, options, places):
    test = load(**options).test
    assert _shades(test.source) == [
        [_shade(name, i) for i in place] for name, place in zip(test.names, places, strict=True)
    ]


def test_expressions_are_chosen_and_numbered_as_asked(load):
    videos = load(expressions=("sadness", "happiness"))
    assert videos.classes["expression"] == ("sadness", "happiness")
    assert videos.train.names == ("001/happiness/take000", "001/sadness/take000")
    assert videos.train.labels["expression"].tolist() == [1, 0]
    with pytest.raises(InputError, match="expressions: expected some of anger, happiness, sadness, found joy"):
        load(expressions=("happiness", "joy"))


def test_nobody_is_in_both_halves(load):
    one, two = (load(test_subjects=None, num_test_subjects=count) for count in (None, 2))
    tested = [{name[:3] for name in videos.test.names} for videos in (one, two)]
    assert [len(people) for people in tested] == [1, 2]
    assert tested[0] < tested[1]
    for videos in (one, two):
        assert not {name[:3] for name in videos.test.names} & {name[:3] for name in videos.train.names}
        assert len(videos.test.names) + len(videos.train.names) == len(_TAKES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_subjects": ("004",)}, "test_subjects: expected some of 001, 002, 003, found 004"),
        ({"test_subjects": ("001", "002", "003")}, "expected 1 to 2 of 3 people, found all of them"),
        ({"test_subjects": (), "num_test_subjects": 7}, "expected 1 to 2 of 3 people, found all of them"),
        ({"num_test_subjects": 0}, "num_test_subjects: expected at least 1, found 0"),
        ({"expressions": ("anger",)}, "people to train on and others to test, found 003 alone"),
        ({"max_train": 0}, "max_train: expected at least 1, found 0"),
        ({"frames": 10}, r"mug/001/happiness/take000: expected at least 10 frames .* found 9"),
        ({"size": 32}, "at least 32 x 32 pixels"),
    ],
)
def test_settings_that_do_not_suit_the_folder_are_refused(load, options, message):
    with pytest.raises(InputError, match=message):
        load(**options)


def test_sessions_lie_under_their_subjects(folder, load):
    """As MUG is distributed; with them a person may have several takes of one number."""
    plain = load()
    for take in ("001/happiness/take000", "002/happiness/take001"):
        target = folder / take.replace("/", "/session1/", 1)
        target.parent.mkdir(parents=True)
        (folder / take).rename(target)
    (folder / "001/happiness").rmdir()
    for name in (folder / "001/session1/happiness/take000").iterdir():
        name.rename(name.with_name(name.name.upper()))
    videos = load()
    assert videos.train.names == ("001/happiness/session1/take000", "001/sadness/take000", "003/anger/take000")
    assert videos.test.names == ("002/happiness/session1/take001", "002/happiness/take000")
    assert videos.classes == plain.classes
    assert _shades(videos.train.source) == _shades(plain.train.source)
    assert _shades(videos.test.source) == _shades(plain.test.source)[::-1]
    (folder / "003/session0/anger").mkdir(parents=True)
    shutil.copytree(folder / "003/anger/take000", folder / "003/session0/anger", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"a path as <subject>/<expression>/<take>.* found 003/session0/anger/img_"):
        load()


def test_a_gap_in_the_numbers_is_named(folder, load):
    (folder / "002/happiness/take001/img_0009.png").unlink()
    with pytest.raises(InputError, match=r"take001: expected frames 3 to 15 without a gap, found none of number 9$"):
        load()


def test_a_frame_of_another_size_than_its_neighbours_is_named(folder, load):
    path = folder / "003/anger/take000/img_0006.png"
    Image.new("RGB", (16, 18)).save(path)
    with pytest.raises(InputError, match=r"expected 16 x 16 pixels, as its neighbours, found 16 x 18") as caught:
        load()
    assert str(caught.value).startswith(str(path))


def test_a_truncated_frame_is_named_and_nothing_is_left_behind(folder, load, tmp_path):
    path = folder / "003/anger/take000/img_0006.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="truncated or damaged") as caught:
        load()
    assert str(caught.value).startswith(str(path))
    cache = tmp_path / "prepared"
    assert not [*cache.glob("**/*.array_record*"), *cache.glob("**/dataset_info.json")]


@pytest.mark.parametrize("place", ["img_0000.png", "001/img_0000.png", "001/happiness/img_0000.png"])
def test_a_frame_without_its_labels_is_named(folder, load, place):
    shutil.copy(folder / "001/happiness/take000/img_0000.png", folder / place)
    with pytest.raises(InputError, match=f"a path as <subject>/<expression>/<take>/img_0000.jpg, found {place}"):
        load()


def test_names_that_do_not_suit_the_layout_are_named(folder, load):
    take = folder / "001/happiness/take000"
    shutil.copy(take / "img_0000.png", take / "img_00.png")
    with pytest.raises(InputError, match="each frame once, found img_"):
        load()
    (take / "img_00.png").rename(take / "face.png")
    with pytest.raises(InputError, match=r"a name as img_0000\.jpg, found face\.png"):
        load()


def test_empty_folders_are_named(folder, load, tmp_path):
    (folder / "003/anger/take001").mkdir()
    with pytest.raises(InputError, match=r"003/anger/take001: expected frames .* found none"):
        load()
    (tmp_path / "empty").mkdir()
    for kind in ("folders", "files"):
        with pytest.raises(InputError, match=r"empty: expected <subject>/<expression>/<take>.* found no (image|video)"):
            load_videos(kind, tmp_path / "empty", prepared_dir=tmp_path)
        with pytest.raises(InputError, match=r"none: expected a folder with .* found no such folder"):
            load_videos(kind, tmp_path / "none", prepared_dir=tmp_path)


def _encode(path, shades, side=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=side[0], height=side[1], pix_fmt="bgr0")
        for shade in shades:
            frame = np.full((side[1], side[0], 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files") / "mug"
    for k, (name, count) in enumerate(_TAKES.items()):
        shades = [_shade(name, i) for i in range(count)]
        _encode(folder / f"{name}.{'avi' if k % 2 else 'mkv'}", shades, (24, 20) if k == 3 else (16, 16))
    return folder


@pytest.fixture
def load_files(filmed, tmp_path):
    """Loads a copy of the files that a test may damage."""
    folder = shutil.copytree(filmed, tmp_path / "files" / "mug")
    defaults = {"size": 16, "frames": 4, "test_subjects": ("002",), "prepared_dir": tmp_path / "prepared"}
    return folder, lambda **options: load_videos("files", folder, **{**defaults, **options})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cut": "all"},
        {"cut": "middle"},
        {"cut": "evenly_spaced"},
        {"stride": 2},
        {"expressions": ("sadness", "happiness")},
    ],
)
def test_video_files_give_what_folders_of_frames_give(load, load_files, options):
    folders, files = load(**options), load_files[1](**options)
    assert files.classes == folders.classes
    for one, other in ((folders.train, files.train), (folders.test, files.test)):
        assert one.names == other.names
        np.testing.assert_array_equal(stack_clips(one.source), stack_clips(other.source))
        for label in one.labels:
            np.testing.assert_array_equal(one.labels[label], other.labels[label])


def test_video_files_lie_in_sessions_and_end_in_capitals(load_files):
    folder, load = load_files
    plain = load()
    path = folder / "002/happiness/take001.mkv"
    path = path if path.exists() else path.with_suffix(".avi")
    (folder / "002/Session 2/happiness").mkdir(parents=True)
    path.rename(folder / "002/Session 2/happiness" / path.name.upper())
    videos = load()
    assert videos.test.names == ("002/happiness/Session 2/TAKE001", "002/happiness/take000")
    assert _shades(videos.test.source) == _shades(plain.test.source)[::-1]


def test_video_files_that_cannot_be_used_are_skipped(load_files):
    folder, load = load_files
    path = folder / "001/sadness/take000.avi"
    path.write_bytes(path.read_bytes()[:3000])
    shutil.copy(folder / "003/anger/take000.mkv", folder / "003/anger/take000.mov")
    shutil.copy(folder / "003/anger/take000.mkv", folder / "003/take000.mkv")
    videos = load(frames=9, skip_damaged=True, test_subjects=("001",))
    assert list(videos.skipped) == [
        "001/sadness/take000",
        "002/happiness/take000",
        "003/anger/take000",
        "003/anger/take000.mov",
        "003/take000.mkv",
    ]
    assert (videos.train.names, videos.test.names) == (("002/happiness/take001",), ("001/happiness/take000",))


def test_files_that_cannot_be_used_are_named(load_files):
    folder, load = load_files
    with pytest.raises(InputError, match=r"take000\.\w+: expected at least 9 frames for a clip of 9, found 8"):
        load(frames=9)
    path = folder / "001/sadness/take000.avi"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"sadness/take000\.avi"):
        load(cut="middle")
    path.write_bytes(whole)
    shutil.copy(path, path.with_suffix(".mkv"))
    with pytest.raises(InputError, match=r"take000\.mkv: expected each take once, found take000\.avi too"):
        load()
    path.with_suffix(".mkv").rename(folder / "001/take009.avi")
    with pytest.raises(InputError, match=r"a path as <subject>/<expression>/<take>.mp4, found 001/take009.avi"):
        load()


def test_real_videos_are_read(real_data, tmp_path):
    videos = load_videos("folders", real_data("video_layout"), size=32, frames=20, stride=3, prepared_dir=tmp_path)
    assert len(videos.train.names) + len(videos.test.names) == 26
    assert {name[:3] for name in videos.test.names}.isdisjoint(name[:3] for name in videos.train.names)
    assert videos.classes["expression"] == ("talking",)
    frames = stack_clips(videos.test.source).astype(float)
    # A talking face: neighbours in time are much alike, and not the same.
    motion = np.abs(np.diff(frames, axis=1)).mean()
    assert 0.5 < motion < 0.3 * frames.std()
