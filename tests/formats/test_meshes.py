import gzip
import io
import tracemalloc

import numpy as np
import plyfile
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, check_topology, check_unit, frame_paths, parse_mesh, read_mesh, write_mesh

_VERTICES = np.array([[0, 0, 0], [1.5, 0, 0], [0, -2.25, 0], [0, 0, 3], [1, 1, 0.125]], np.float32)
_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [2, 3, 4]], np.int32)


def _ply(text, order="<", faces=_TRIANGLES, dtype="f4", count="u1", index="i4"):
    """A PLY file from an independent writer, with properties that are not needed around those that are."""
    vertex = np.zeros(len(_VERTICES), [("nx", "f4"), ("x", dtype), ("y", dtype), ("z", dtype), ("red", "u1")])
    for i, axis in enumerate("xyz"):
        vertex[axis] = _VERTICES[:, i]
    face = np.empty(len(faces), [("quality", "f4"), ("vertex_indices", object)])
    face["quality"] = 1
    for i, corners in enumerate(faces):
        face["vertex_indices"][i] = np.asarray(corners, index)
    lengths, values = {"vertex_indices": count}, {"vertex_indices": index}
    elements = [
        plyfile.PlyElement.describe(vertex, "vertex", comments=["a comment"]),
        plyfile.PlyElement.describe(face, "face", len_types=lengths, val_types=values),
    ]
    stream = io.BytesIO()
    plyfile.PlyData(elements, text=text, byte_order="=" if text else order).write(stream)
    return stream.getvalue()


_OBJ = b"""# a comment
mtllib /etc/passwd
v 0 0 0
v 1.5 0 0
v 0 -2.25 0
vt 0 0
vn 0 0 1
usemtl skin
f 1 2 3
v 0 0 3
f 1/1 3/1 -1/1
v 1 1 0.125 1.0
f -3//1 4/1/1 5
"""

_WRL = b"""#VRML V2.0 utf8
# Coordinate { point [ 9 9 9 ] } in a comment
Shape { appearance Appearance { texture ImageTexture { url "a#b.bmp" } }
 geometry IndexedFaceSet { coord DEF points Coordinate { point [
 0 0 0, 1.5 0 0, 0 -2.25 0,
 0 0 3 1 1 .125, ] }
 coordIndex [0, 1, 2, -1, 0 2 3 -1
 2,3,4]
 texCoord TextureCoordinate { point [ 0 0, 1 1 ] } texCoordIndex [ 0 1 0 -1 ] } }
"""

_VALID = {
    "ascii.ply": _ply(True),
    "little.ply": _ply(False),
    "big.ply": _ply(False, ">"),
    "polygons.ply": _ply(False, faces=[[0, 1, 2], [0, 2, 3, 4]]),
    "mesh.obj": _OBJ,
    "mesh.wrl": _WRL,
}


@pytest.mark.parametrize("name", [name for name in _VALID if name != "polygons.ply"])
def test_reads_every_format(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(_VALID[name])
    mesh = read_mesh(path)
    np.testing.assert_array_equal(mesh.vertices, _VERTICES)
    np.testing.assert_array_equal(mesh.triangles, _TRIANGLES)
    assert mesh.triangles.dtype == np.int32


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("count", "index"), [("u1", "i4"), ("i4", "u4"), ("u2", "u1"), ("i1", "i2")])
def test_ply_types(text, order, count, index):
    mesh = parse_mesh("a.ply", _ply(text, order, dtype="f8", count=count, index=index))
    assert mesh.vertices.dtype == np.float64
    np.testing.assert_array_equal(mesh.vertices, _VERTICES)
    np.testing.assert_array_equal(mesh.triangles, _TRIANGLES)


@pytest.mark.parametrize("text", [True, False])
def test_ply_polygons_become_fans(text):
    mesh = parse_mesh("a.ply", _ply(text, faces=[[0, 1, 2], [4, 3, 2, 1, 0], [0, 2, 3, 4]]))
    expected = [[0, 1, 2], [4, 3, 2], [4, 2, 1], [4, 1, 0], [0, 2, 3], [0, 3, 4]]
    np.testing.assert_array_equal(mesh.triangles, expected)


def test_ply_with_windows_lines_reads_the_same():
    mesh = parse_mesh("a.ply", _ply(True).replace(b"\n", b"\r\n"))
    np.testing.assert_array_equal(mesh.triangles, _TRIANGLES)


def _with_elements(text, order="<"):
    """A PLY file with elements before and after those that are needed, and a list among the vertices."""
    plain = plyfile.PlyData.read(io.BytesIO(_ply(text, order)))
    rows = np.empty(len(_VERTICES), [("seen", object), *plain["vertex"].data.dtype.newbyteorder("=").descr])
    for name in plain["vertex"].data.dtype.names:
        rows[name] = plain["vertex"].data[name]
    for i in range(len(rows)):
        rows["seen"][i] = np.arange(i, dtype="u1")
    if order == ">":
        # The writer would write the numbers beside lists in the wrong order.
        rows = plain["vertex"].data
    camera = np.array([(1.0, 2)], [("view_px", "f4"), ("x", "i4")])
    edges = np.array([(0, 1), (1, 2)], [("vertex1", "i4"), ("vertex2", "i4")])
    elements = [
        plyfile.PlyElement.describe(camera, "camera"),
        plyfile.PlyElement.describe(rows, "vertex", len_types={"seen": "u2"}, val_types={"seen": "u1"}),
        plyfile.PlyElement.describe(edges, "edge"),
        plain["face"],
        plyfile.PlyElement.describe(camera, "late"),
    ]
    stream = io.BytesIO()
    plyfile.PlyData(elements, text=text, byte_order="=" if text else order, obj_info=["end_header"]).write(stream)
    return stream.getvalue()


_LINE_ENDS = {"unix": b"\n", "windows": b"\r\n", "old mac": b"\r"}
_VARIANTS = {
    **{f"ply, {end}": ("a.ply", _ply(True).replace(b"\n", line)) for end, line in _LINE_ENDS.items()},
    **{f"obj, {end}": ("a.obj", _OBJ.replace(b"\n", line)) for end, line in _LINE_ENDS.items()},
    **{f"wrl, {end}": ("a.wrl", _WRL.replace(b"\n", line)) for end, line in _LINE_ENDS.items()},
    "ply, tabs": ("a.ply", _ply(True).replace(b" ", b"\t")),
    "obj, tabs": (
        "a.obj",
        _OBJ.replace(b" ", b"\t").replace(b"\n", b"\n\t" + b" " * 20),
    ),
    "wrl, tabs": ("a.wrl", b"#VRML V2.0 utf8\n" + _WRL.split(b"\n", 1)[1].replace(b" ", b"\t")),
    **{f"{name}, byte order mark": (name, b"\xef\xbb\xbf" + content) for name, content in _VALID.items()},
    "obj, byte order mark before a vertex": ("a.obj", b"\xef\xbb\xbf" + _OBJ[_OBJ.index(b"v 0") :]),
    **{f"{name}, packed": (f"{name}.gz", gzip.compress(content)) for name, content in _VALID.items()},
    "wrl, packed, plain ending": ("a.WRL", gzip.compress(_WRL)),
    "wrz": ("a.wrz", gzip.compress(_WRL)),
    "wrl, packed in two pieces": ("a.wrl", gzip.compress(_WRL[:99]) + gzip.compress(_WRL[99:])),
    **{
        f"ply, {words.decode()} in what is not needed": ("a.ply", _ply(True).replace(b" 9", b" " + words))
        for words in (b"nan", b"-nan(ind)", b"1.#QNAN", b"-1.#IND00", b"1.#INF")
    },
    **{f"ply, {end!r} at its end": ("a.ply", _ply(True) + end) for end in (b"\x1a", b"\n\x1a\n", b"\0\0")},
    "obj, a comment that ends in a backslash": ("a.obj", b"# from C:\\faces\\\n" + _OBJ),
    "ply, other elements, text": ("a.ply", _with_elements(True)),
    "ply, other elements": ("a.PLY", _with_elements(False)),
    "ply, other elements, big": ("a.ply", _with_elements(False, ">")),
}


@pytest.mark.parametrize("variant", [name for name in _VARIANTS if "polygons" not in name])
def test_legitimate_variants_read_the_same(variant):
    mesh = parse_mesh(*_VARIANTS[variant])
    np.testing.assert_array_equal(mesh.vertices, _VERTICES)
    np.testing.assert_array_equal(mesh.triangles, _TRIANGLES)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (gzip.compress(_OBJ)[:-20], "a whole gzip file, found a truncated one"),
        (b"\x1f\x8bnot packed at all", "a whole gzip file, found a damaged one"),
        (gzip.compress(bytes(8 << 20)), "a gzip file of at most 4 MiB unpacked, found more"),
        (gzip.compress(b""), "an empty file"),
        (_OBJ.decode().encode("utf-16"), "a mesh in ASCII or UTF-8, found text in UTF-16"),
    ],
    ids=["cut", "noise", "large", "empty", "wide"],
)
def test_packed_and_wide_files_that_cannot_be_read_are_named(content, found):
    with pytest.raises(InputError, match=found):
        parse_mesh("a.obj", content)


def _strips(text, order, lists, index="i4", faces=()):
    vertex = np.zeros(len(_VERTICES), [(axis, "f4") for axis in "xyz"])
    for i, axis in enumerate("xyz"):
        vertex[axis] = _VERTICES[:, i]
    elements = [plyfile.PlyElement.describe(vertex, "vertex")]
    for name, rows in (("face", faces), ("tristrips", lists)):
        column = np.empty(len(rows), [("vertex_indices", object)])
        for i, row in enumerate(rows):
            column["vertex_indices"][i] = np.array(row).astype(index)
        types = {"len_types": {"vertex_indices": "i4"}, "val_types": {"vertex_indices": index}}
        elements.append(plyfile.PlyElement.describe(column, name, **types))
    stream = io.BytesIO()
    plyfile.PlyData(elements, text=text, byte_order="=" if text else order).write(stream)
    return stream.getvalue()


@pytest.mark.parametrize(("text", "order"), [(True, "<"), (False, "<"), (False, ">")])
@pytest.mark.parametrize("index", ["i4", "u4"])
@pytest.mark.parametrize(
    ("lists", "faces", "expected"),
    [
        ([[0, 1, 2, 3, -1, 2, 3, 4]], [], [[0, 1, 2], [2, 1, 3], [2, 3, 4]]),
        ([[0, 1, 2, 3], [2, 3, 4], []], [], [[0, 1, 2], [2, 1, 3], [2, 3, 4]]),
        # Strips that are joined by corners that come twice.
        ([[0, 1, 2, 3, 3, 1, 1, 2, 4, -1]], [], [[0, 1, 2], [2, 1, 3], [1, 2, 4]]),
        ([[2, 3, 4, -1]], [[0, 1, 2, 3]], [[0, 1, 2], [0, 2, 3], [2, 3, 4]]),
    ],
)
def test_ply_triangle_strips(text, order, index, lists, faces, expected):
    mesh = parse_mesh("a.ply", _strips(text, order, lists, index, faces))
    np.testing.assert_array_equal(mesh.vertices, _VERTICES)
    np.testing.assert_array_equal(mesh.triangles, expected)


@pytest.mark.parametrize(
    ("lists", "found"),
    [([[0, 1, 7]], "found 7"), ([[0, 1, -2]], "found -2"), ([[0, 1]], "no faces"), ([], "no list of")],
)
def test_bad_triangle_strips_are_refused(lists, found):
    with pytest.raises(InputError, match=found):
        parse_mesh("a.ply", _strips(False, "<", lists))


_FACES = b"""IndexedFaceSet { coord DEF points Coordinate { point [
 0 0 0, 1.5 0 0, 0 -2.25 0, 0 0 3 1 1 .125 ] } coordIndex [ 0 1 2 -1 0 2 3 -1 2 3 4 -1 ]
 normal Normal { vector [ 0 0 1 ] } normalIndex [ 0 0 0 -1 ] color Color { color [ 1 0 0 ] } colorPerVertex FALSE }"""


def _scene(*nodes):
    return b"#VRML V2.0 utf8\n" + b"\n".join(nodes).replace(b"FACES", b"Shape { geometry " + _FACES + b" }")


_HALF_TURN = b"rotation 0 0 1 3.141592653589793"


@pytest.mark.parametrize(
    ("scene", "place"),
    [
        ([b"Transform { translation 1 2 3 children [ FACES ] }"], lambda v: v + np.array([1, 2, 3])),
        ([b"Transform { children FACES scale 1 2 3 }"], lambda v: v * [1, 2, 3]),
        ([b"Transform { ", _HALF_TURN, b" children [ FACES ] }"], lambda v: v * [-1, -1, 1]),
        # Turned about a point that stays.
        ([b"Transform { center 1, 1, 5 ", _HALF_TURN, b"children [ FACES ] }"], lambda v: [2, 2, 0] + v * [-1, -1, 1]),
        # Scaled along axes that are turned by a quarter, so that x and y change their parts.
        (
            [b"Transform { scale 2 3 4 scaleOrientation 0 0 2 1.5707963267948966 children [ FACES ] }"],
            lambda v: v * [3, 2, 4],
        ),
        (
            [b"Transform { translation 1 0 0 children Group { children Transform { scale 2 2 2 children FACES } } }"],
            lambda v: 2 * v + np.array([1, 0, 0]),
        ),
        # What is named is shown where it is used, and not where it is hidden.
        (
            [
                b"Switch { whichChoice -1 choice [ DEF face FACES ] }",
                b"Transform { translation 0 0 7 children USE face }",
            ],
            lambda v: v + np.array([0, 0, 7]),
        ),
        (
            [
                b"Switch { choice [ Group { } Shape { geometry DEF face ",
                _FACES,
                b"} FACES ] whichChoice 0 }",
                b"Transform { scale 1 1 2 children [ Shape { geometry USE face } ] }",
            ],
            lambda v: v * [1, 1, 2],
        ),
        ([b"LOD { range [ 1 2 ] level [ FACES Shape { geometry Box { size 1 2 3 } } FACES ] }"], lambda v: v),
        ([b"Collision { collide TRUE proxy FACES children [ FACES ] }"], lambda v: v),
        ([b"PROTO Face [ exposedField SFNode a NULL field MFFloat b [ 0 1 ] ] { FACES }", b"FACES"], lambda v: v),
        ([b"PROTO Face [ ] { FACES }", b"Transform { scale 2 2 2 children [ Face { } ] }"], lambda v: 2 * v),
        ([b'EXTERNPROTO Other [ field SFNode a ] "other.wrl"', b"Other { } FACES"], lambda v: v),
        (
            [
                b'DEF view Viewpoint { position 0 0 9 description "Shape { geometry" } FACES',
                b"DEF clock TimeSensor { } DEF turn ScalarInterpolator { key [ 0 1 ] keyValue [ 0, 3 ] }",
                b"Script { url [ ] field SFNode face USE view eventIn SFTime go }",
                b"Shape { geometry IndexedLineSet { coord Coordinate { point [ 0 0 0 ] } coordIndex [ 0 0 -1 ] } }",
                b"ROUTE clock.fraction_changed TO turn.set_fraction",
            ],
            lambda v: v,
        ),
    ],
)
def test_vrml_shows_its_shape_where_transformations_put_it(scene, place):
    mesh = parse_mesh("a.wrl", _scene(*scene))
    np.testing.assert_allclose(mesh.vertices, place(_VERTICES), atol=1e-12)
    np.testing.assert_array_equal(mesh.triangles, _TRIANGLES)


def test_vrml_rotations_are_those_of_another_library():
    scale, scale_axes, axis = [1, 2, 0.5], [1, 2, 3, 0.7], [3, -1, 2, 1.1]
    moved, center = np.array([4, 5, 6]), np.array([1, 0, 2])
    fields = {"scale": scale, "scaleOrientation": scale_axes, "rotation": axis, "translation": moved, "center": center}
    text = " ".join(f"{name} {' '.join(map(str, numbers))}" for name, numbers in fields.items())
    mesh = parse_mesh("a.wrl", _scene(b"Transform { " + text.encode() + b" children [ FACES ] }"))

    def turned(axis_angle):
        direction = np.array(axis_angle[:3]) / np.linalg.norm(axis_angle[:3])
        return Rotation.from_rotvec(direction * axis_angle[3])

    vertices = turned(scale_axes).inv().apply(_VERTICES - center) * scale
    vertices = turned(axis).apply(turned(scale_axes).apply(vertices)) + center + moved
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-12)


def test_vrml_face_sets_that_share_their_points_are_one():
    eyes = b"Shape { geometry IndexedFaceSet { coord USE points coordIndex [ 4 3 1 ] } }"
    mesh = parse_mesh("a.wrl", _scene(b"Transform { scale 2 2 2 children [ FACES", eyes, b"] }"))
    np.testing.assert_array_equal(mesh.vertices, 2 * _VERTICES)
    np.testing.assert_array_equal(mesh.triangles, [*_TRIANGLES, [4, 3, 1]])


def test_vrml_clockwise_faces_are_turned():
    mesh = parse_mesh("a.wrl", _scene(b"FACES").replace(b"coordIndex", b"ccw FALSE coordIndex"))
    check_topology("a.wrl", mesh, 5, _TRIANGLES[:, ::-1])


@pytest.mark.parametrize(
    ("scene", "found"),
    [
        ([b"FACES", b"FACES"], "found 2 shapes of points of their own; join them to one first"),
        ([b"DEF face FACES", b"Transform { translation 1 0 0 children USE face }"], "found 2 shapes"),
        ([b"Switch { choice [ FACES ] }"], "in an IndexedFaceSet, found none"),
        ([b"Shape { geometry Sphere { radius 2 } }"], "in an IndexedFaceSet, found none"),
        (
            [b"Shape { geometry IndexedFaceSet { coord USE face coordIndex [ 0 1 2 ] } }"],
            "a Coordinate before USE 'face'",
        ),
        ([b"Shape { geometry IndexedFaceSet { coordIndex [ 0 1 2 ] } }"], "point .* in an IndexedFaceSet, found none"),
        ([b"Transform { scale 1 2 children FACES }"], "3 numbers of scale in a Transform"),
        ([b"Transform { rotation 0 0 1 1e999 children FACES }"], "4 numbers of rotation in a Transform"),
        ([b"Group { children [" * 300, b"FACES"], "nodes at most 256 deep"),
        ([b"DEF a Group { children [ FACES ] }", *[b"DEF a Group { children [ USE a USE a ] }"] * 9], "more than 64"),
    ],
)
def test_vrml_that_shows_no_single_shape_is_refused(scene, found):
    with pytest.raises(InputError, match=found):
        parse_mesh("a.wrl", _scene(*scene))


def test_vrml_of_the_first_version_is_named():
    with pytest.raises(InputError, match=r"found one in VRML 1\.0"):
        parse_mesh("a.wrl", b"#VRML V1.0 ascii\nSeparator { Coordinate3 { point [ 0 0 0 ] } }")


def test_obj_and_wrl_polygons():
    quad = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 \\\n 3 4\n"
    np.testing.assert_array_equal(parse_mesh("a.obj", quad).triangles, [[0, 1, 2], [0, 2, 3]])
    wrl = b"#VRML V2.0 utf8\nCoordinate{point[0 0 0 1 0 0 1 1 0 0 1 0]} coordIndex[0 1 2 3 -1]"
    np.testing.assert_array_equal(parse_mesh("a.wrl", wrl).triangles, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_written_meshes_are_read_by_others(tmp_path, suffix):
    path = tmp_path / f"mesh{suffix}"
    path.write_bytes(b"before")
    write_mesh(path, Mesh(_VERTICES, _TRIANGLES))
    other = trimesh.load(path, process=False, force="mesh")
    # glTF is in metres.
    scale = 1e-3 if suffix == ".glb" else 1.0
    np.testing.assert_allclose(other.vertices, _VERTICES * scale, atol=1e-7)
    np.testing.assert_array_equal(other.faces, _TRIANGLES)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix != ".glb":
        np.testing.assert_array_equal(read_mesh(path).vertices, _VERTICES)


@pytest.mark.parametrize("name", ["mesh.stl", "missing/mesh.ply"])
def test_unwritable_meshes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"mesh\."):
        write_mesh(tmp_path / name, Mesh(_VERTICES, _TRIANGLES))
    assert not list(tmp_path.iterdir())


def _lying(count, kind="binary_little_endian", rest=b"\0" * 2000):
    header = f"ply\nformat {kind} 1.0\nelement vertex {count}\nproperty float x\nproperty float y\n"
    header += "property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    return header.encode() + rest


_BAD = {
    "empty.ply": (b"", "empty file"),
    "bytes.ply": (bytes(range(256)) * 8, "expected a PLY file"),
    "lying.ply": (_lying(10**9), "truncated"),
    "lying_text.ply": (_lying(10**9, "ascii", b"0 " * 1000), "truncated"),
    "negative.ply": (_lying(-5), "element vertex -5"),
    "huge.ply": (_lying("9" * 5000), "element vertex 999"),
    "no_end.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\n", "end_header"),
    "format.ply": (b"ply\nformat middle_endian 1.0\nend_header\n", "middle_endian"),
    "no_faces.ply": (_lying(3).replace(b"element face 1", b"element face 0"), "no list of vertex_indices"),
    "scan.ply": (
        _lying(3).replace(b"element face 1", b"element range_grid 1"),
        "a PLY file with faces or tristrips, found a range_grid, which is no surface yet",
    ),
    "long_list.ply": (_lying(1, rest=b"\0" * 12 + b"\xff" + b"\0" * 20), "ends before"),
    "words.ply": (_ply(True)[:-4] + b"two\n", "numbers, found 'two'"),
    "far.ply": (_ply(False, faces=[[0, 1, 5]]), "corners from 0 to 4, found 5"),
    "minus.ply": (_ply(False, faces=[[0, 1, -1]]), "corners from 0 to 4, found -1"),
    "edge.ply": (_ply(False, faces=[[0, 1]]), "three or more corners"),
    "nan.obj": (_OBJ.replace(b"1.5", b"nan"), "finite coordinates"),
    "inf.obj": (_OBJ.replace(b"1.5", b"1e999"), "finite coordinates"),
    "zero.obj": (_OBJ.replace(b"f 1 2 3", b"f 0 1 2"), "line 9"),
    "far.obj": (_OBJ.replace(b"f 1 2 3", b"f 1 2 30"), "found 29"),
    "overflow.obj": (_OBJ.replace(b"f 1 2 3", b"f 1 2 99999999999"), "line 9"),
    "no_faces.obj": (b"v 0 0 0\nv 1 0 0\n", "no faces"),
    "bytes.obj": (bytes(range(256)) * 8, "no vertices"),
    "long.obj": (b"v 0 0 0\nf" + b" 1" * 40000 + b"\n", "65536 bytes"),
    "cut.wrl": (_WRL[: _WRL.index(b"1 1 .125")], "closing bracket"),
    "odd.wrl": (_WRL.replace(b"0 0 3 1 1 .125", b"0 0 3 1 1"), "three coordinates"),
    "bytes.wrl": (bytes(range(256)) * 8, "VRML97"),
    "two.wrl": (_WRL + _WRL, "expected one Coordinate"),
    "fraction.wrl": (_WRL.replace(b"2,3,4", b"2,3,0.5"), "found 0.5"),
    "mesh.stl": (b"solid", "the ending '.stl'"),
}


@pytest.mark.parametrize("name", _BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    content, found = _BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_mesh(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert peak < 4 << 20


def test_missing_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "missing.ply", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_mesh(path)


def test_large_text_stays_within_ten_times_the_file():
    rows = b"0 1 2\n" * 500_000
    data = _lying(500_000, "ascii", rows + b"3 0 1 2\n")
    tracemalloc.start()
    try:
        mesh = parse_mesh("a.ply", data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(mesh.vertices) == 500_000
    assert peak < 10 * len(data) + (64 << 20)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(_VALID)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_give_a_mesh_or_an_input_error(name, cut, flips):
    data = bytearray(_VALID[name])
    for place, byte in flips:
        data[int(place * len(data))] = byte
    if cut < 0.5:
        del data[int(2 * cut * len(data)) :]
    try:
        mesh = parse_mesh(name, bytes(data))
    except InputError as error:
        assert str(error).startswith(name)  # noqa: PT017
        return
    assert np.isfinite(mesh.vertices).all()
    assert mesh.vertices.shape[1:] == (3,)
    assert mesh.triangles.shape[1:] == (3,)
    assert mesh.triangles.min() >= 0
    assert mesh.triangles.max() < len(mesh.vertices)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(["a.ply", "a.obj", "a.wrl"]), data=st.binary(max_size=300))
def test_any_bytes_give_an_input_error(name, data):
    start = {"a.ply": b"ply\n", "a.obj": b"v 0 0 0\n", "a.wrl": b"#VRML "}[name]
    with pytest.raises(InputError):
        parse_mesh(name, start + data)


def test_topology_is_compared():
    mesh = Mesh(_VERTICES, _TRIANGLES)
    check_topology("here", mesh, 5, _TRIANGLES)
    with pytest.raises(InputError, match="here: expected a mesh of 6 vertices, found 5"):
        check_topology("here", mesh, 6, _TRIANGLES)
    with pytest.raises(InputError, match="of 2 triangles, found 3"):
        check_topology("here", mesh, 5, _TRIANGLES[:2])
    with pytest.raises(InputError, match=r"\[0, 3, 2\] as triangle 1"):
        check_topology("here", Mesh(_VERTICES, _TRIANGLES[:, [0, 2, 1]]), 5, _TRIANGLES[:, [0, 2, 1]][[0, 0, 2]])


@pytest.mark.parametrize(
    "faces",
    [
        _TRIANGLES[:, [1, 2, 0]],
        _TRIANGLES[::-1],
        np.array([[3, 4, 2], [1, 2, 0], [0, 2, 3]]),
    ],
)
def test_turned_corners_and_another_order_are_the_same_topology(faces):
    check_topology("here", Mesh(_VERTICES, faces), 5, _TRIANGLES)


@pytest.mark.parametrize(
    "lines",
    [
        b"f 1 2 3 4\nf 4 3 5 1\n",
        b"f 4 3 5 1\nf 1 2 3 4\n",
        b"f 3 4 1 2\nf 3 5 1 4\n",
        b"f 1 2 3\nf 1 3 4\nf 4 3 5 1\n",
        # Cut along the other diagonal by other software, from a corner that this file does not begin with.
        b"f 2 3 4 1\nf 4 3 5 1\n",
    ],
)
def test_polygons_match_the_triangles_that_they_are_cut_into(lines):
    corners = b"".join(b"v %g %g %g\n" % tuple(vertex) for vertex in _VERTICES)
    mesh = parse_mesh("a.obj", corners + lines)
    check_topology("a.obj", mesh, 5, np.array([[0, 1, 2], [0, 2, 3], [3, 2, 4], [3, 4, 0]]))
    for others in ([[0, 1, 2], [0, 2, 3], [3, 2, 4], [3, 0, 4]], [[0, 1, 2], [0, 1, 2], [3, 2, 4], [3, 4, 0]]):
        with pytest.raises(InputError, match="the topology of the other meshes"):
            check_topology("a.obj", mesh, 5, np.array(others))


def test_faces_that_are_wound_the_other_way_round_are_another_topology():
    """Nothing else tells a mirrored face; see `check_topology`."""
    for faces in (_TRIANGLES[:, ::-1], _TRIANGLES[::-1, [1, 0, 2]]):
        with pytest.raises(InputError, match="topology of the other meshes, found all faces wound the other way round"):
            check_topology("here", Mesh(_VERTICES, faces), 5, _TRIANGLES)
    mixed = np.array([[0, 2, 1], [0, 2, 3], [2, 3, 4]])
    with pytest.raises(InputError, match=r"found \[0, 2, 1\] as triangle 0"):
        check_topology("here", Mesh(_VERTICES, mixed), 5, _TRIANGLES[[1, 2, 0]])


@pytest.mark.parametrize(
    ("unit", "factor", "looks"),
    [("mm", 1e-1, "cm"), ("mm", 1e-3, "m"), ("m", 1.0, "mm"), ("m", 1e-1, "cm"), ("cm", 1.0, "mm")],
)
def test_wrong_units_are_named(unit, factor, looks):
    face = np.random.default_rng(0).uniform(-100, 100, (50, 3))
    check_unit("face.ply", face, "mm")
    check_unit("face.ply", face / 1000, "m")
    with pytest.raises(InputError, match=rf"face\.ply: expected a face in {unit} .* \(looks like {looks}\)"):
        check_unit("face.ply", face * factor, unit)


def test_a_size_of_no_unit_is_refused():
    with pytest.raises(InputError, match=r"a diagonal of 0$"):
        check_unit("face.ply", np.zeros((4, 3)), "mm")


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("f10.ply", "f9.obj", "f9.ply", "F2.PLY.gz", "._f1.ply", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in frame_paths(tmp_path)] == ["F2.PLY.gz", "f9.ply", "f10.ply"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="1 to 20000 meshes in it, found 0"):
        frame_paths(tmp_path / "empty")
