"""Large files that cost a reader as much memory or time for their size as possible."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from tests.fuzz.seeds import Seeds, ply_file, video

_SIZE = 8 << 20


def _full(piece: bytes) -> bytes:
    return piece * (_SIZE // len(piece))


def plys() -> Seeds:
    """Short numbers, one-byte indices, polygons, faces of changing length, lists of nothing, nothing but a header."""
    rows, faces = _full(b"0 0 0\n"), _full(b"3 0 1 2\n")
    ragged = _full(b"3 0 1 2 4 0 1 2 0\n")
    corner, little = b"0 1 0\n" * 3, "binary_little_endian"
    many = struct.pack("<I", _SIZE)
    narrow, wide = "uchar uint uchar", "uchar uint int"
    contents = [
        ply_file("ascii", rows, b"3 0 1 2\n", (len(rows) // 6, 1)),
        ply_file("ascii", rows, b"3 0 1 2\n", (len(rows) // 6, 1), "double uchar int"),
        ply_file("ascii", corner, faces, (3, len(faces) // 8)),
        ply_file("ascii", corner, ragged, (3, len(ragged) // 9)),
        ply_file("ascii", corner, b"%d " % (_SIZE // 2) + _full(b"0 "), (3, 1)),
        ply_file("ascii", corner, _full(b"0\n"), (3, _SIZE // 2)),
        ply_file("ascii", corner, b"3 0 1 " + _full(b"1"), (3, 1)),
        ply_file(little, bytes(9), many + bytes(_SIZE), (3, 1), narrow),
        ply_file(little, bytes(_SIZE // 3 * 3), b"\3\0\0\0\0\1\2", (_SIZE // 3, 1), narrow),
        ply_file(little, bytes(9), _full(b"\3\0\1\2\4\0\1\2\0"), (3, _SIZE // 9 * 2), "uchar uchar uchar"),
        ply_file(little, bytes(9), _full(b"\6" + bytes(6)), (3, _SIZE // 7), "uchar uchar uchar"),
        ply_file(little, bytes(9), bytes(_SIZE), (3, _SIZE), "uchar uchar uchar"),
        ply_file(little, bytes(_SIZE), b"", (10**18, 10**18)),
        b"ply\nformat ascii 1.0\n" + b"element a 0\nproperty float x\n" * 30000 + b"end_header\n",
        b"ply\n" + _full(b"comment \n"),
        *(
            ply_file(*how).replace(b"element face", b"element tristrips")
            for how in (
                ("ascii", corner, b"%d " % (_SIZE // 2) + _full(b"0 "), (3, 1)),
                ("ascii", corner, b"%d " % (_SIZE // 6 * 3) + _full(b"0 1 2 "), (3, 1)),
                (little, bytes(9), many + bytes(_SIZE), (3, 1), narrow),
                (little, bytes(9), struct.pack("<I", _SIZE // 4) + _full(struct.pack("<2i", 0, 1)), (3, 1), wide),
            )
        ),
        gzip.compress(ply_file("ascii", rows, b"3 0 1 2\n", (len(rows) // 6, 1))),
        gzip.compress(rows[: 4 << 20]),
    ]
    return [("a.ply", content) for content in contents]


def objs() -> Seeds:
    """Short lines, polygons, continued and endless ones."""
    corner = b"v 0 0 0\n" * 3
    pieces = (
        b"v 0 0 0\n",
        b"f 1 2 3\n",
        b"f" + b" 1" * 30000 + b"\n",
        b"f 1 2 3\\\n\n",
        b"f\n",
        b"\n",
        b"v",
        b"#",
        b"\\\n",
    )
    return [("a.obj", corner + _full(piece) + b"\nf 1 2 3\n") for piece in pieces]


def wrls() -> Seeds:
    """Short numbers, commas, empty polygons, strings, comments and repeated keywords."""
    points, index = b"0 0 0 0 0 0 0 0 0", b"0 1 2 -1"

    def wrl(points: bytes, index: bytes, before: bytes = b"") -> tuple[str, bytes]:
        return "a.wrl", b"#VRML V2.0 utf8\n" + before + b"Coordinate{point[" + points + b"]}coordIndex[" + index + b"]"

    return [
        wrl(_full(b"0 0 0 "), index),
        wrl(points, _full(b"0 1 2 -1 ")),
        wrl(points, _full(b"0,")),
        wrl(points, _full(b"-1 ")),
        wrl(points, _full(b"0 1 -1 ")),
        wrl(points, index, _full(b'""a')),
        wrl(points, index, _full(b'""ab')),
        wrl(points, index, _full(b"#\n")),
        wrl(points, index, _full(b"Coordinate{point[")),
        wrl(points, index, _full(b"Coordinate {")),
        wrl(points, index, b"Coordinate" + _full(b" ")),
        wrl(points, index, b'"' + _full(b"\\")),
        wrl(points, index, _full(b"a b ")),
        wrl(points, index, _full(b"Transform{scale 1 1 1}")),
        wrl(points, index, _full(b"DEF a Coordinate{point[]}USE a ")),
        wrl(points, index, b"".join(b"DEF a%d Group{Coordinate{point[]}}" % i for i in range(_SIZE // 40))),
        wrl(points, index, b"".join(b"DEF a%d Coordinate{point[]}" % i for i in range(_SIZE // 34))),
        wrl(points, index, _full(b"Shape{geometry IndexedFaceSet{coord Coordinate{point[]}coordIndex[]}}")),
        wrl(points, index, _full(b"Shape{geometry IndexedFaceSet{}}")),
        wrl(points, index, b"PROTO a[" + _full(b"[")),
        wrl(points, index, _full(b"[ 0")),
        wrl(points, index, _full(b"[a")),
        wrl(_full(b"0 0 0 "), index, b"Transform{scale 2 2 2 children"),
    ]


def face_models() -> Seeds:
    """Archives that expand a thousandfold, and ones that expand as much as is allowed."""
    names = np.array(["a"])
    triangles = np.array([[0, 1, 2]])
    contents = []
    for modes, dtype in ((1 << 20, "i1"), (1 << 16, "f4"), (1 << 20, "f8"), (1 << 24, "i1")):
        arrays = {"neutral": np.eye(3) * 200, "expression": np.zeros((1, 3, 3)), "expression_names": names}
        contents.append(_archive({**arrays, "triangles": triangles}, "identity", (modes, 3, 3), dtype))
    for modes, vertices, dtype in ((500_000, 3, "i1"), (7, 100_000, "i1"), (7, 100_000, "f4"), (3, 100_000, "f8")):
        many = np.arange(4 * vertices)[:, None] % vertices + np.zeros(3, np.int32)
        neutral = np.eye(vertices, 3, dtype=np.int16) * 200
        arrays = {"neutral": neutral, "expression": np.zeros((1, vertices, 3), "i1"), "expression_names": names}
        contents.append(
            _archive({**arrays, "triangles": many.astype(np.uint32)}, "identity", (modes, vertices, 3), dtype)
        )
    return [("a.npz", content) for content in contents]


def codes() -> Seeds:
    """Archives that expand a thousandfold, and ones of very many members."""
    many = io.BytesIO()
    empty = _header((), "|u1") + b"\0"
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"{i}.npy", empty)
    bombs = [_archive({}, "a", (size,), "u1") for size in (1 << 22, 9 << 19, 1 << 26, 1 << 29)]
    return [("evaluation.npz", content) for content in (*bombs, many.getvalue())]


def models() -> Seeds:
    """Headers of very many arrays, of long shapes and of long cards."""
    item = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    many = ",".join(item % i for i in range(_SIZE // 80))
    long = '"a":{"dtype":"U8","shape":[%s0],"data_offsets":[0,0]}' % ("1," * (_SIZE // 3))
    cards = [
        json.dumps({"__metadata__": {"card": _full(piece)[: 1 << 20].decode()}})[1:-1] for piece in (b"[],", b"[", b"a")
    ]
    heads = [b"{" + text.encode() + b"}" for text in (many, long, *cards)]
    return [("model.safetensors", len(head).to_bytes(8, "little") + head) for head in heads]


def images() -> Seeds:
    """Flat images of every format in several sizes, text that expands, and TIFF with very many images."""
    from PIL import Image

    contents = []
    for side in (2048, 2800, 4096, 8000):
        image = Image.new("RGB", (side, side - 2))
        turned = Image.Exif()
        turned[0x112] = 6
        ways: tuple[tuple[str, dict], ...] = (
            ("JPEG", {}),
            ("JPEG", {"exif": turned}),
            ("JPEG", {"progressive": True, "subsampling": 0}),
            ("PNG", {}),
            ("PNG", {"exif": turned}),
            ("WEBP", {"lossless": True, "method": 0}),
            ("TIFF", {"compression": "tiff_deflate"}),
        )
        for kind, options in ways:
            stream = io.BytesIO()
            image.save(stream, kind, **options)
            contents.append(stream.getvalue())
    for mode, kind in (("RGBA", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"), ("RGBA", "TIFF")):
        stream = io.BytesIO()
        Image.new(mode, (1770, 1760)).save(stream, kind, **({"transparency": 0} if mode in ("P", "I;16") else {}))
        contents.append(stream.getvalue())
    contents.append(b"P3 1024 900 255 " + b"1 " * (3 * 1024 * 900))
    packed = zlib.compress(("\U0001f600" + "a" * ((1 << 20) - 4)).encode())
    texts = b"".join(_png_chunk(b"iTXt", b"%d\0\1\0\0\0" % i + packed) for i in range(60))
    small, tiff = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16)).save(small, "PNG")
    contents.append(small.getvalue()[:33] + texts + small.getvalue()[33:])
    # Entries that all hold the same large piece of the file.
    entries = b"".join(struct.pack("<HHII", tag, 7, 1 << 20, 8) for tag in range(65535))
    directory = b"II*\0\x08\0\0\0" + struct.pack("<H", 65535) + entries + bytes(1 << 20)
    contents.append(small.getvalue()[:33] + _png_chunk(b"eXIf", directory) + small.getvalue()[33:])
    contents.append(directory)
    Image.new("RGB", (16, 16)).save(tiff, "TIFF")
    contents.append(_with_long_tag(tiff.getvalue(), 273, 3, _SIZE // 2))
    pages = 200_000
    directories = b"".join(struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(pages))
    contents.append(b"II*\0\x08\0\0\0" + directories + struct.pack("<HI", 0, 0))
    start = len(tiff.getvalue())
    chain = b"".join(struct.pack("<HI", 0, start + 6 * (i + 1)) for i in range(pages)) + struct.pack("<HI", 0, 0)
    contents.append(_with_next_directory(tiff.getvalue(), start) + chain)
    return [("a.png", content) for content in contents]


def idx_files() -> Seeds:
    """Zeros, which deflate compresses a thousandfold."""
    head = b"\0\0\x08\x03" + struct.pack(">3I", 1 << 20, 28, 28)
    sizes = (1 << 20, 1 << 25, 1 << 27)
    return [
        ("a.gz", gzip.compress(head[:4] + struct.pack(">3I", size >> 10, 32, 32) + bytes(size), 9)) for size in sizes
    ] + [
        ("a", head + bytes(_SIZE)),
        ("a.gz", _full(gzip.compress(b""))),
    ]


def cifar_batches() -> Seeds:
    """Many records."""
    return [("data_batch_1.bin", bytes(3073 * 2700))]


def lists() -> Seeds:
    """Short and endless lines, wide characters, and the same name again and again."""
    pieces = (b"\n", b"ab\n", b"a \n", b"a", b"0 ", "\U0001f600".encode(), b"000001.jpg 0\n", b"\0", b"\r", b"\xff\n")
    files = ("list_landmarks_align_celeba.txt", "list_eval_partition.txt", "training.txt")
    emotion = "Emotion/S005/001/S005_001_00000001_emotion.txt"
    texts = [(name, _full(piece)) for piece in pieces for name in (*files, emotion)]
    names = "".join(f"{number:x} 0\n" for number in range(_SIZE // 8))
    alike = "file,view\n" + "".join(f"1.{number:x},0\n" for number in range(_SIZE // 9))
    quoted = 'file,person\n"' + "1.png\n" * (_SIZE // 6)
    rows = "file,person\n" + "1.png,\n" * (_SIZE // 7)
    own = [("own/labels.csv", text.encode()) for text in (alike, quoted, rows)]
    return [*texts, ("list_eval_partition.txt", names.encode()), *own]


def scans() -> Seeds:
    """Points in as little text as possible, empty lines, a long one, and words that are no numbers."""
    pieces = (b"0 1 2\n", b"0,1,2\r", b"\n", b"\r", b"#\n", b"1 ", b"1", b"x y z\n", b"0 1 2 3 4 5 6 7 8 9\n")
    flat, lines = _SIZE // 50, _full(b"vertex 0 1 2\n")
    text = b"solid\n" + lines
    stl = [bytes(80) + flat.to_bytes(4, "little") + bytes(50 * flat), text, text + b"endsolid"]
    return [*(("a.xyz", b"0 1 2\n" + _full(piece)) for piece in pieces), *(("a.stl", content) for content in stl)]


def vertex_lists() -> Seeds:
    """Short numbers, long ones and none."""
    return [("landmarks.txt", _full(piece)) for piece in (b"1 ", b"1", b"300 ", b"\n", "\U0001f600".encode())]


def videos() -> Seeds:
    """Flat frames, large and many; and headers that promise very many samples."""
    contents = [
        video("libx264", "yuv420p", "mp4", 3, 1024, noisy=False),
        video("libx264", "yuv420p", "mp4", 6, 1400, noisy=False),
        video("libx264", "yuv420p", "mp4", 1, 2048, noisy=False),
        video("libx264", "yuv420p", "mp4", 1000, 64, noisy=False),
        video("mjpeg", "yuvj444p", "mov", 2, 2048, noisy=False),
        video("ffv1", "bgr0", "matroska", 2, 1024, noisy=False),
        video("mpeg2video", "yuv420p", "vob", 3, 1024, noisy=False),
        video("mpeg2video", "yuv420p", "vob", 2, 4080, noisy=False),
        video("mpeg2video", "yuv420p", "mpegts", 2, 4080, noisy=False),
        video("mpeg1video", "yuv420p", "mpeg1video", 2, 4080, noisy=False),
        video("libx264", "yuv420p", "mpegts", 2, 4080, noisy=False),
        video("libx264", "yuv420p", "flv", 3, 2048, noisy=False),
        video("wmv2", "yuv420p", "asf", 3, 2040, noisy=False),
        video("libx264", "yuv420p", "mp4", 1000, 64, noisy=False, times=[i * i for i in range(1000)]),
        video("libx264", "yuv420p", "matroska", 1000, 64, noisy=False, times=[*range(999), 10**6]),
        *(start + bytes(_SIZE) for start in (b"\0\0\1\xba", b"\0\0\1\xb3", b"0&\xb2u", b"FLV\1", b"OggS")),
        _full(b"G" + bytes(187)),
        _full(bytes(4) + b"G" + bytes(187)),
    ]
    small = video("libx264", "yuv420p", "mp4", 4, 64)
    for count in (1 << 20, 1 << 25):
        sizes = _with_integers(small, b"stsz", 4, 1, count)
        contents += [sizes, _with_integers(_with_integers(sizes, b"stsc", 12, count), b"stts", 8, count)]
    return [("a.mp4", content) for content in contents]


def configs() -> Seeds:
    """Many small values, and deep ones."""
    return [("config.json", content) for content in _documents()]


def recipes() -> Seeds:
    """As `configs`, and very many units and weights."""
    units = b"{" + b",".join(b'"%x":"jawOpen"' % i for i in range(_SIZE // 30)) + b"}"
    weights = b'{"a":{' + b",".join(b'"%x":1' % i for i in range(_SIZE // 12)) + b"}}"
    return [("recipes.json", content) for content in (*_documents(), units, weights)]


def metrics() -> Seeds:
    """As `configs` in one line, and very many lines."""
    lines = (b'{"step":1,"split":""}\n', b"\n", b'{"step":1,"split":"train"}\n')
    return [("metrics.jsonl", content) for content in (*_documents(), *map(_full, lines))]


def _documents() -> list[bytes]:
    wrap: Callable[[bytes], bytes] = lambda piece: b'{"config":[' + _full(piece) + b"0]}"  # noqa: E731
    pieces = (b"[],", b"{},", b"[0],", b'{"":0},', b"1.5,", b'"ab",', '"\U0001f600",'.encode(), b"0,", b" ")
    names = b"{" + b"".join(b'"%x":0,' % i for i in range(_SIZE // 10)) + b'"config":{}}'
    return [*map(wrap, pieces), _full(b"["), _full(b'{"a":'), b'"' + _full(b"a") + b'"', _full(b"9"), names]


def _header(shape: tuple[int, ...], dtype: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def _archive(arrays: dict[str, np.ndarray], bomb: str, shape: tuple[int, ...], dtype: str) -> bytes:
    """An `.npz` of arrays and one of zeros, written a piece at a time."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open(f"{bomb}.npy", "w") as member:
            member.write(_header(shape, dtype))
            left = int(np.prod(shape)) * np.dtype(dtype).itemsize
            while left:
                piece = min(left, 1 << 24)
                member.write(bytes(piece))
                left -= piece
    return stream.getvalue()


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def _with_integers(mp4: bytes, box: bytes, offset: int, *values: int) -> bytes:
    at = mp4.index(box) + 4 + offset
    return mp4[:at] + struct.pack(f">{len(values)}I", *values) + mp4[at + 4 * len(values) :]


def _with_long_tag(tiff: bytes, tag: int, kind: int, count: int) -> bytes:
    """A TIFF file with a tag of so many values, which stand at the end of the file."""
    at = tiff.index(struct.pack("<H", tag), struct.unpack("<I", tiff[4:8])[0])
    return tiff[:at] + struct.pack("<HHII", tag, kind, count, len(tiff)) + tiff[at + 12 :] + b"\1\1" * count


def _with_next_directory(tiff: bytes, offset: int) -> bytes:
    (first,) = struct.unpack("<I", tiff[4:8])
    (entries,) = struct.unpack("<H", tiff[first : first + 2])
    at = first + 2 + 12 * entries
    return tiff[:at] + struct.pack("<I", offset) + tiff[at + 4 :]
