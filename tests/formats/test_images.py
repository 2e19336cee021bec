import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facedis_jax.errors import InputError
from facedis_jax.formats import images as image_files
from facedis_jax.formats.images import CELEBA_SIZE, CROPS, Framing, decode_image, open_images


def _smooth(width, height, channels=3):
    """An image that resampling and JPEG hardly change: [height, width, channels]."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [255 * x, 255 * y, 255 * (1 - x) * y][:channels]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def _encoded(image, fmt="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


_NOISE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
_WHOLE = {
    "jpeg": _encoded(_NOISE, "JPEG"),
    "progressive": _encoded(_NOISE, "JPEG", progressive=True),
    "png": _encoded(_NOISE),
    "webp": _encoded(_NOISE, "WEBP"),
    "bmp": _encoded(_NOISE, "BMP"),
    "tiff": _encoded(_NOISE, "TIFF"),
    "ppm": _encoded(_NOISE, "PPM"),
}


def _png16(channels, value=0, transparent=None):
    """A 16-bit PNG of one value, which Pillow cannot write in colour, with a value that is to be see-through."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 16, 16, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + struct.pack(">H", value) * 16 * channels for _ in range(16))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 0)), chunk(b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, chunk(b"tRNS", struct.pack(">H", transparent) * channels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("crop", CROPS)
def test_an_image_of_the_right_size_is_taken_as_it_is(fmt, crop):
    image = _NOISE[:16, :16]
    framed = Framing(16, crop=crop).pixels("x", decode_image("x", _encoded(image, fmt)))
    np.testing.assert_array_equal(framed, image)
    assert framed.dtype == np.uint8


def test_jpeg_and_webp_are_read_too():
    image = _smooth(32, 32)
    for fmt in ("JPEG", "WEBP"):
        framed = Framing(32).pixels("x", decode_image("x", _encoded(image, fmt, quality=95)))
        assert np.abs(framed.astype(int) - image).mean() < 4


@pytest.mark.parametrize(
    ("crop", "size", "box"),
    [
        ("none", (64, 64), (0, 0, 64)),
        ("center_square", (640, 490), (75, 0, 490)),
        ("center_square", (178, 218), (0, 20, 178)),
        ("celeba_140", CELEBA_SIZE, (19, 39, 140)),
        ("celeba_108", CELEBA_SIZE, (35, 55, 108)),
        ("celeba_108", (64, 64), (0, 0, 64)),
    ],
)
def test_crops_keep_the_square_they_name(crop, size, box):
    assert Framing(32, crop=crop).box("x", *size) == box


@given(
    size=st.sampled_from([16, 32]),
    width=st.integers(40, 90),
    height=st.integers(40, 90),
    # Near the border the filter's support is cut off and the image no longer follows its formula.
    u=st.floats(0.25, 0.75),
    v=st.floats(0.25, 0.75),
)
@settings(max_examples=40, deadline=None)
def test_points_move_with_the_pixels(size, width, height, u, v):
    """An image whose red and green say where each pixel was: at a moved point they must say where the point was."""
    framing = Framing(size)
    left, top, side = framing.box("x", width, height)
    x, y = left + u * (side - 1), top + v * (side - 1)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    image = np.stack([2 * columns, 2 * rows, 0 * rows], -1).astype(np.uint8)
    framed = framing.pixels("x", Image.fromarray(image)).astype(float)
    moved = framing.points("x", np.array([x, y]), width, height)
    column, row = np.floor(moved).astype(int)
    dx, dy = moved - [column, row]
    corners = framed[row : row + 2, column : column + 2, :2]
    blend = np.einsum("i,j,ijc->c", [1 - dy, dy], [1 - dx, dx], corners)
    np.testing.assert_allclose(blend / 2, [x, y], atol=0.5)
    assert moved.dtype == np.float32


def test_the_corner_pixel_has_its_centre_at_zero():
    framing = Framing(16)
    np.testing.assert_allclose(framing.points("x", np.array([[0.0, 0], [15, 15]]), 16, 16), [[0, 0], [15, 15]])
    # Four pixels become one, whose centre is theirs.
    np.testing.assert_allclose(framing.points("x", np.array([[0.5, 0.5], [30.5, 2.5]]), 32, 32), [[0, 0], [15, 1]])


def test_colour_becomes_grey_by_its_luma():
    grey = Framing(8, channels=1).pixels("x", Image.new("RGB", (8, 8), (200, 100, 50)))
    assert grey.shape == (8, 8, 1)
    np.testing.assert_allclose(grey, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1)


def test_an_image_is_turned_as_its_exif_tag_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode_image("x", _encoded(_smooth(32, 16), "JPEG", exif=exif, quality=95))
    assert upright.size == (16, 32)
    expected = np.rot90(_smooth(32, 16), k=-1).astype(int)
    assert np.abs(np.asarray(upright) - expected).mean() < 4


_ANIMATION = {"save_all": True, "append_images": [Image.new("RGB", (16, 16), "red")]}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"no image at all", "another or a damaged format"),
        (_WHOLE["jpeg"][:-40], "truncated"),
        (_WHOLE["png"][:-40], "truncated"),
        (_encoded(Image.new("I", (16, 16)), "TIFF"), "integers of 32 bits"),
        (_png16(1, 0xFFF), "values of up to 4095, as 12-bit cameras"),
        (_encoded(Image.new("I;16", (16, 16), 255), "TIFF"), "values of up to 255"),
        (_encoded(Image.new("F", (16, 16)), "TIFF"), "floating-point"),
        (_encoded(Image.new("RGB", (16, 16)), **_ANIMATION), "several frames"),
        (_encoded(Image.new("RGB", (16, 16)), "TIFF", **_ANIMATION), "several frames"),
        (_encoded(Image.new("RGB", (16, 16)), "GIF"), "another or a damaged format"),
    ],
)
def test_what_is_no_plain_image_is_named(data, found):
    with pytest.raises(InputError, match=found) as caught:
        decode_image("faces/a.png", data)
    assert str(caught.value).startswith("faces/a.png: expected ")
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)


def _with_alpha(image, alpha):
    image = image.copy()
    image.putalpha(alpha)
    return image


def _palette(colours, **options):
    """An image of four stripes, each of a colour of its own."""
    image = Image.fromarray(np.repeat(np.arange(16, dtype=np.uint8)[:, None] // 4, 16, axis=1), "P")
    image.putpalette([x for colour in colours for x in colour])
    return _encoded(image, **options)


_RGB, _GREY = Image.fromarray(_NOISE[:16, :16]), Image.fromarray(_NOISE[:16, :16, 0])
_STRIPES = np.repeat(np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8), 4, axis=0)[:, None]
_HALF = np.round(255 - (255 - np.asarray(_RGB, float)) * 128 / 255)


@pytest.mark.parametrize(
    ("data", "expected", "rule"),
    [
        (_encoded(_with_alpha(_RGB, 255)), np.asarray(_RGB), None),
        (_encoded(_with_alpha(_RGB, 255), "WEBP", lossless=True), np.asarray(_RGB), None),
        (_encoded(_with_alpha(_RGB, 255), "TIFF"), np.asarray(_RGB), None),
        (_encoded(_with_alpha(_RGB, 128)), _HALF, image_files.OVER_WHITE),
        (_encoded(_with_alpha(_RGB, 0)), 255, image_files.OVER_WHITE),
        (_encoded(_with_alpha(_GREY, 255)), np.asarray(_GREY), None),
        (_encoded(_with_alpha(_GREY, 0)), np.full((16, 16), 255), image_files.OVER_WHITE),
        (_encoded(Image.new("L", (16, 16), 7), transparency=8), np.full((16, 16), 7), None),
        (_encoded(Image.new("L", (16, 16), 7), transparency=7), np.full((16, 16), 255), image_files.OVER_WHITE),
        (_palette(_STRIPES[::4, 0].tolist()), np.broadcast_to(_STRIPES, (16, 16, 3)), None),
        (
            _palette(_STRIPES[::4, 0].tolist(), transparency=3),
            np.where(_STRIPES[-1] == _STRIPES, 255, _STRIPES),
            image_files.OVER_WHITE,
        ),
        (_palette(_STRIPES[::4, 0].tolist(), transparency=b"\xff\xff"), np.broadcast_to(_STRIPES, (16, 16, 3)), None),
        (_palette([(x, x, x) for x in (0, 9, 99, 255)]), np.repeat(np.uint8([0, 9, 99, 255]), 4)[:, None], None),
        (_encoded(_GREY.point(lambda x: 255 * (x > 99)).convert("1")), 255 * (np.asarray(_GREY) > 99), None),
        (_png16(1, 0x1234), np.full((16, 16), 0x12), image_files.UPPER_BITS),
        (_png16(3, 0xFFFF), np.full((16, 16, 3), 0xFF), image_files.UPPER_BITS),
        (_png16(1, 0x1234, 0x1234), np.full((16, 16), 255), image_files.OVER_WHITE),
        (_png16(1, 0x1234, 0x1235), np.full((16, 16), 0x12), image_files.UPPER_BITS),
        (_png16(3, 0x1234, 0x1234), np.full((16, 16, 3), 255), image_files.OVER_WHITE),
        (_encoded(Image.new("I;16", (16, 16), 0x1234), "TIFF"), np.full((16, 16), 0x12), image_files.UPPER_BITS),
        (b"P5 16 16 65535 " + b"\x12\x34" * 256, np.full((16, 16), 0x12), image_files.UPPER_BITS),
        (_encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), image_files.FROM_CMYK),
        (_encoded(Image.new("YCbCr", (16, 16), (99, 128, 128)), "TIFF", compression=None), 99, None),
        (_encoded(_RGB, "PPM"), np.asarray(_RGB), None),
        (_encoded(_GREY, "PPM"), np.asarray(_GREY), None),
        (b"P2 # by hand\n16 16 4\n" + b"4 " * 255 + b"2\n", [[255] * 16] * 15 + [[255] * 15 + [128]], None),
        (b"P1 16 16\n" + b"1" * 256, np.zeros((16, 16)), None),
    ],
)
def test_whatever_an_image_is_kept_as_it_becomes_rgb_or_grey(data, expected, rule):
    image = decode_image("x", data)
    expected = np.asarray(expected)
    assert image.mode == ("L" if expected.ndim == 2 and expected.shape[-1] != 3 else "RGB")
    np.testing.assert_allclose(np.asarray(image), np.broadcast_to(expected, np.asarray(image).shape), atol=1)
    assert image.info.get(image_files.RULE) == rule


@pytest.mark.parametrize(("fmt", "turn"), [("PNG", 3), ("WEBP", 8), ("TIFF", 6), ("JPEG", 5)])
def test_every_format_is_turned_once(fmt, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    expected = decode_image("x", _encoded(_smooth(32, 16), "JPEG", exif=exif, quality=95))
    upright = decode_image("x", _encoded(_smooth(32, 16), fmt, exif=exif, quality=95))
    assert upright.size == expected.size
    assert np.abs(np.asarray(upright, int) - np.asarray(expected, int)).mean() < 4


def _write_images(folder, images):
    for number, image in enumerate(images):
        image.save(folder / f"{number:02d}.png")
    return sorted(folder.iterdir())


def test_grey_images_among_colour_ones_are_read_and_counted(tmp_path):
    alpha = _with_alpha(_RGB, 128)
    images = open_images(_write_images(tmp_path, [_GREY, _RGB, _GREY, alpha]), Framing(16))
    read = [images.read(i)[0] for i in range(4)]
    np.testing.assert_array_equal(read[2], np.repeat(np.asarray(_GREY)[..., None], 3, axis=-1))
    assert images.rules == {image_files.GREY_AMONG_COLOUR: 2, image_files.OVER_WHITE: 1}


def test_a_grey_set_is_no_colour_set_with_an_exception(tmp_path):
    paths = _write_images(tmp_path, [_GREY, _GREY, _RGB])
    with pytest.raises(InputError, match=r"a colour image .RGB., found a greyscale one, where channels=1 reads"):
        open_images(paths, Framing(16))
    assert open_images(paths, Framing(16, channels=1)).read(2)[0].shape == (16, 16, 1)
    assert open_images(paths, Framing(16), grey_as_colour=True).read(0)[0].shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("image", "grey"),
    [
        (_GREY, True),
        (_RGB, False),
        (_with_alpha(_GREY, 9), True),
        (_with_alpha(_RGB, 9), False),
        (_GREY.convert("1"), True),
    ],
)
def test_headers_tell_grey_from_colour(tmp_path, image, grey):
    image.save(tmp_path / "a.png")
    assert image_files.is_grey(tmp_path / "a.png") is grey
    # A directory at the file's end.
    image.resize((300, 300)).save(tmp_path / "a.tif")
    assert image_files.is_grey(tmp_path / "a.tif") is grey
    (tmp_path / "a.png").write_bytes(b"no image")
    assert image_files.is_grey(tmp_path / "a.png") is None


@pytest.mark.parametrize(
    ("framing", "size", "found"),
    [
        (Framing(16, crop="none"), (16, 17), "16 x 17"),
        (Framing(32), (40, 31), "31 x 31"),
        (Framing(16, crop="celeba_140"), (178, 217), "178 x 217"),
    ],
)
def test_an_image_that_does_not_fit_is_named(framing, size, found):
    with pytest.raises(InputError, match=f"^x: .*{found}"):
        framing.pixels("x", Image.new("RGB", size))


def test_grey_is_no_colour():
    with pytest.raises(InputError, match=r"a colour image.*greyscale"):
        Framing(16).pixels("x", Image.new("L", (16, 16)))


@pytest.mark.parametrize(
    ("options", "found"),
    [({"size": 48}, "48"), ({"size": 4}, "4"), ({"size": 0}, "0"), ({"channels": 4}, "4"), ({"crop": "face"}, "face")],
)
def test_settings_that_cannot_be_are_refused(options, found):
    with pytest.raises(InputError, match=f"found '?{found}"):
        Framing(**{"size": 16, **options})


def test_images_must_have_the_size_of_the_first(tmp_path):
    for name, size in (("a", (32, 24)), ("b", (32, 24)), ("c", (24, 32)), ("d", (32, 20))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    paths = sorted(tmp_path.iterdir())
    images = open_images(paths, Framing(16))
    pixels, data = images.read(1)
    assert (pixels.shape, data) == ((16, 16, 3), paths[1].read_bytes())
    with pytest.raises(InputError, match=r"c\.png: expected 32 x 24 pixels.*found 24 x 32"):
        images.read(2)
    both = open_images(paths, Framing(16), usual_sizes=((32, 24), (32, 20)))
    assert both.read(3)[0].shape == (16, 16, 3)
    with pytest.raises(InputError, match=r"c\.png"):
        both.read(2)


@pytest.mark.parametrize("name", _WHOLE)
def test_a_file_that_was_cut_off_is_refused_or_whole(name):
    """The last bytes of a file may say nothing (the end marker of a JPEG); then nothing is lost."""
    whole = np.asarray(decode_image("x", _WHOLE[name]))
    accepted = 0
    for length in range(0, len(_WHOLE[name]), 7):
        try:
            cut = decode_image("x", _WHOLE[name][:length])
        except InputError:
            continue
        accepted += 1
        np.testing.assert_array_equal(np.asarray(cut), whole)
    assert accepted <= 3


@given(name=st.sampled_from(sorted(_WHOLE)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_an_input_error_or_does_no_harm(name, data):
    damaged = bytearray(_WHOLE[name])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(damaged) - 1) | st.integers(0, min(200, len(damaged) - 1)))
        kind = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if kind == "set":
            damaged[place] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            damaged[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        elif len(damaged) > 20:
            del damaged[place : place + 5]
    try:
        pixels = Framing(8).pixels("x", decode_image("x", bytes(damaged)))
    except InputError:
        return
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)


_PROMISES = """
import io, resource, struct, sys, zlib
import numpy as np
from PIL import Image
from facedis_jax.formats.images import decode_image
from facedis_jax.errors import InputError

def encoded(fmt, side):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, fmt)
    return bytearray(buffer.getvalue())

decode_image("x", bytes(encoded("JPEG", 200)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for side in (7000, 12000, 65000):
    for fmt, real in (("JPEG", 16), ("JPEG", 250), ("PNG", 16), ("PNG", 150)):
        data = encoded(fmt, real)
        if fmt == "JPEG":
            at = data.find(b"\\xff\\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", side, side)
        else:
            data[16:24] = struct.pack(">II", side, side)
            data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        try:
            decode_image("x", bytes(data))
        except InputError:
            pass
        else:
            sys.exit(f"{fmt} of {side} was accepted")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_promised_dimensions_take_no_memory():
    ran = subprocess.run([sys.executable, "-c", _PROMISES], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 20_000


def test_images_may_be_read_in_several_threads():
    """Nothing of the process, such as standard error, stays as it is while a file is read; all rules are counted."""
    before = (os.fstat(2).st_dev, os.fstat(2).st_ino), list(warnings.filters)
    damaged = bytearray(_encoded(_NOISE, "TIFF", compression="tiff_deflate"))
    damaged[40:44] = b"\xff\xff\xff\xff"
    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda data: _outcome(data), [bytes(damaged), _WHOLE["tiff"], _WHOLE["jpeg"]] * 16))
    assert set(read) == {"refused", "read"}
    assert ((os.fstat(2).st_dev, os.fstat(2).st_ino), list(warnings.filters)) == before


def _outcome(data):
    try:
        decode_image("x", data)
    except InputError:
        return "refused"
    return "read"
