"""PLY files, ASCII and binary of either byte order, decoded as arrays and without trust in what their header promises.

In place of plyfile, which decodes a polygon at a time: a mesh of CoMA's size takes it 87 ms from bytes and 94 ms in
ASCII, where it takes 0.1 and 21 ms here, and files of polygons take it two to four times the memory that
`tests.fuzz` allows for them. Only the tests use it, as the reference.
"""

import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.ascii_numbers import parse_numbers
from facedis_jax.formats.polygons import cut_strips

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
_LONGEST_HEADER = 1 << 20
_WANTED = ("x", "y", "z", "vertex_indices", "vertex_index")


@dataclass(frozen=True)
class _Property:
    name: str
    type: np.dtype
    count_type: np.dtype | None = None

    @property
    def least_bytes(self) -> int:
        return (self.count_type or self.type).itemsize


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property]

    @property
    def least_bytes(self) -> int:
        return self.count * sum(p.least_bytes for p in self.properties)


def parse_ply(path: Path, data: bytes, *, faces_needed: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] (float64 where the file says double, else float32), corners, polygon lengths.

    Triangles of strips, which some scanners' files have instead of faces, come after those of the faces. A file without
    either is refused where faces are needed, and has none where they are not.
    """
    elements, double, is_text, body = _header(path, data)
    # An ASCII body is a binary one in which every number is a double.
    buffer = parse_numbers(path, body).data.cast("B") if is_text else body
    needed = sum(element.least_bytes for element in elements)
    if needed > len(buffer):
        promised = ", ".join(f"{element.count} {element.name}" for element in elements[:4])
        unit, size = ("numbers", 8) if is_text else ("bytes", 1)
        found = f"a truncated file ({len(buffer) // size} {unit} after the header, {needed // size} needed)"
        raise InputError(path, f"a PLY file with {promised}", found)
    columns: dict[str, dict[str, np.ndarray]] = {}
    offset = 0
    for element in elements:
        columns[element.name], offset = _read_element(path, element, buffer, offset)
    vertex = columns.get("vertex", {})
    axes = [axis for axis in "xyz" if axis in vertex and f"{axis} length" not in vertex]
    if len(axes) < 3:
        raise InputError(path, "a PLY file with x, y, z of each vertex", ", ".join(axes) or "no vertices")
    vertices = np.empty((len(vertex["x"]), 3), np.float64 if double else np.float32)
    with np.errstate(over="ignore"):
        for i, axis in enumerate(axes):
            vertices[:, i] = vertex[axis]
    faces, strips = _lists(columns.get("face", {})), _lists(columns.get("tristrips", {}))
    if strips is None:
        if faces is None and not faces_needed:
            return vertices, np.empty(0, np.int32), np.empty(0, np.int32)
        if faces is None:
            is_scan = any(element.name == "range_grid" for element in elements)
            found = "a range_grid, which is no surface yet" if is_scan else "no list of vertex_indices"
            raise InputError(path, "a PLY file with faces or tristrips", found)
        return vertices, *faces
    triangles = cut_strips(path, *strips, num_bytes=len(data))
    lengths = np.full(len(triangles), 3, np.int32)
    if faces is None:
        return vertices, triangles, lengths
    return vertices, np.concatenate([faces[0].ravel(), triangles.ravel()]), np.concatenate([faces[1], lengths])


def _lists(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """The lists of vertices of an element, all values and the length of each."""
    key = "vertex_indices" if "vertex_indices" in columns else "vertex_index"
    return (columns[key], columns[f"{key} length"]) if f"{key} length" in columns else None


def _header(path: Path, data: bytes) -> tuple[list[_Element], bool, bool, memoryview]:
    """The elements, whether coordinates are doubles, whether the body is text, and the body."""
    start = re.match(rb"ply[ \t]*(\r\n|\n|\r)", data[:64])
    if not start:
        raise InputError(path, "a PLY file", f"a file that starts with {data[:8]!r}")
    newline = start[1]
    end = re.compile(re.escape(newline) + rb"end_header[ \t]*" + re.escape(newline)).search(data, 0, _LONGEST_HEADER)
    if not end:
        raise InputError(path, "a PLY header", "no end_header")
    lines = [line.split() for line in data[start.end() : end.start()].decode("latin-1").split(newline.decode())]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if not lines or lines[0][0] != "format" or len(lines[0]) != 3 or lines[0][1] not in _ORDERS:
        found = repr(" ".join(lines[0])[:64]) if lines else "nothing"
        raise InputError(path, f"a format of {', '.join(_ORDERS)} in the PLY header", found)
    is_text, order = lines[0][1] == "ascii", _ORDERS[lines[0][1]]
    elements: list[_Element] = []
    double = False
    for words in lines[1:]:
        match words:
            case ["element", name, count] if re.fullmatch(r"[!-~]{1,64}", name) and re.fullmatch(r"[0-9]{1,18}", count):
                elements.append(_Element(name, int(count), []))
            case ["property", type_name, name] if elements and type_name in _TYPES:
                double |= elements[-1].name == "vertex" and name == "x" and _TYPES[type_name] == "f8"
                elements[-1].properties.append(_Property(name, _dtype(type_name, order, is_text)))
            case ["property", "list", count_name, type_name, name] if (
                elements and type_name in _TYPES and _TYPES.get(count_name, "f")[0] != "f"
            ):
                types = _dtype(type_name, order, is_text), _dtype(count_name, order, is_text)
                elements[-1].properties.append(_Property(name, *types))
            case _:
                raise InputError(path, "a PLY header of elements and properties", repr(" ".join(words)[:64]))
    return elements, double, is_text, memoryview(data)[end.end() :]


def _dtype(type_name: str, order: str, is_text: bool) -> np.dtype:
    return np.dtype("=f8" if is_text else order + _TYPES[type_name])


def _read_element(path: Path, element: _Element, buffer: memoryview, offset: int) -> tuple[dict[str, np.ndarray], int]:
    """The columns of an element by name, a list's lengths as "<name> length", and where the element ends.

    Only of `_WANTED`, and where they can, they are views of the buffer.
    """
    if not element.count or not element.properties:
        return {}, offset
    rows = _uniform_rows(path, element, buffer, offset)
    if rows is None:
        return _read_ragged(path, element, buffer, offset)
    columns = {}
    for i, prop in enumerate(element.properties):
        if prop.name not in _WANTED:
            continue
        columns[prop.name] = rows[f"{i}"]
        if prop.count_type is not None:
            columns[f"{prop.name} length"] = rows[f"{i} length"]
    return columns, offset + rows.nbytes


def _uniform_rows(path: Path, element: _Element, buffer: memoryview, offset: int) -> np.ndarray | None:
    """The element as a structured array, if its lists are all as long as those of its first row."""
    fields: list[tuple] = []
    lengths: dict[str, int] = {}
    position = offset
    for i, prop in enumerate(element.properties):
        if prop.count_type is None:
            fields.append((f"{i}", prop.type))
            position += prop.type.itemsize
        else:
            length, position = _list_length(path, element, prop, buffer, position)
            fields += [(f"{i} length", prop.count_type), (f"{i}", prop.type, (length,))]
            lengths[f"{i} length"] = length
            position += length * prop.type.itemsize
    dtype = np.dtype(fields)
    if element.count * dtype.itemsize > len(buffer) - offset:
        if lengths:
            return None
        raise _truncated(path, element)
    rows = np.frombuffer(buffer, dtype, element.count, offset)
    return rows if all((rows[field] == length).all() for field, length in lengths.items()) else None


def _read_ragged(path: Path, element: _Element, buffer: memoryview, offset: int) -> tuple[dict[str, np.ndarray], int]:
    values = {prop.name: bytearray() for prop in element.properties if prop.name in _WANTED}
    lengths = {prop.name: array("i") for prop in element.properties if prop.count_type and prop.name in _WANTED}
    for _ in range(element.count):
        for prop in element.properties:
            length = 1
            if prop.count_type is not None:
                length, offset = _list_length(path, element, prop, buffer, offset)
                if prop.name in _WANTED:
                    lengths[prop.name].append(length)
            end = offset + length * prop.type.itemsize
            if end > len(buffer):
                raise _truncated(path, element)
            if prop.name in _WANTED:
                values[prop.name] += buffer[offset:end]
            offset = end
    columns = {p.name: np.frombuffer(values[p.name], p.type) for p in element.properties if p.name in _WANTED}
    return columns | {f"{name} length": np.frombuffer(c, np.int32) for name, c in lengths.items()}, offset


def _list_length(path: Path, element: _Element, prop: _Property, buffer: memoryview, offset: int) -> tuple[int, int]:
    """The length of the list at `offset`, which the buffer is sure to hold, and where its values start."""
    assert prop.count_type is not None
    start = offset + prop.count_type.itemsize
    if start > len(buffer):
        raise _truncated(path, element)
    order = prop.count_type.byteorder.replace("|", "=")
    (length,) = unpack_from(order + prop.count_type.char, buffer, offset)
    if not 0 <= length < 1 << 31 or length != int(length):
        raise InputError(path, "lengths of lists that are whole numbers", f"{length}")
    if int(length) * prop.type.itemsize > len(buffer) - start:
        raise _truncated(path, element)
    return int(length), start


def _truncated(path: Path, element: _Element) -> InputError:
    return InputError(path, f"a PLY file with {element.count} {element.name}", "a file that ends before them")
