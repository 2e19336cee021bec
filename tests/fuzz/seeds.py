"""Valid files to start from, made by the project's writers and by the libraries whose formats it reads."""

import gzip
import io
import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from facedis_jax.formats.meshes import Mesh, write_mesh

Seeds = list[tuple[str, bytes]]
"""Names and contents of files."""

_VERTICES = np.array([[0, 0, 0], [150, 0, 0], [0, -225, 0], [0, 0, 300], [100, 100, 12.5]], np.float32)
_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [2, 3, 4]], np.int32)
_RANDOM = np.random.default_rng(0)


def ply_file(kind: str, vertices: bytes, faces: bytes, count: tuple[int, int], types: str = "float uchar int") -> bytes:
    """A PLY file of a kind ("ascii", "binary_little_endian") with encoded bodies."""
    coordinate, length, index = types.split()
    axes = "".join(f"property {coordinate} {axis}\n" for axis in "xyz")
    list_of = f"property list {length} {index} vertex_indices\n"
    head = f"ply\nformat {kind} 1.0\nelement vertex {count[0]}\n{axes}element face {count[1]}\n{list_of}end_header\n"
    return head.encode() + vertices + faces


def plys(folder: Path) -> Seeds:
    """Binary of either order, text, faces of different lengths, triangle strips, and one that is compressed."""
    write_mesh(folder / "a.ply", Mesh(_VERTICES, _TRIANGLES))
    rows = "".join(f"{x:g} {y:g} {z:g}\n" for x, y, z in _VERTICES).encode()
    big = _VERTICES.astype(">f4").tobytes() + b"".join(struct.pack(">B3i", 3, *row) for row in _TRIANGLES.tolist())
    ragged = struct.pack("<B3i", 3, 0, 1, 2) + struct.pack("<B4i", 4, 0, 1, 2, 3)
    contents = [
        (folder / "a.ply").read_bytes(),
        ply_file("ascii", rows, b"3 0 1 2\n3 0 2 3\n3 2 3 4\n", (5, 3)),
        ply_file("ascii", rows, b"3 0 1 2\n4 0 2 3 4\n", (5, 2)),
        ply_file("binary_little_endian", _VERTICES.tobytes(), ragged, (5, 2)),
        ply_file("binary_big_endian", b"", big, (5, 3)),
        ply_file("ascii", rows, b"8 0 1 2 3 -1 2 3 4\n", (5, 1)).replace(b"element face", b"element tristrips"),
        gzip.compress(ply_file("ascii", rows, b"3 0 1 2\n4 0 2 3 4\n", (5, 2))),
    ]
    return [("a.ply", content) for content in contents]


def objs(folder: Path) -> Seeds:
    """As this project writes it, and one with everything that the format has."""
    write_mesh(folder / "a.obj", Mesh(_VERTICES, _TRIANGLES))
    full = b"# a\nmtllib /etc/passwd\nv 0 0 0\nv 1.5 0 0\nv 0 2 0 1\nvt 0 0\nf 1/1 2//3 -1/1/1\nf 1 2 \\\n 3\n"
    return [("a.obj", (folder / "a.obj").read_bytes()), ("a.obj", full)]


def wrls(folder: Path) -> Seeds:
    """One with comments, strings and commas, a minimal one, and one with everything that places and shares shapes."""
    full = b"""#VRML V2.0 utf8
# Coordinate { point [ 9 9 9 ] }
Shape { appearance Appearance { texture ImageTexture { url "a#b\\".bmp" } }
 geometry IndexedFaceSet { coord DEF points Coordinate { point [ 0 0 0, 1.5 0 0, 0 -2.25 0, 0 0 3 1 1 .125, ] }
 coordIndex [0, 1, 2, -1, 0 2 3 -1 2,3,4] texCoordIndex [ 0 1 0 -1 ] } }
"""
    placed = b"""#VRML V2.0 utf8
PROTO A [ field SFNode b NULL field MFFloat c [ 1 2 ] ] { Group {} }
DEF a Transform { translation 1 2 3 center 1 0 0 scaleOrientation 0 0 1 1 scale 1 2 3 rotation 1 1 0 .5 children [
 Switch { whichChoice 1 choice [ Group { } LOD { range [ 1 ] level [ Shape { geometry DEF b IndexedFaceSet { ccw FALSE
 coord DEF c Coordinate { point [ 0 0 0, 1 0 0, 1 1 0 ] } coordIndex [ 0 1 2 -1 ] } } Group { } ] } ] }
 Collision { proxy Shape { geometry USE b } children Shape { geometry IndexedFaceSet { coord USE c coordIndex [ 2 1 0 ]
 } } } ] } ROUTE a.b TO c.d
"""
    return [
        ("a.wrl", full),
        ("a.wrl", b"#VRML V2.0 utf8\nCoordinate{point[0 0 0 1 0 0 1 1 0]} coordIndex[0 1 2 -1]"),
        ("a.wrl", placed),
    ]


def face_models(folder: Path) -> Seeds:
    """A small face in millimetres."""
    arrays: dict[str, np.ndarray] = {
        "neutral": _VERTICES,
        "identity": _RANDOM.normal(size=(2, 5, 3)).astype(np.float32),
        "expression": _RANDOM.normal(size=(2, 5, 3)),
        "expression_names": np.array(["jawOpen", "smile"]),
        "triangles": _TRIANGLES,
        "unit": np.array("mm"),
        "landmark_names": np.array(["nose"]),
        "landmark_indices": np.array([2]),
    }
    quads: dict[str, np.ndarray] = {
        key: arrays[key] for key in ("neutral", "identity", "expression", "expression_names")
    }
    return [("a.npz", _npz(arrays)), ("a.npz", _npz(quads | {"quads": np.array([[0, 1, 2, 3]], np.uint8)}))]


def codes(folder: Path) -> Seeds:
    """The codes of an evaluation that was stopped."""
    from facedis_jax.training.arrays import save_arrays

    arrays = {"model": np.array("a1"), "b2": _RANDOM.normal(size=(2, 4, 3)).astype(np.float32)}
    save_arrays(folder / "evaluation.npz", arrays)
    return [("evaluation.npz", (folder / "evaluation.npz").read_bytes())]


def models(folder: Path) -> Seeds:
    """Model files of faces, without labels and with them, of images and of clips."""
    from facedis_jax.inference.example import example_face_model, example_image_model, example_video_model

    made: list[Any] = [example_face_model(conditional=conditional) for conditional in (False, True)]
    found = []
    for model in (*made, example_image_model(), example_video_model()):
        model.save(folder / "model.safetensors")
        found.append(("model.safetensors", (folder / "model.safetensors").read_bytes()))
    return found


def images(folder: Path) -> Seeds:
    """Every format and mode that is read, grey and in colour, rotated, progressive and in tiles."""
    from PIL import Image

    noise = _RANDOM.integers(0, 256, (24, 20, 3), np.uint8)
    turned = Image.Exif()
    turned[0x112] = 6
    colour, grey = Image.fromarray(noise), Image.fromarray(noise[..., 0])
    ways: list[tuple[Image.Image, str, dict]] = [
        (colour, "JPEG", {"exif": turned, "quality": 50}),
        (colour, "JPEG", {"progressive": True, "comment": b"a"}),
        (colour, "PNG", {}),
        (grey, "PNG", {"exif": turned}),
        (colour, "WEBP", {}),
        (colour, "WEBP", {"lossless": True}),
        (grey, "BMP", {}),
        (colour, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_deflate"}),
        (grey, "TIFF", {"compression": "tiff_lzw"}),
        (colour.convert("RGBA"), "PNG", {}),
        (grey.convert("LA"), "PNG", {}),
        (grey.convert("P"), "PNG", {"transparency": 3}),
        (grey.convert("1"), "PNG", {}),
        # All 16 bits used: others are refused, since their upper 8 alone would be black.
        (Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG", {"transparency": 3}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour.convert("RGBA"), "TIFF", {}),
        (colour, "PPM", {}),
    ]
    by_hand = b"P2 # a comment\n16 16 300\n" + b"299 " * 256
    return [("a.png", content) for content in (*(_saved(*way) for way in ways), by_hand)]


def idx_files(folder: Path) -> Seeds:
    """Digits and their labels, plain and compressed."""
    digits = b"\0\0\x08\x03" + struct.pack(">3I", 2, 28, 28) + _RANDOM.bytes(2 * 28 * 28)
    labels = b"\0\0\x08\x01" + struct.pack(">I", 5) + bytes([0, 1, 2, 3, 9])
    return [(f"a{end}", pack(data)) for data in (digits, labels) for end, pack in (("", bytes), (".gz", gzip.compress))]


def cifar_batches(folder: Path) -> Seeds:
    """Two images."""
    return [("data_batch_1.bin", b"".join(bytes([label]) + _RANDOM.bytes(3072) for label in (3, 9)))]


def lists(folder: Path) -> Seeds:
    """Two images in CelebA's layout and two in CK+'s, with every list that may come with them."""
    from PIL import Image

    for name in ("img_align_celeba/000001.jpg", "img_align_celeba/000002.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (178, 218)).save(folder / name)
    for name in ("own/1.png", "own/a/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64)).save(folder / name)
    for name in ("S005/001/S005_001_00000001.png", "S010/002/S010_002_00000001.png"):
        path = folder / "cohn-kanade-images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 64)).save(path)
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    rows = [f"00000{i}.jpg 69 109 106 113 77 142 73 152 108 154\n" for i in (1, 2)]
    # As a spreadsheet writes it.
    columns = f"\ufefffile;person;age;view;{';'.join(points.split())}"
    texts = {
        "list_landmarks_align_celeba.txt": f"2\n{points}\n{''.join(rows)}",
        "identity_CelebA.txt": "000001.jpg 2880\n000002.jpg 2937\n",
        "list_eval_partition.txt": "000001.jpg 0\n000002.jpg 2\n",
        "training.txt": "000001.jpg\n",
        "testing.txt": "000002.jpg\n",
        "Emotion/S005/001/S005_001_00000001_emotion.txt": "   3.0000000e+00\n",
        "csv/list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n000002.jpg,2\n",
        "own/labels.csv": f'{columns}\n1.png;a;3;-30{";9" * 10}\na\\2.png;"b\nc";3;0{";8" * 10}\n',
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return [(name, text.encode()) for name, text in texts.items()]


def scans(folder: Path) -> Seeds:
    """Points without faces: PLY, OBJ, text with and without a first line, arrays of either order; STL."""
    del folder
    rows = "".join(f"{x:g} {y:g} {z:g}\n" for x, y, z in _VERTICES).encode()
    arrays = []
    for array in (_VERTICES, np.asfortranarray(_VERTICES), np.arange(20, dtype=">i2").reshape(5, 4)):
        stream = io.BytesIO()
        np.save(stream, array)
        arrays.append(("a.npy", stream.getvalue()))
    return [
        ("a.ply", ply_file("ascii", rows, b"", (5, 0))),
        ("a.obj", b"v 0 0 0\nv 1.5 0 0\nv 0 2 0 1 1 1\n"),
        ("a.xyz", rows),
        ("a.pts", b"5\n" + rows),
        ("a.csv", b"x,y,z,red\r\n0,1,2,255\r\n1,2,3,255\r\n"),
        ("a.txt", b"\xef\xbb\xbf# made up\n// so\n1;2;3;0;0;1\n\n4;5;6;0;0;1\n"),
        *arrays,
        *_stls(),
    ]


def _stls() -> Seeds:
    """Binary and text."""
    corners = _VERTICES[_TRIANGLES]
    binary = b"".join(bytes(12) + each.tobytes() + bytes(2) for each in corners)
    facets = "".join(
        "facet normal 0 0 1\nouter loop\n"
        + "".join(f"vertex {x:g} {y:g} {z:g}\n" for x, y, z in each)
        + "endloop\nendfacet\n"
        for each in corners
    )
    return [
        ("a.stl", b"solid, but binary".ljust(80) + struct.pack("<I", len(corners)) + binary),
        ("a.stl", f"solid a\n{facets}endsolid a\n".encode()),
    ]


def vertex_lists(folder: Path) -> Seeds:
    """The steady vertices of BU-3DFE's registration."""
    return [("landmarks.txt", b"3 14 15\n92 6\r\n")]


def recipes(folder: Path) -> Seeds:
    """All that a file of recipes may have, and one part alone."""
    units = {"Kiefer": "jawOpen", "SmileL": "mouthSmileLeft"}
    expressions = {"grin": {"SmileL": 0.5, "Kiefer": 1}, "rest": {}}
    whole = {"units": units, "expressions": expressions, "opposite": {"a": "b"}, "two_sided": ["grin"]}
    parts = {"recipes.json": whole, "units.json": units, "expressions.json": expressions}
    return [(name, json.dumps(part).encode()) for name, part in parts.items()]


def video(
    codec: str, pixels: str, kind: str, count: int, side: int, *, noisy: bool = True, times: Sequence[int] = ()
) -> bytes:
    """A video of square frames, 25 in a second or at some of these times."""
    import av

    stream_bytes = io.BytesIO()
    with av.open(stream_bytes, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=25, width=side, height=side, pix_fmt=pixels)
        for i in range(count):
            frame = (
                _RANDOM.integers(0, 256, (side, side, 3), np.uint8) if noisy else np.zeros((side, side, 3), np.uint8)
            )
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pts, shown.time_base = times[i] if times else i, Fraction(1, 25)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return stream_bytes.getvalue()


def videos(folder: Path) -> Seeds:
    """Every container that is read."""
    ways = (
        ("libx264", "yuv420p", "mp4"),
        ("mpeg4", "yuv420p", "avi"),
        ("libvpx", "yuv420p", "webm"),
        ("ffv1", "bgr0", "matroska"),
        ("mjpeg", "yuvj420p", "mov"),
        ("mpeg2video", "yuv420p", "vob"),
        ("mpeg1video", "yuv420p", "mpeg1video"),
        ("libx264", "yuv420p", "mpegts"),
        ("wmv2", "yuv420p", "asf"),
        ("libx264", "yuv420p", "flv"),
        ("libvpx", "yuv420p", "ogg"),
    )
    uneven = video("libx264", "yuv420p", "mp4", 4, 16, times=(0, 1, 5, 6))
    return [("a.mp4", content) for content in (*(video(*way, 4, 16) for way in ways), uneven)]


def configs(folder: Path) -> Seeds:
    """The settings of an IB-VAE run."""
    from facedis_jax.formats.settings import as_json
    from facedis_jax.runs.face_config import FaceRunConfig

    config = {"experiment": "coma_ib", "devices": 1, "config": as_json(FaceRunConfig())}
    return [("config.json", json.dumps(config, indent=2).encode())]


def metrics(folder: Path) -> Seeds:
    """Three lines of a run, the last of them half written."""
    lines = '{"step": 10, "split": "train", "loss": 0.25}\n{"step": 10, "split": "test", "loss": null}\n{"step": 2'
    return [("metrics.jsonl", lines.encode())]


def checkpoints(folder: Path) -> Seeds:
    """Every file of the two checkpoints of a small state."""
    import jax.numpy as jnp

    from facedis_jax.training import Checkpoints

    with Checkpoints(folder / "checkpoints") as saved:
        for step in (1, 2):
            saved.save(step, {"weights": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(step)}, {"seconds": 1.5})
    files = sorted(path for path in (folder / "checkpoints").rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _saved(image, kind: str, options: dict) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
