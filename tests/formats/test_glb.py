import json
import shutil
import struct
import subprocess
from io import BytesIO

import numpy as np
import pytest
import trimesh

from facedis_jax.formats.glb import MorphMesh, Shape, encode_glb

RNG = np.random.default_rng(0)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]], np.int32)
VALIDATE = """
const {validateBytes} = require('gltf-validator');
const bytes = new Uint8Array(require('fs').readFileSync(0));
validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def shape():
    normals = RNG.normal(size=(5, 3))
    return Shape(RNG.normal(scale=80, size=(5, 3)), normals / np.linalg.norm(normals, axis=1, keepdims=True))


NEUTRAL, TARGETS = shape(), [shape(), shape(), shape()]
NAMES = ["jawOpen", 'a "smile"', "grin é"]
WEIGHTS = RNG.uniform(size=(4, 3))
MESHES = {
    "plain": MorphMesh("me", NEUTRAL, TRIANGLES, [], []),
    "targets": MorphMesh("me", NEUTRAL, TRIANGLES, NAMES, TARGETS),
    "animation": MorphMesh("me", NEUTRAL, TRIANGLES, NAMES, TARGETS, WEIGHTS, 60.0),
    "one frame": MorphMesh("me", NEUTRAL, TRIANGLES, NAMES, TARGETS, WEIGHTS[:1], 60.0),
}


def read_glb(data):
    """The JSON text of a GLB file, and a function from the index of an accessor to its numbers [rows, ...]."""
    magic, version, length, text_length, text_kind = struct.unpack("<4sII I4s", data[:20])
    assert (magic, version, length, text_kind) == (b"glTF", 2, len(data), b"JSON")
    tree = json.loads(data[20 : 20 + text_length])
    binary_length, binary_kind = struct.unpack("<I4s", data[20 + text_length : 28 + text_length])
    assert (binary_kind, 28 + text_length + binary_length) == (b"BIN\0", len(data))
    binary = data[28 + text_length :]

    def numbers(index):
        accessor = tree["accessors"][index]
        view = tree["bufferViews"][accessor["bufferView"]]
        kind = {5126: np.float32, 5125: np.uint32}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
        found = np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"])
        return found if width == 1 else found.reshape(-1, width)

    return tree, numbers


def test_shapes_names_and_weights_are_read_back():
    tree, numbers = read_glb(encode_glb(MESHES["animation"]))
    (mesh,) = tree["meshes"]
    (primitive,) = mesh["primitives"]
    assert mesh["extras"]["targetNames"] == NAMES
    assert mesh["weights"] == [0, 0, 0]
    np.testing.assert_array_equal(numbers(primitive["indices"]).reshape(-1, 3), TRIANGLES)
    base = {name: numbers(index) for name, index in primitive["attributes"].items()}
    np.testing.assert_allclose(base["POSITION"] * 1000, NEUTRAL.vertices, atol=1e-4)
    np.testing.assert_allclose(base["NORMAL"], NEUTRAL.normals, atol=1e-6)
    for found, target in zip(primitive["targets"], TARGETS, strict=True):
        np.testing.assert_allclose((base["POSITION"] + numbers(found["POSITION"])) * 1000, target.vertices, atol=1e-4)
        np.testing.assert_allclose(base["NORMAL"] + numbers(found["NORMAL"]), target.normals, atol=1e-6)
    (animation,) = tree["animations"]
    times, weights = (numbers(animation["samplers"][0][end]) for end in ("input", "output"))
    np.testing.assert_allclose(times, np.arange(4) / 60, atol=1e-6)
    np.testing.assert_allclose(weights.reshape(4, 3), WEIGHTS, atol=1e-6)
    assert animation["channels"] == [{"sampler": 0, "target": {"node": 0, "path": "weights"}}]


@pytest.mark.parametrize("name", MESHES)
def test_another_reader_finds_the_neutral(name):
    mesh = trimesh.load(BytesIO(encode_glb(MESHES[name])), file_type="glb", force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertices * 1000, NEUTRAL.vertices, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, TRIANGLES)


@pytest.fixture(scope="module")
def validated():
    """Khronos' validator, `npm install gltf-validator`, where node finds it (NODE_PATH)."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode:
        pytest.skip("without gltf-validator")
    return lambda data: json.loads(subprocess.run([node, "-e", VALIDATE], input=data, capture_output=True).stdout)


@pytest.mark.parametrize("name", MESHES)
def test_the_standards_validator_finds_nothing(name, validated):
    issues = validated(encode_glb(MESHES[name]))
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
