"""GLB files (glTF 2.0) of a mesh with morph targets, and an animation of their weights.

trimesh, which writes all other meshes, has no morph targets. A GLB is a JSON text and the bytes of its arrays.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# Of the glTF 2.0 specification: what the numbers of an array are, and what it is for.
_FLOAT, _UNSIGNED = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
_METRES = 1e-3


class Shape(NamedTuple):
    """Vertices [vertices, 3] in mm, and unit normals [vertices, 3]."""

    vertices: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class MorphMesh:
    """A mesh that is moved by weights: vertices = neutral + sum of weight * (target - neutral), and its normals alike.

    Attributes:
      name: of the mesh.
      neutral: its shape at weights of 0.
      triangles: [triangles, 3].
      names, targets: of each weight, what it is called and the shape at weight 1.
      weights: [frames, targets], an animation; None for none.
      frames_per_second: of the animation.
    """

    name: str
    neutral: Shape
    triangles: np.ndarray
    names: Sequence[str]
    targets: Sequence[Shape]
    weights: np.ndarray | None = None
    frames_per_second: float = 30.0


def encode_glb(mesh: MorphMesh) -> bytes:
    """The bytes of a GLB file, in metres as the standard has it.

    Names of the targets stand in `extras.targetNames` of the mesh, where Blender, three.js and Unity look for them.
    """
    arrays = _Arrays()
    primitive: dict[str, Any] = {
        "attributes": arrays.shape(mesh.neutral.vertices * _METRES, mesh.neutral.normals),
        "indices": arrays.add(np.ascontiguousarray(mesh.triangles, "<u4").reshape(-1), "SCALAR", _INDICES),
        "material": 0,
        "mode": 4,
    }
    if mesh.targets:
        primitive["targets"] = [
            arrays.shape((each.vertices - mesh.neutral.vertices) * _METRES, each.normals - mesh.neutral.normals)
            for each in mesh.targets
        ]
    face: dict[str, Any] = {"name": mesh.name, "primitives": [primitive]}
    if mesh.targets:
        face |= {"weights": [0.0] * len(mesh.targets), "extras": {"targetNames": list(mesh.names)}}
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "facedis_jax"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": mesh.name}],
        "meshes": [face],
        "materials": [
            {
                "name": "skin",
                "doubleSided": True,
                "pbrMetallicRoughness": {
                    "baseColorFactor": [0.72, 0.58, 0.5, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.65,
                },
            }
        ],
    }
    if mesh.weights is not None and mesh.targets:
        tree["animations"] = [_animation(mesh, arrays)]
    return _pack(tree, arrays)


class _Arrays:
    """What the binary part of a file holds, and where."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: np.ndarray, kind: str, target: int | None = None, *, bounds: bool = False) -> int:
        """Appends an array of float32 or uint32 numbers, and returns its index; `bounds` says where its rows lie."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        self.data += array.tobytes()
        is_index = array.dtype.kind == "u"
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": _UNSIGNED if is_index else _FLOAT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def shape(self, vertices: np.ndarray, normals: np.ndarray) -> dict[str, int]:
        """The attributes of a shape, or of the difference between two."""
        places, directions = (np.ascontiguousarray(each, "<f4") for each in (vertices, normals))
        return {
            "POSITION": self.add(places, "VEC3", _VERTICES, bounds=True),
            "NORMAL": self.add(directions, "VEC3", _VERTICES),
        }


def _animation(mesh: MorphMesh, arrays: _Arrays) -> dict[str, Any]:
    weights = np.ascontiguousarray(mesh.weights, "<f4")
    times = np.ascontiguousarray(np.arange(len(weights)) / mesh.frames_per_second, "<f4")
    sampler = {
        "input": arrays.add(times, "SCALAR", bounds=True),
        "output": arrays.add(weights.reshape(-1), "SCALAR"),
        "interpolation": "LINEAR",
    }
    return {
        "name": "sequence",
        "samplers": [sampler],
        "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
    }


def _pack(tree: dict[str, Any], arrays: _Arrays) -> bytes:
    data = bytes(arrays.data)
    tree |= {"accessors": arrays.accessors, "bufferViews": arrays.views, "buffers": [{"byteLength": len(data)}]}
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    chunks = [struct.pack("<I4s", len(part), kind) + part for part, kind in ((text, b"JSON"), (data, b"BIN\0"))]
    return struct.pack("<4sII", b"glTF", 2, 12 + sum(map(len, chunks))) + b"".join(chunks)
