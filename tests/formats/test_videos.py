import re
import shutil
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedis_jax.errors import InputError
from facedis_jax.formats.files import file_digest
from facedis_jax.formats.images import Framing
from facedis_jax.formats.videos import VIDEO_SUFFIXES, even_times, read_video

_COUNT = 30
_KINDS = {
    "mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),
    "mov": ("libx264", "yuv420p", {}),
    "avi": ("mpeg4", "yuv420p", {}),
    "webm": ("libvpx", "yuv420p", {}),
    "mkv": ("ffv1", "bgr0", {}),
}


def _scene(count=_COUNT, width=32, height=32):
    """Frames [count, height, width, 3] that compression hardly changes, each brighter than the one before."""
    x, y = np.meshgrid(np.linspace(0, 60, width), np.linspace(0, 60, height))
    image = np.stack([x + y, 120 - y - 0 * x, x], -1)
    return (image + np.linspace(20, 110, count)[:, None, None, None]).round().astype(np.uint8)


def _write(
    path,
    frames,
    codec="libx264",
    pixels="yuv420p",
    options=None,
    *,
    degrees=0,
    flips=None,
    aspect=None,
    sound=False,
    left_out=(),
    times=None,
    rate=25,
    container=None,
    encoder=None,
):
    kinds = {".mts": "mpegts", ".ts": "mpegts", ".mkv": "matroska"}
    with av.open(str(path), "w", container or kinds.get(path.suffix), options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate, width=frames.shape[2], height=frames.shape[1], pix_fmt=pixels)
        if codec == "libx264":
            stream.options = {"crf": "12"}
        if codec in ("mpeg4", "mpeg1video", "mpeg2video", "wmv2", "libvpx"):
            stream.bit_rate = 4_000_000  # by default so few that a frame may repeat the one before
        if encoder:
            stream.options = encoder
        if aspect:
            stream.sample_aspect_ratio = aspect
        if degrees or flips:
            stream.set_display_rotation(degrees, **(flips or {}))
        if sound:
            voice = container.add_stream("aac", rate=16000, layout="mono")
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 16000
            container.mux(voice.encode(silence))
            container.mux(voice.encode())
        for i, frame in enumerate(frames):
            if i in left_out:
                continue
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.ndim == 3 else "gray")
            shown.pts, shown.time_base = i if times is None else times[i], 1 / Fraction(rate)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def _write_packets(path, codec, pixels, sides):
    """A stream whose frames change their size, as streams may at each image that stands on its own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, width=sides[0], height=sides[0], pix_fmt=pixels)
        for i, side in enumerate(sides):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width = encoder.height = side
            encoder.pix_fmt, encoder.time_base = pixels, Fraction(1, 25)
            shown = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
            (packet,) = encoder.encode(shown) or encoder.encode()
            packet.pts = packet.dts = i
            packet.stream = stream
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return {kind: _write(folder / f"a.{kind}", _scene(), *how) for kind, how in _KINDS.items()}


@pytest.mark.parametrize("kind", _KINDS)
def test_frames_come_out_as_they_went_in(videos, kind):
    frames = read_video(videos[kind], Framing(32))
    assert (frames.shape, frames.dtype) == ((_COUNT, 32, 32, 3), np.uint8)
    difference = np.abs(frames.astype(int) - _scene())
    assert difference.mean() < (0.01 if kind == "mkv" else 8)
    # In their order.
    assert (np.diff(frames.mean((1, 2, 3))) > 0).all()


def test_frames_are_cropped_resampled_and_made_grey(tmp_path):
    path = _write(tmp_path / "a.mkv", _scene(3, width=48), "ffv1", "bgr0")
    frames = read_video(path, Framing(16, channels=1))
    assert frames.shape == (3, 16, 16, 1)
    middle = _scene(3, width=48)[:, :, 8:40] @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(frames[..., 0], middle.reshape(3, 16, 2, 16, 2).mean((2, 4)), atol=2)
    with pytest.raises(InputError, match=r"a\.mkv, frame 0: expected a square image .* found 48 x 32"):
        read_video(path, Framing(16, crop="none"))
    with pytest.raises(InputError, match=r"at least 64 x 64 pixels"):
        read_video(path, Framing(64))


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le", "ya8"])
def test_grey_is_no_colour(tmp_path, pixels):
    path = _write(tmp_path / "a.mkv", _scene()[..., 0], "ffv1", pixels)
    np.testing.assert_allclose(
        read_video(path, Framing(32, channels=1))[..., 0], _scene()[..., 0], atol=pixels != "gray"
    )
    with pytest.raises(InputError, match=r"frame 0: expected a colour image \(RGB\), found a greyscale one"):
        read_video(path, Framing(32))


def test_a_video_is_turned_as_its_file_says(tmp_path):
    frames = _scene(3)
    upright = read_video(_write(tmp_path / "a.mp4", frames, degrees=90), Framing(32))
    expected = np.rot90(frames, axes=(1, 2)).astype(int)
    assert np.abs(upright - expected).mean() < 8
    assert np.abs(upright - frames.astype(int)).mean() > 12


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", [{"hflip": True}, {"vflip": True}, {"hflip": True, "vflip": True}])
def test_a_video_is_mirrored_as_its_file_says(tmp_path, degrees, flips):
    frames = _scene(3, width=48)
    path = _write(tmp_path / "a.mp4", frames, degrees=degrees, flips=flips)
    expected = np.rot90(frames, degrees // 90, axes=(1, 2))
    expected = expected[:, :: -1 if "vflip" in flips else 1, :: -1 if "hflip" in flips else 1].astype(int)
    inside = slice(8, 40)
    expected = expected[:, inside] if degrees % 180 else expected[:, :, inside]
    assert np.abs(read_video(path, Framing(32)) - expected).mean() < 8


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("mp4", "libx264"), ("mov", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("mts", "libx264")],
)
@pytest.mark.parametrize(("width", "aspect"), [(48, "2/3"), (16, "2/1"), (24, "4/3")])
def test_frames_have_the_shape_in_which_they_are_shown(tmp_path, kind, codec, width, aspect):
    """Pixels are not square on DVDs and in many cameras' files; the frames here are shown as squares."""
    path = _write(tmp_path / f"a.{kind}", _scene(3, width=width), codec, aspect=Fraction(aspect))
    frames = read_video(path, Framing(32, crop="none"))
    assert np.abs(frames - _scene(3).astype(int)).mean() < 8


def test_turned_frames_are_widened_before(tmp_path):
    path = _write(tmp_path / "a.mp4", _scene(3, width=16), degrees=90, aspect=Fraction(4))
    with pytest.raises(InputError, match=r"a square image .* found 32 x 64"):
        read_video(path, Framing(32, crop="none"))


def test_pixels_of_absurd_shape_are_refused(tmp_path):
    path = _write(tmp_path / "a.mkv", _scene(3), aspect=Fraction(20))
    with pytest.raises(InputError, match=r"pixels at most 8 times as wide as high, .* found 20:1"):
        read_video(path, Framing(32))


_UNEVEN = [*range(10), *range(12, 52, 2)]


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "avi", "webm", "ts"])
def test_frames_of_a_variable_rate_are_taken_at_even_times(tmp_path, kind):
    """Ten frames at 25 in a second, then twenty at 12.5: a scene that grows brighter at an even rate."""
    scene = _scene(_UNEVEN[-1] + 1)[_UNEVEN]
    path = _write(tmp_path / f"a.{kind}", scene, *_KINDS.get(kind, ()), times=_UNEVEN)
    frames = read_video(path, Framing(32))
    assert len(frames) == len(_UNEVEN)
    # The last frame is shown for two, as most are.
    shown = np.searchsorted(_UNEVEN, (np.arange(30) + 0.5) * (_UNEVEN[-1] + 2) / 30, side="right") - 1
    assert np.abs(frames.mean((1, 2, 3)) - scene[shown].mean((1, 2, 3))).max() < 2
    np.testing.assert_array_equal(read_video(path, Framing(32), most=7), frames[:7])
    np.testing.assert_array_equal(read_video(path, Framing(32), most=8), frames[:8])


@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(30), Fraction(15), Fraction(60)]
)
@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi", "mts"])
def test_frames_of_a_constant_rate_are_those_of_the_file(tmp_path, rate, kind):
    """Times are rounded to milliseconds in Matroska and to 1/90,000 of a second in MPEG streams."""
    path = _write(tmp_path / f"a.{kind}", _scene(), *(_KINDS[kind][:2] if kind in _KINDS else ()), rate=rate)
    with av.open(str(path)) as container:
        decoded = np.stack([np.asarray(frame.to_image()) for frame in container.decode(video=0)])
    np.testing.assert_array_equal(read_video(path, Framing(32)), decoded)


def test_even_times_keep_the_number_and_the_order():
    random = np.random.default_rng(0)
    for _ in range(100):
        times = np.cumsum(random.choice([0.03, 0.04, 0.2, 3.0], random.integers(1, 40))) + random.uniform(-9, 9)
        shown = even_times(times)
        assert shown.sum() == len(shown) == len(times)
    for times in (np.arange(30) / 25, np.zeros(5), np.array([0.0, 1.0]), np.array([]), np.array([0.0, 2.0, 1.0, 3.0])):
        np.testing.assert_array_equal(even_times(times), 1)


_OTHERS = {
    "a.mpg": ("mpeg2video", "yuv420p", "vob"),
    "b.MPEG": ("mpeg1video", "yuv420p", "mpeg"),
    "c.m2v": ("mpeg2video", "yuv420p", "mpeg2video"),
    "d.ts": ("mpeg2video", "yuv420p", "mpegts"),
    "e.MTS": ("libx264", "yuv420p", "mpegts"),
    "f.wmv": ("wmv2", "yuv420p", "asf"),
    "g.flv": ("libx264", "yuv420p", "flv"),
    "h.3gp": ("mpeg4", "yuv420p", "3gp"),
    "i.ogv": ("libvpx", "yuv420p", "ogg"),
    "j.MP4": ("libx264", "yuv444p", "mp4"),
    "k.m4v": ("mpeg4", "yuv420p", "ipod"),
    "l.MOV": ("libx264", "yuv422p10le", "mov"),
    "m.AVI": ("rawvideo", "yuyv422", "avi"),
    "n.mkv": ("ffv1", "gbrp16le", "matroska"),
    "o.mkv": ("ffv1", "yuva420p", "matroska"),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_files_of_cameras_and_their_pixel_formats_are_read(tmp_path, name):
    codec, pixels, container = _OTHERS[name]
    path = _write(tmp_path / name, _scene(), codec, pixels, container=container)
    assert path.suffix.lower() in VIDEO_SUFFIXES
    frames = read_video(path, Framing(32))
    assert len(frames) == _COUNT
    assert np.abs(frames - _scene().astype(int)).mean() < 8
    assert (np.diff(frames.mean((1, 2, 3))) > 0).all()


def test_streams_without_a_container_have_no_times(tmp_path):
    for rate in (25, Fraction(30000, 1001)):
        path = _write(tmp_path / "a.m2v", _scene(), "mpeg1video", container="mpeg1video", rate=rate)
        frames = read_video(path, Framing(32))
        assert (np.diff(frames.mean((1, 2, 3))) > 0).all()


def test_a_picture_of_the_cover_is_no_video(tmp_path, videos):
    path = tmp_path / "a.mp4"
    with av.open(str(videos["mp4"])) as source, av.open(str(path), "w") as target:
        cover = target.add_stream("png", width=64, height=64, pix_fmt="rgb24")
        cover.disposition = av.stream.Disposition.attached_pic
        copied = target.add_stream_from_template(source.streams.video[0])
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        target.mux(cover.encode(picture))
        target.mux(cover.encode())
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    np.testing.assert_array_equal(read_video(path, Framing(32)), read_video(videos["mp4"], Framing(32)))


def test_packets_of_cameras_are_read(tmp_path):
    """AVCHD has four bytes of time before each packet of a transport stream."""
    stream = _write(tmp_path / "a.ts", _scene()).read_bytes()
    path = tmp_path / "a.m2ts"
    path.write_bytes(b"".join(bytes(4) + stream[i : i + 188] for i in range(0, len(stream), 188)))
    np.testing.assert_array_equal(read_video(path, Framing(32)), read_video(tmp_path / "a.ts", Framing(32)))


def test_interlaced_frames_are_read(tmp_path):
    options = {"flags": "+ildct+ilme", "top": "1"}
    path = _write(tmp_path / "a.mpg", _scene(), "mpeg2video", container="vob", encoder=options)
    frames = read_video(path, Framing(32))
    assert len(frames) == _COUNT
    assert np.abs(frames - _scene().astype(int)).mean() < 8


@pytest.mark.parametrize("size", [(33, 35), (47, 31)])
def test_odd_sizes_are_read(tmp_path, size):
    scene = _scene(3, *size)
    frames = read_video(_write(tmp_path / "a.mkv", scene, "ffv1", "bgr0"), Framing(16))
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = scene[:, top : top + side, left : left + side].astype(float)
    assert np.abs(frames.mean((1, 2)) - square.mean((1, 2))).max() < 3


_NAMES_OF_CODE = re.compile(r"\b[A-Z]\w*(Error|Exception|Warning)\b|NoneType|object has no|Traceback")


@pytest.mark.parametrize("kind", _KINDS)
def test_damaged_files_give_a_reason_in_words(videos, tmp_path, kind):
    data, random = videos[kind].read_bytes(), np.random.default_rng(0)
    path = tmp_path / f"a.{kind}"
    reasons = set()
    for share in np.linspace(0.01, 0.9, 10):
        damaged = bytearray(data)
        place = random.integers(0, min(len(data), 1200))
        damaged[place : place + 4] = random.bytes(4)
        for content in (data[: int(share * len(data))], data[: int(1000 * share)], bytes(damaged)):
            path.write_bytes(content)
            try:
                read_video(path, Framing(8))
            except InputError as error:
                reasons.add(error.found)
    assert reasons
    assert not [reason for reason in reasons if _NAMES_OF_CODE.search(reason)]


def test_sound_is_left_out_and_sound_alone_is_no_video(tmp_path):
    frames = read_video(_write(tmp_path / "a.mp4", _scene(), sound=True), Framing(32))
    assert len(frames) == _COUNT
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        voice = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(voice.encode(silence))
        container.mux(voice.encode())
    with pytest.raises(InputError, match=r"sound\.mp4: expected a video stream, found 1 other"):
        read_video(path, Framing(32))


def test_a_video_that_was_trimmed_without_encoding_is_whole(tmp_path, videos):
    """Its container tells players to skip the frames before the first that is shown."""
    path = tmp_path / "trimmed.mp4"
    with av.open(str(videos["mp4"])) as source, av.open(str(path), "w") as target:
        shown = source.streams.video[0]
        stream = target.add_stream_from_template(shown)
        shift = round(10 / 25 / shown.time_base)
        for packet in source.demux(shown):
            if packet.dts is not None:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = stream
                target.mux(packet)
    np.testing.assert_array_equal(read_video(path, Framing(32)), read_video(videos["mp4"], Framing(32))[10:])


@pytest.mark.parametrize(("start", "seconds"), [(0, 0.4), (10, 0.8), (5, 0.4)])
def test_frames_that_a_list_of_edits_cuts_off_are_not_missing(tmp_path, videos, start, seconds):
    """As cameras trim: all frames stay in the file, and its header says which part is shown."""
    data = bytearray(videos["mp4"].read_bytes())
    at = data.index(b"elst") + 12
    length, first = struct.unpack(">Ii", data[at : at + 8])
    per_second = (length * 25 // _COUNT, struct.unpack(">I", data[data.index(b"mdhd") + 16 :][:4])[0])
    edit = round(seconds * per_second[0]), first + start * per_second[1] // 25
    data[at : at + 8] = struct.pack(">Ii", *edit)
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(data)
    whole = read_video(videos["mp4"], Framing(32))
    np.testing.assert_array_equal(read_video(path, Framing(32)), whole[start : start + round(25 * seconds)])
    path.write_bytes(data[: -len(data) // 4])
    with pytest.raises(InputError, match=r"trimmed\.mp4"):
        read_video(path, Framing(32))


@pytest.mark.parametrize("kind", ["mp4", "avi", "webm"])
def test_dropped_frames_are_no_damage(tmp_path, kind):
    path = _write(tmp_path / f"a.{kind}", _scene(), *_KINDS[kind], left_out=(8, 9, 20))
    assert len(read_video(path, Framing(32))) == _COUNT - 3


@pytest.mark.parametrize("kind", _KINDS)
def test_as_many_frames_as_asked_for_are_read(videos, kind):
    whole = read_video(videos[kind], Framing(32))
    np.testing.assert_array_equal(read_video(videos[kind], Framing(32), most=7), whole[:7])
    np.testing.assert_array_equal(read_video(videos[kind], Framing(32), most=1000), whole)


def test_frames_of_another_size_are_named(tmp_path):
    path = _write_packets(tmp_path / "a.avi", "mjpeg", "yuvj420p", (32, 32, 48))
    assert len(read_video(path, Framing(32), most=2)) == 2
    with pytest.raises(InputError, match=r"a\.avi, frame 2: expected 32 x 32 pixels, .* found 48 x 48"):
        read_video(path, Framing(32))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "expected a video, found an empty file"),
        (b"no video at all", r"expected a whole video \(.mp4, .*damaged or truncated"),
        # A playlist, by which FFmpeg would be led to another file.
        (b"ffconcat version 1.0\nfile b.mp4\n", "damaged or truncated"),
    ],
)
def test_what_is_no_video_is_named(videos, tmp_path, data, found):
    path = tmp_path / "a.mp4"
    shutil.copy(videos["mp4"], tmp_path / "b.mp4")
    path.write_bytes(data)
    with pytest.raises(InputError, match=found) as caught:
        read_video(path, Framing(32))
    assert str(caught.value).startswith(f"{path}: expected a")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for call in (lambda path: read_video(path, Framing(32)), file_digest):
        with pytest.raises(InputError, match=r"a\.mp4: expected a file that can be read, found No such file"):
            call(tmp_path / "a.mp4")


@pytest.mark.parametrize("kind", _KINDS)
def test_a_video_that_was_cut_off_is_refused_or_whole(videos, tmp_path, kind):
    """The last bytes of a file may be an index, without which nothing is lost."""
    data, whole = videos[kind].read_bytes(), read_video(videos[kind], Framing(32))
    path = tmp_path / f"cut.{kind}"
    accepted = 0
    for share in np.linspace(0, 0.97, 25):
        path.write_bytes(data[: int(share * len(data))])
        try:
            cut = read_video(path, Framing(32))
        except InputError:
            continue
        accepted += 1
        # A Matroska file says how long it is, not how many frames it has.
        missing = 5 if kind in ("webm", "mkv") else 0
        assert len(cut) >= len(whole) - missing
        np.testing.assert_array_equal(cut, whole[: len(cut)])
    assert accepted <= 6


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_a_frame_that_was_overwritten_is_refused(videos, tmp_path, kind):
    """The second half of the 16th, as if the disk had failed there."""
    with av.open(str(videos[kind])) as container:
        packet = list(container.demux(video=0))[15]
    data = bytearray(videos[kind].read_bytes())
    half = packet.size // 2
    data[packet.pos + half : packet.pos + packet.size] = bytes(packet.size - half)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.{kind}: expected .*damaged or truncated"):
        read_video(path, Framing(32))


@given(kind=st.sampled_from(sorted(_KINDS)), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_input_error_or_does_no_harm(videos, tmp_path, kind, data):
    damaged = bytearray(videos[kind].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, min(900, len(damaged) - 1)))
        damaged[place : place + 4] = data.draw(st.binary(min_size=0, max_size=8))
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(damaged)
    try:
        frames = read_video(path, Framing(8))
    except InputError:
        return
    assert frames.shape[1:] == (8, 8, 3)


def test_frames_that_take_more_memory_than_the_file_can_fill_are_refused(tmp_path):
    path = _write(tmp_path / "a.mp4", np.zeros((1, 2048, 2048, 3), np.uint8))
    with pytest.raises(InputError, match=r"frames of at most [\d,]+ pixels in a file of its size, found 2048 x 2048"):
        read_video(path, Framing(32))
    # And where only the second frame has that size, before it is decoded.
    path = _write_packets(tmp_path / "b.avi", "libx264", "yuv420p", (32, 2048))
    with pytest.raises(InputError, match=r"damaged or truncated one \("):
        read_video(path, Framing(32))


def test_decoding_prints_nothing(videos, tmp_path, capfd):
    path = tmp_path / "a.webm"
    path.write_bytes(videos["webm"].read_bytes()[:-300])
    read_video(videos["webm"], Framing(32))
    with pytest.raises(InputError):
        read_video(path, Framing(32))
    assert capfd.readouterr() == ("", "")


def test_the_digest_is_the_files_sha256(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"abc")
    assert file_digest(tmp_path / "a.mp4").hex().startswith("ba7816bf8f01cfea414140de5dae2223")
