"""Files that promise much or swell when they are unpacked take no more memory than their own size justifies."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from facedis_jax.data.images.lists import read_lines
from facedis_jax.errors import InputError
from facedis_jax.formats.images import Framing, decode_image
from facedis_jax.formats.json_files import read_json
from facedis_jax.formats.meshes import parse_mesh
from facedis_jax.formats.videos import read_video
from facedis_jax.training.arrays import load_arrays, save_arrays
from tests.fuzz.measure import measure, memory_share
from tests.fuzz.seeds import ply_file, video


def _peak(call):
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            call()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(1 << 25,), (10**9,), (2**62, 4)])
def test_archives_that_expand_or_lie_take_no_memory(tmp_path, shape):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", stream.getvalue() + bytes(1 << 25))
    peak, line = _peak(lambda: load_arrays(tmp_path / "a.npz", "arrays"))
    assert peak < 1 << 21
    assert "MiB" in line or "as its header says" in line


def test_weights_that_hardly_compress_are_read_whatever_their_size(tmp_path):
    weights = {"a": np.random.default_rng(0).normal(size=(1000, 800)), "b": np.zeros((5, 1000, 1000), np.float32)}
    save_arrays(tmp_path / "a.npz", weights)
    np.testing.assert_array_equal(load_arrays(tmp_path / "a.npz", "arrays")["a"], weights["a"])


@pytest.mark.parametrize("kind", ["PNG", "progressive JPEG", "WEBP", "TIFF"])
def test_huge_flat_images_take_no_memory(kind):
    stream = io.BytesIO()
    options = {"TIFF": {"compression": "tiff_deflate"}, "progressive JPEG": {"progressive": True}}.get(kind, {})
    Image.new("RGB", (4000, 3999)).save(stream, kind.split()[-1], **options)
    cost = measure(lambda: _peak(lambda: decode_image("a", stream.getvalue())))
    assert memory_share(cost.memory, 0) < 0.2


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 0}),
        ("RGB", "PNG", {"transparency": (0, 0, 0)}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("I;16", "PNG", {"transparency": 0}),
        ("CMYK", "TIFF", {"compression": "tiff_deflate"}),
        ("RGBA", "TIFF", {"compression": "tiff_deflate"}),
        ("YCbCr", "TIFF", {"compression": "tiff_deflate"}),
    ],
)
def test_images_that_are_converted_take_the_memory_that_any_small_file_may(mode, kind, options):
    """As large as they may be, turned and made grey."""
    stream, turned = io.BytesIO(), Image.Exif()
    turned[0x112] = 6
    Image.new(mode, (1775, 1770)).save(stream, kind, exif=turned, **options)
    read = []
    cost = measure(lambda: read.append(Framing(32, channels=1).pixels("a", decode_image("a", stream.getvalue()))))
    assert read
    assert memory_share(cost.memory, len(stream.getvalue())) < 1


def test_images_of_that_size_are_read():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=90)
    assert decode_image("a", stream.getvalue()).size == (2000, 1500)


def test_images_of_a_camera_are_read_smaller():
    """In proportion, with the colours that they have, and in the memory that any small file may take."""
    rows, columns = np.linspace(0, 250, 3000)[:, None], np.linspace(0, 250, 4001)
    pixels = np.stack(np.broadcast_arrays(rows, columns, (rows + columns) / 2), axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    read = []
    cost = measure(
        lambda: read.append(Framing(32, crop="center_square").pixels("a", decode_image("a", stream.getvalue())))
    )
    assert memory_share(cost.memory, len(stream.getvalue())) < 1
    expected = np.interp((np.arange(32) + 0.5) / 32, [0, 1], [0, 250])
    np.testing.assert_allclose(read[0][:, 16, 0], expected, atol=3)


def _chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_texts_that_expand_are_refused(kind):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "PNG")
    packed = (b"\0\0" if kind == b"zTXt" else b"\0\1\0\0\0") + zlib.compress(bytes(1 << 20))
    data = stream.getvalue()
    few, many = (b"".join(_chunk(kind, b"%d" % i + packed) for i in range(count)) for count in (1, 5))
    assert decode_image("a", data[:33] + few + data[33:]).size == (16, 16)
    with pytest.raises(InputError, match="letters of compressed text"):
        decode_image("a", data[:33] + many + data[33:])


@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_of_very_many_values_are_refused(order):
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    directory = start + struct.pack(f"{order}HHHII", 1, 273, 3, 1 << 20, 26) + bytes(1 << 21)
    with pytest.raises(InputError, match="1048576 of 273"):
        decode_image("a", directory)


def test_samples_that_are_not_there_take_no_memory(tmp_path):
    data = video("libx264", "yuv420p", "mp4", 4, 16)
    (tmp_path / "a.mp4").write_bytes(data)
    assert len(read_video(tmp_path / "a.mp4", Framing(8))) == 4
    at = data.index(b"stsz") + 8
    (tmp_path / "a.mp4").write_bytes(data[:at] + struct.pack(">II", 1, 1 << 23) + data[at + 8 :])
    cost = measure(lambda: _peak(lambda: read_video(tmp_path / "a.mp4", Framing(8))))
    assert memory_share(cost.memory, 0) < 0.2


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 60 + "1" + "}" * 60, "NaN\n" * 9, "9" * 5000, "\ufffe", ""])
def test_documents_that_are_too_deep_or_none_are_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_bytes(b'"\xff"')
    with pytest.raises(InputError, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_large_documents_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps([[]] * (1 << 20)))
    peak, line = _peak(lambda: read_json(tmp_path / "config.json"))
    assert "at most 2 MiB" in line
    assert peak < 1 << 20


@pytest.mark.parametrize("content", [b"a" * (1 << 22), b"\n" * (1 << 18) + b"a", "\U0001f600".encode() * (1 << 20)])
def test_lines_without_end_take_no_memory(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)

    def read():
        for _ in read_lines(tmp_path / "list.txt"):
            pass
        raise InputError("list", "more", "an end")

    peak, _ = _peak(read)
    assert peak < 1 << 20


def test_lists_read_the_same_with_windows_lines(tmp_path):
    lines = ["", "1.jpg  3 4", "", "\u00e9.jpg 5"]
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "list.txt").write_bytes(end.join([*lines, "", " ", ""]).encode())
        assert list(read_lines(tmp_path / "list.txt")) == lines
    (tmp_path / "list.txt").write_bytes(b"1.jpg \xff")
    with pytest.raises(InputError, match="a text file in UTF-8, found byte 0xff"):
        list(read_lines(tmp_path / "list.txt"))


def test_polygons_take_no_more_than_their_file_justifies():
    size = 1 << 23
    corners = struct.pack("<I", size) + bytes(size)
    narrow = ply_file("binary_little_endian", bytes(9), corners, (3, 1), "uchar uint uchar")
    peak, line = _peak(lambda: parse_mesh("a.ply", narrow))
    assert f"{size - 2} triangles in" in line
    assert peak < size
    size >>= 1
    text = ply_file("ascii", b"0 1 0\n" * 3, b"%d " % size + b"0 " * size, (3, 1))
    tracemalloc.start()
    try:
        mesh = parse_mesh("a.ply", text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(mesh.triangles) == size - 2
    assert peak < 10 * len(text)
