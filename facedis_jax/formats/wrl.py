"""VRML97 files that show one indexed face set, as BU-3DFE's, where its transformations put it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from facedis_jax.errors import InputError
from facedis_jax.formats.ascii_numbers import parse_numbers

T = TypeVar("T")

# Strings first, since a texture's name may hold a number sign; the optional ends make every match succeed
# where it starts, so that the time stays linear in the file.
_STRING_OR_COMMENT = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|#[^\r\n]*', re.DOTALL)
_COMMAS = bytes.maketrans(b",", b" ")
_TOKEN = re.compile(rb"[{}\[\]]|[^\s{}\[\]]+")
_NUMBER = re.compile(rb"\s*(?:[-+.\d]|\])")
_WHAT = {b"point": "Coordinate { point [...] }", b"coordIndex": "coordIndex [...]"}
_TRANSFORM = {b"center": 3, b"rotation": 4, b"scale": 3, b"scaleOrientation": 4, b"translation": 3}
# What these hold is not shown.
_HIDDEN = (b"Script", b"PROTO")
_DEEPEST = 256
_MOST_SHAPES, _MOST_NAMES = 64, 10_000


@dataclass(frozen=True)
class _Shape:
    """An indexed face set: where its numbers stand in the text, and the matrix [4, 4] that places it."""

    points: slice
    corners: slice
    is_clockwise: bool
    matrix: np.ndarray = field(default_factory=lambda: np.eye(4))


@dataclass
class _Node:
    """A node while its fields are read; `words` are the last two, the names of a field and of a node's type."""

    kind: bytes = b""
    name: bytes | None = None
    is_proxy: bool = False
    words: tuple[bytes, bytes] = (b"", b"")
    numbers: dict[bytes, list[float]] = field(default_factory=dict)
    points: slice | None = None
    corners: slice | None = None
    is_clockwise: bool = False
    children: int = 0
    shapes: list[tuple[int, _Shape]] = field(default_factory=list)


def parse_wrl(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [vertices, 3] float64 in the coordinates of the whole scene, corners and polygon lengths.

    Several face sets are read only where they share their points. Normals, colours and textures are skipped.
    """
    if not data.startswith(b"#VRML"):
        raise InputError(path, "a VRML97 file", f"a file that starts with {data[:8]!r}")
    if data.startswith(b"#VRML V1"):
        raise InputError(path, "a VRML97 file (#VRML V2.0)", "one in VRML 1.0")
    text = bytearray(data)
    for match in _STRING_OR_COMMENT.finditer(data):
        text[match.start() : match.end()] = bytes(match.end() - match.start()).replace(b"\0", b" ")
    # Commas are white space in VRML.
    text = text.translate(_COMMAS)
    shapes = _Scene(path, text).shapes()
    first = shapes[0]
    for shape in shapes[1:]:
        if shape.points != first.points or (shape.matrix != first.matrix).any():
            found = f"{len(shapes)} shapes of points of their own; join them to one first"
            raise InputError(path, f"one {_WHAT[b'point']} and face set", found)
    coordinates = parse_numbers(path, memoryview(text)[first.points])
    if len(coordinates) % 3:
        raise InputError(path, "three coordinates of each point", f"{len(coordinates)} numbers")
    polygons = [_polygons(path, parse_numbers(path, memoryview(text)[s.corners]), s.is_clockwise) for s in shapes]
    corners, lengths = polygons[0] if len(polygons) == 1 else map(np.concatenate, zip(*polygons, strict=True))
    return _placed(coordinates.reshape(-1, 3), first.matrix), corners, lengths


class _Scene:
    """One pass over the text of a scene, in which strings, comments and commas are blank.

    What a node shows is known when it ends; until then only the nodes around it are kept.
    """

    def __init__(self, path: Path, text: bytearray):
        self.path, self.text = path, text
        self.open = [_Node()]
        self.named: dict[bytes, tuple[slice | None, list[_Shape]]] = {}
        self.prototypes: dict[bytes, list[_Shape]] = {}
        self.position = 0

    def shapes(self) -> list[_Shape]:
        """The face sets that are shown; raises an InputError where there are none."""
        tokens = self._tokens()
        name: bytes | None = None
        for token in tokens:
            node = self.open[-1]
            if token == b"{":
                self._begin(name)
                name = None
            elif token == b"}":
                if len(self.open) > 1:
                    self._end()
            elif token == b"[":
                self._skip_numbers(node)
            elif token == b"DEF":
                name = next(tokens, b"")
            elif token == b"USE":
                self._use(next(tokens, b""))
            elif token in (b"PROTO", b"EXTERNPROTO"):
                name = next(tokens, b"") if token == b"PROTO" else None
                self._skip_interface(tokens)
                node.words = (b"", token)
            elif token != b"]":
                self._word(node, token)
        # A file may lack its last brackets.
        while len(self.open) > 1:
            self._end()
        root = self.open[0]
        if not root.shapes and root.points and root.corners:
            return [_Shape(root.points, root.corners, False)]
        if not root.shapes:
            raise InputError(self.path, f"one {_WHAT[b'point']} in an IndexedFaceSet", "none")
        return [shape for _, shape in root.shapes]

    def _tokens(self) -> Iterator[bytes]:
        while True:
            start = self.position
            for match in _TOKEN.finditer(self.text, start):
                self.position = end = match.end()
                yield bytes(match[0])
                if self.position != end:
                    break
            else:
                return

    def _begin(self, name: bytes | None) -> None:
        if len(self.open) > _DEEPEST:
            raise InputError(self.path, f"nodes at most {_DEEPEST} deep in each other", "deeper ones")
        before, kind = self.open[-1].words
        self.open.append(_Node(kind, name, is_proxy=before == b"proxy"))

    def _end(self) -> None:
        node = self.open.pop()
        if node.kind == b"PROTO" and node.name is not None and node.shapes:
            # It is shown where there is a node of its name.
            self._remember(self.prototypes, node.name, [shape for _, shape in node.shapes])
            return
        shapes = [*_shown(self.path, node), *self.prototypes.get(node.kind, [])]
        points = node.points if node.kind == b"Coordinate" else None
        if node.name is not None and (points or shapes):
            self._remember(self.named, node.name, (points, shapes))
        if not node.is_proxy:
            self._attach(points, shapes)

    def _remember(self, names: dict[bytes, T], name: bytes, value: T) -> None:
        names[name] = value
        if len(names) > _MOST_NAMES:
            raise InputError(self.path, f"at most {_MOST_NAMES:,} names of what is shown", "more")

    def _use(self, name: bytes) -> None:
        node = self.open[-1]
        if name not in self.named:
            if node.words[1] == b"coord":
                raise InputError(self.path, f"a Coordinate before USE {ascii(name[:32])[1:]}", "none")
            self._attach(None, [])
        elif node.words[1] != b"proxy":
            self._attach(*self.named[name])

    def _attach(self, points: slice | None, shapes: list[_Shape]) -> None:
        """Gives what a node shows to the node that holds it."""
        parent = self.open[-1]
        if points is not None and parent.points is not None and parent.kind in (b"", b"IndexedFaceSet"):
            raise InputError(self.path, f"one {_WHAT[b'point']}", "more")
        parent.points = points or parent.points
        parent.shapes += [(parent.children, shape) for shape in shapes]
        parent.children += 1
        if len(parent.shapes) > _MOST_SHAPES:
            raise InputError(self.path, "one face set", f"more than {_MOST_SHAPES}")

    def _word(self, node: _Node, word: bytes) -> None:
        field_name = node.words[1]
        if word[:1].isalpha() or word[:1] == b"_":
            if field_name == b"ccw":
                node.is_clockwise = word == b"FALSE"
            node.words = (field_name, word)
        elif field_name in _TRANSFORM or field_name == b"whichChoice":
            numbers = node.numbers.setdefault(field_name, [])
            if len(numbers) < _TRANSFORM.get(field_name, 1):
                try:
                    numbers.append(float(word))
                except ValueError:
                    raise InputError(self.path, f"numbers of {field_name.decode()}", ascii(word[:32])[1:]) from None

    def _skip_numbers(self, node: _Node) -> None:
        """Goes to the end of a list of numbers; others are read on."""
        name, start = node.words[1], self.position
        if name not in _WHAT and not _NUMBER.match(self.text, start):
            return
        end = self.text.find(b"]", start)
        if end < 0:
            what = _WHAT.get(name, f"a list {ascii(name[:32])[2:-1]} [...]")
            raise InputError(self.path, f"{what} with its closing bracket", "a file that ends before it")
        self.position = end + 1
        if name == b"point" and node.kind in (b"Coordinate", b""):
            node.points = slice(start, end)
        elif name == b"coordIndex" and node.kind in (b"IndexedFaceSet", b""):
            if node.corners:
                raise InputError(self.path, f"one {_WHAT[name]}", "more")
            node.corners = slice(start, end)

    def _skip_interface(self, tokens: Iterator[bytes]) -> None:
        """Skips the list of fields of a prototype."""
        depth = 0
        for token in tokens:
            depth += (token == b"[") - (token == b"]")
            if token == b"]" and depth <= 0:
                return


def _shown(path: Path, node: _Node) -> list[_Shape]:
    """What a node shows, in the coordinates of the node that holds it."""
    if node.kind in _HIDDEN:
        return []
    if node.kind == b"IndexedFaceSet":
        if node.points is None and node.corners is None:
            return []
        for part, what in ((node.points, _WHAT[b"point"]), (node.corners, _WHAT[b"coordIndex"])):
            if part is None:
                raise InputError(path, f"one {what} in an IndexedFaceSet", "none")
        assert node.points
        assert node.corners
        return [_Shape(node.points, node.corners, node.is_clockwise)]
    shapes = node.shapes
    if node.kind in (b"LOD", b"Switch"):
        # The most detailed one, or the one that is chosen.
        chosen = node.numbers.get(b"whichChoice", [-1.0])[0] if node.kind == b"Switch" else 0
        shapes = [(child, shape) for child, shape in shapes if child == chosen]
    if node.kind != b"Transform" or not shapes or not node.numbers:
        return [shape for _, shape in shapes]
    matrix = _matrix(path, node.numbers)
    return [replace(shape, matrix=matrix @ shape.matrix) for _, shape in shapes]


def _matrix(path: Path, given: dict[bytes, list[float]]) -> np.ndarray:
    """The matrix [4, 4] of a Transform: T C R SR S SR^-1 C^-1 in the words of VRML97, section 6.52."""
    default = {b"rotation": [0, 0, 1, 0], b"scaleOrientation": [0, 0, 1, 0], b"scale": [1, 1, 1]}
    values = {}
    for name, count in _TRANSFORM.items():
        numbers = given.get(name, default.get(name, [0, 0, 0]))
        if len(numbers) < count or not np.isfinite(numbers).all():
            raise InputError(path, f"{count} numbers of {name.decode()} in a Transform", f"{numbers}")
        values[name] = np.array(numbers, float)
    turn = _rotation(values[b"scaleOrientation"])
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(values[b"rotation"]) @ turn @ np.diag(values[b"scale"]) @ turn.T
    matrix[:3, 3] = values[b"translation"] + values[b"center"] - matrix[:3, :3] @ values[b"center"]
    return matrix


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    """The rotation matrix [3, 3] about an axis by an angle in radians (Rodrigues' formula)."""
    axis, angle = axis_angle[:3], axis_angle[3]
    length = np.linalg.norm(axis)
    if not length or not angle:
        return np.eye(3)
    x, y, z = axis / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _placed(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    if (matrix == np.eye(4)).all():
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        points = points @ matrix[:3, :3].T
        points += matrix[:3, 3]
    return points


def _polygons(path: Path, index: np.ndarray, is_clockwise: bool) -> tuple[np.ndarray, np.ndarray]:
    """Corners and polygon lengths from corners with -1 after each polygon, which may be missing after the last."""
    is_end = index == -1
    # `check_polygons` would refuse this as well, but here the array of ends would already be large.
    if 4 * np.count_nonzero(is_end) > len(index) + 1:
        raise InputError(path, "faces of three or more corners", "shorter ones")
    ends = np.append(np.flatnonzero(is_end), len(index) if len(index) and not is_end[-1] else [])
    lengths = np.diff(ends, prepend=-1).astype(np.int64) - 1
    corners = index[~is_end]
    return (corners[::-1], lengths[::-1]) if is_clockwise else (corners, lengths)
