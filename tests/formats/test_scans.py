import gzip

import numpy as np
import pytest

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import Mesh, read_mesh, write_mesh
from facedis_jax.formats.scans import read_scan

POINTS = np.array([[0.0, 0.5, 1], [1, -2.25, 3], [4e2, 5, 6], [7, 8, 9]])
ROWS = "".join(f"{x} {y} {z}\n" for x, y, z in POINTS)
HEADER = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"


TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
FACETS = "".join(
    "  facet normal 0 0 1\n outer loop\n"
    + "".join(f"  vertex {x} {y} {z:e}\n" for x, y, z in each)
    + " endloop\nendfacet\n"
    for each in POINTS[TRIANGLES]
)


def stl(title):
    """A binary file, with a zero that has a sign."""
    corners = POINTS[TRIANGLES].astype("<f4")
    corners[1, 0, 0] = -0.0
    facets = b"".join(bytes(12) + each.tobytes() + b"ab" for each in corners)
    return title.ljust(80) + len(corners).to_bytes(4, "little") + facets


def test_a_mesh_is_read_as_a_mesh(tmp_path):
    write_mesh(tmp_path / "a.ply", Mesh(POINTS, np.array([[0, 1, 2], [0, 2, 3]], np.int32)))
    scan = read_scan(tmp_path / "a.ply")
    np.testing.assert_allclose(scan.points, POINTS, rtol=1e-6)
    assert scan.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ply", HEADER + "end_header\n" + ROWS),
        ("a.PLY", HEADER + "element face 0\nproperty list uchar int vertex_indices\nend_header\n" + ROWS),
        ("a.obj", "".join(f"v {row}\n" for row in ROWS.splitlines())),
        ("a.xyz", ROWS),
        ("a.txt", ROWS.replace(" ", "\t")),
        ("a.pts", "4\n" + ROWS),
        ("a.asc", "# made up\n\n// so\n" + ROWS),
        ("a.csv", "x,y,z\n" + ROWS.replace(" ", ",")),
        ("a.csv", "\ufeff" + ROWS.replace(" ", "; ").replace("\n", "\r\n")),
        ("a.xyz", "".join(f"{row} 0 0 1 255\n" for row in ROWS.splitlines())),
        ("a.xyz", ROWS.replace("\n", "\r")),
    ],
)
def test_points_without_faces_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    scan = read_scan(tmp_path / name)
    np.testing.assert_allclose(scan.points, POINTS, rtol=1e-6)
    assert scan.triangles is None


@pytest.mark.parametrize("array", [POINTS, np.asfortranarray(POINTS), np.c_[POINTS, POINTS].astype(">f4")])
def test_arrays_of_points_are_read(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_allclose(read_scan(tmp_path / "a.npy").points, POINTS, rtol=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        stl(b"from a scanner"),
        stl(b"solid, but binary"),
        stl(b"with more behind") + b"more",
        (f"solid of {{}}\n{FACETS}endsolid of it\n").encode(),
        FACETS.upper().join(["SOLID\n", "ENDSOLID"]).replace("\n", "\r\n").encode(),
    ],
)
def test_triangles_of_stl_share_their_vertices(tmp_path, content):
    (tmp_path / "a.STL").write_bytes(content)
    scan = read_scan(tmp_path / "a.STL")
    assert (len(scan.points), scan.triangles.shape) == (4, (2, 3))
    np.testing.assert_allclose(scan.points[scan.triangles], POINTS[TRIANGLES], rtol=1e-6)


def test_compressed_points_are_read(tmp_path):
    (tmp_path / "a.ply.gz").write_bytes(gzip.compress((HEADER + "end_header\n" + ROWS).encode()))
    assert len(read_scan(tmp_path / "a.ply.gz").points) == 4


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.3ds", b"MM", "the ending '.3ds'"),
        ("a.stl", b"solid", "a whole STL file, found one that ends after 0 vertices"),
        ("a.stl", b"solid a\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\n", "found one that ends after 3 vertices"),
        ("a.stl", b"solid a\nvertex 0 0\nendsolid", "three numbers of each vertex, found 2"),
        ("a.stl", b"solid a\n" + b"vertex 1 0 0\n" * 3 + b"endsolid", "none with three corners"),
        ("a.stl", b"solid a\n" + b"vertex 1 0 nan\n" * 3 + b"endsolid", "finite coordinates"),
        ("a.stl", stl(b"any")[:-1], "an STL file of 2 triangles, as it says, found one of 183 bytes"),
        ("a.stl", bytes(84), "an STL file of 0 triangles"),
        ("a.xyz", b"", "an empty file"),
        ("a.xyz", b"# nothing\n", "expected points, found none"),
        ("a.xyz", b"1 2 3\n1 2\n", "found 2 in line 2"),
        ("a.xyz", b"1 2 3\n1 2 there\n", "expected numbers, found 'there'"),
        ("a.xyz", b"1 2 3\n1 nan 3\n", "finite coordinates"),
        ("a.xyz", b"1 2 3\n1 inf 3\n", "finite coordinates"),
        ("a.ply", HEADER.encode() + b"end_header\n1 2 3\n", "truncated"),
        ("a.npy", b"PK", "damaged"),
        ("a.npy", b"\x93NUMPY\x01\x00", "damaged"),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=found):
        read_scan(tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.zeros(9), np.zeros((3, 2)), np.zeros((3, 3), complex), np.array([[None] * 3] * 3), np.zeros((2, 2, 3))]
)
def test_other_arrays_are_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"an array \[points, 3\] of numbers"):
        read_scan(tmp_path / "a.npy")


def test_a_mesh_still_needs_faces(tmp_path):
    (tmp_path / "a.ply").write_text(HEADER + "end_header\n" + ROWS)
    with pytest.raises(InputError, match="faces"):
        read_mesh(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"nothing|No such file"):
        read_scan(tmp_path / "b.ply")
