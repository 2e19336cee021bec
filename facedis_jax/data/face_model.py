"""Linear 3D face models: a neutral face, identity modes and expression units, from the embedded asset, an `.npz` or OBJs."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from facedis_jax.data.meshes import read_mesh
from facedis_jax.errors import InputError

# Vertices 0..6705 of ICT-FaceKit's topology are what its authors call the narrow face.
_ICT_NARROW_FACE = 6706
# A full head or a cropped face has a bounding box diagonal in this range, which tells a file's unit apart by itself.
_DIAGONAL_MM = (120.0, 600.0)
_UNITS = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0}


@dataclass(frozen=True)
class FaceModel:
    """vertices = neutral + identity weights @ identity + expression weights @ expression.

    Attributes:
      name: what reports call it.
      neutral: [vertices, 3] float32, mm; y up, the face looks along +z.
      identity: [modes, vertices, 3] float32, mm; weights are drawn from N(0, 1).
      expression: [units, vertices, 3] float32, mm; weights lie in [0, 1].
      expression_names: one ARKit-style name per unit.
      triangles: [triangles, 3] int32.
      landmarks: named vertex indices.
      content_hash: sha256 over the arrays.
    """

    name: str
    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: Sequence[str]
    triangles: np.ndarray
    landmarks: Mapping[str, int] = field(default_factory=dict)
    content_hash: str = ""

    def vertices(self, identity: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """Faces [..., vertices, 3] in mm from weights [..., modes] and [..., units]."""
        offsets = np.tensordot(identity, self.identity, 1) + np.tensordot(expression, self.expression, 1)
        return (self.neutral + offsets).astype(np.float32)


def load_face_model(path: str | Path | None = None) -> FaceModel:
    """Reads a face model.

    Args:
      path: None for the embedded CC0 face; a `.npz` with `neutral`, `identity`, `expression`, `expression_names` and
        `triangles` or `quads` (optionally `unit`, `landmark_names`, `landmark_indices`); or a checkout of ICT-FaceKit,
        or its folder of OBJ files.

    Raises:
      InputError: the path is neither, or what it holds is no face model.
    """
    if path is None:
        asset = resources.files("facedis_jax.data") / "assets" / "makehuman_face.npz"
        with resources.as_file(asset) as embedded:
            return _from_npz(embedded, name="embedded face")
    path = Path(path).expanduser()
    if path.is_dir():
        return _from_ict_facekit(path)
    if not path.is_file():
        raise InputError(path, "a face model (.npz) or a checkout of ICT-FaceKit", "nothing there")
    return _from_npz(path, name=path.stem)


def _from_npz(path: Path, *, name: str) -> FaceModel:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise InputError(path, "an .npz of plain arrays", f"{type(error).__name__}: {error}") from error
    missing = {"neutral", "identity", "expression", "expression_names"} - arrays.keys()
    if "triangles" not in arrays and "quads" not in arrays:
        missing.add("triangles")
    if missing:
        raise InputError(path, f"the arrays {', '.join(sorted(missing))}", f"only {', '.join(sorted(arrays))}")
    triangles = arrays["triangles"] if "triangles" in arrays else _triangulate(arrays["quads"])
    landmarks: dict[str, int] = {}
    if "landmark_names" in arrays and "landmark_indices" in arrays:
        landmarks = dict(
            zip(map(str, arrays["landmark_names"]), map(int, arrays["landmark_indices"]), strict=False)
        )
    return _build(
        path,
        name,
        arrays["neutral"],
        arrays["identity"],
        arrays["expression"],
        [str(name) for name in arrays["expression_names"]],
        triangles,
        landmarks,
        unit=str(arrays["unit"]) if "unit" in arrays else None,
    )


def _from_ict_facekit(folder: Path) -> FaceModel:
    """Reads `generic_neutral_mesh.obj`, `identityNNN.obj` and one OBJ per expression unit."""
    neutral_path = next(
        (p / "generic_neutral_mesh.obj" for p in (folder / "FaceXModel", folder) if p.is_dir() and
         (p / "generic_neutral_mesh.obj").is_file()), None,
    )  # fmt: skip
    if neutral_path is None:
        raise InputError(folder, "a checkout of ICT-FaceKit (FaceXModel/generic_neutral_mesh.obj)", "no such file in it")
    neutral = read_mesh(neutral_path)
    identity_paths = sorted(neutral_path.parent.glob("identity[0-9]*.obj"))
    expression_paths = sorted(set(neutral_path.parent.glob("*.obj")) - set(identity_paths) - {neutral_path})
    if not identity_paths or not expression_paths:
        found = f"{len(identity_paths)} identity and {len(expression_paths)} expression files"
        raise InputError(neutral_path.parent, "identityNNN.obj and one OBJ per expression", found)

    def offsets(paths: Sequence[Path]) -> np.ndarray:
        deltas = []
        for path in paths:
            vertices = read_mesh(path).vertices
            if vertices.shape != neutral.vertices.shape:
                raise InputError(path, f"{len(neutral.vertices)} vertices as the neutral", f"{len(vertices)}")
            deltas.append((vertices - neutral.vertices)[:_ICT_NARROW_FACE])
        return np.stack(deltas)

    triangles = neutral.triangles[(neutral.triangles < _ICT_NARROW_FACE).all(1)]
    return _build(
        neutral_path,
        "ICT-FaceKit",
        neutral.vertices[:_ICT_NARROW_FACE],
        offsets(identity_paths),
        offsets(expression_paths),
        [path.stem for path in expression_paths],
        triangles,
        {},
        unit=None,
    )


def _build(
    path: Path,
    name: str,
    neutral: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    expression_names: Sequence[str],
    triangles: np.ndarray,
    landmarks: Mapping[str, int],
    *,
    unit: str | None,
) -> FaceModel:
    """Checks what was read, brings it to mm and crops it to the face."""
    if neutral.ndim != 2 or neutral.shape[-1] != 3 or not len(neutral):
        raise InputError(path, "a neutral of shape [vertices, 3]", f"shape {list(neutral.shape)}")
    for key, deltas in (("identity", identity), ("expression", expression)):
        if deltas.ndim != 3 or deltas.shape[1:] != neutral.shape or not len(deltas):
            raise InputError(path, f"{key} of shape [n, {len(neutral)}, 3]", f"shape {list(deltas.shape)}")
        if not np.isfinite(deltas).all():
            raise InputError(path, f"finite {key} offsets", "NaN or infinite values")
    if not np.isfinite(neutral).all():
        raise InputError(path, "finite coordinates", "NaN or infinite values")
    if len(expression_names) != len(expression):
        raise InputError(path, f"{len(expression)} expression names", f"{len(expression_names)}")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu" or not len(triangles):
        raise InputError(path, "integer triangles [triangles, 3]", f"{triangles.dtype} {list(triangles.shape)}")
    if triangles.min() < 0 or triangles.max() >= len(neutral):
        raise InputError(path, f"triangle indices below {len(neutral)}", f"{triangles.min()}..{triangles.max()}")
    millimetres = _millimetres(path, neutral, unit)
    used = np.unique(triangles)
    if len(neutral) == 9409 and len(expression_names) == 53:
        # The "Light" selection of ICT-FaceKit: narrow face first, then the back of the head and the neck.
        used = used[used < _ICT_NARROW_FACE]
    place = np.full(len(neutral), -1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    triangles = place[triangles]
    arrays = {
        "neutral": np.ascontiguousarray(neutral[used] * millimetres, np.float32),
        "identity": np.ascontiguousarray(identity[:, used] * millimetres, np.float32),
        "expression": np.ascontiguousarray(expression[:, used] * millimetres, np.float32),
        "triangles": np.ascontiguousarray(triangles[(triangles >= 0).all(1)], np.int32),
    }
    digest = hashlib.sha256("\n".join(expression_names).encode())
    for array in arrays.values():
        digest.update(array.tobytes())
    return FaceModel(
        name=name,
        expression_names=tuple(expression_names),
        landmarks={key: int(place[index]) for key, index in landmarks.items() if place[index] >= 0},
        content_hash=digest.hexdigest(),
        **arrays,
    )


def _millimetres(path: Path, neutral: np.ndarray, unit: str | None) -> float:
    """Millimetres per unit of the file: as it says, or the only unit in which it is the size of a face."""
    if unit is not None and unit not in _UNITS:
        raise InputError(path, f"a unit among {', '.join(_UNITS)}", unit)
    diagonal = float(np.linalg.norm(np.ptp(neutral, axis=0)))
    low, high = _DIAGONAL_MM
    for name, millimetres in _UNITS.items():
        if unit in (None, name) and low <= diagonal * millimetres <= high:
            return millimetres
    expected = f"a face with a diagonal of {low:g} to {high:g} mm"
    raise InputError(path, expected, f"{diagonal:g} {unit or 'in an unknown unit'}")


def _triangulate(quads: np.ndarray) -> np.ndarray:
    if quads.ndim != 2 or quads.shape[1] != 4:
        return np.zeros((0, 3), np.int32)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
